"""What the docs take from the studies of HVAEs: a page with the tables of what `multires study` wrote to analysis/records."""

import json
from pathlib import Path
from typing import Any

import markdown_tables

from analysis import hvae_studies, remedies, seeds, study
from multires import pretrained

RECORDS = Path(__file__).parents[1] / "analysis/records"
STUDIES = {
    "weight-sharing": ("One cell a resolution against cells of its own at each step", "weight-sharing.png"),
    "state-norm": ("States that are normalised after each step", None),
    "sharing-depth": ("As deep and as small without sharing", None),
    "sharing-remedies": ("What else sharing could take on the digits", "sharing-remedies.png"),
}
INTRODUCTION = """# Studies of HVAEs

Written by `docs/generate.py` from what `multires study NAME --json analysis/records/NAME.json` measured on the finished runs. All networks of a
study are trained alike, but where a name says otherwise. `own-k` takes k steps at each resolution but the coarsest with cells of their own,
`shared-r` takes r with one cell for each resolution, `normalised-k` is `own-k` with its state normalised after each step, `narrow-k` is `own-k` with cells
that are narrower inside. NLL is -ELBO over all
test images, in nats, the mean over seeds with its 95 % t-interval; what it is over that of {plain} is paired seed by seed.
Steps a second are measured on two threads of one machine, one step of each network after another; the memory of a training step is what it
takes above the network's.

These are short trainings: what is compared is networks after the same short training, at a small size.
The full size, MNIST at 32 x 32 with 30,000 steps of 128 images, is one command away, `multires study weight-sharing --size full`, on a GPU;
it was not run.
"""


def page() -> str:
    """The text of docs/hvae-studies.md."""
    parts = [INTRODUCTION.format(plain=seeds.PLAIN)]
    for name, (title, figure) in STUDIES.items():
        record = json.loads((RECORDS / f"{name}.json").read_text())
        about = f" {ABOUT[name]}" if name in ABOUT else ""
        parts += [
            f"## {title}\n\n`multires study {name}`: {_trained(record)}.{about}{_missing(name, record)}\n",
            markdown_tables.table(*hvae_studies.table(record["rows"])),
        ]
        if figure:
            parts.append(f"![{title}]({figure})\n")
        parts += [AFTER[name](record["rows"])] if name in AFTER else []
    return "\n".join(parts)


def _trained(record: dict[str, Any]) -> str:
    """Images and training of a study."""
    base, row = hvae_studies.BASES[record["size"]], record["rows"][0]
    side, pooled = base.model.resolutions[0].size, " average-pooled to" if base.pooled else ","
    values = f"binarised: {base.binarise}" if base.binarise != "no" else "a likelihood of 256 grey values"
    training = f"batches of {base.training.batch}, {row['training_steps']:,} steps; {row['test_images']:,} test images"
    return f"{base.data}{pooled} {side} x {side}, {values}, {training}"


def _missing(name: str, record: dict[str, Any]) -> str:
    """Which runs of the grid the record lacks."""
    there = {f"{row['network']}-{seed}" for row in record["rows"] for seed in row["seeds"]}
    names = [run for run in study.STUDIES[name].sizes[record["size"]]() if run not in there]
    return f" Of the grid these runs are not in the table, as they were not finished: {', '.join(names)}." if names else ""


def _second_look(rows: list[dict[str, Any]]) -> str:
    """How the pair of claim E3 came to have more seeds than the others."""
    by_name = {row["network"]: row for row in rows}
    first, (over, of) = len(hvae_studies.SEEDS), hvae_studies.PAIR
    differences = seeds.over(by_name[of], by_name[over])[:first]
    low, high = seeds.interval(differences)
    return (
        f"{of} was first trained with {first} seeds, as all others were. It was below {over} with {sum(d < 0 for d in differences)} of them,"
        f" but the interval of the difference was {low:+.2f} to {high:+.2f}. Only then, having seen that, were more seeds trained, of this"
        " pair alone; the verdict of E3 rests on all of them. That was a second look, so its interval there is of 97.5 %, not 95 %: under the"
        " first look sharing would have been called no worse by chance in 2.5 % of cases, under the second in 1.25 %, so in at most 3.75 % by either."
        " On the digits, with three seeds, E3 is not supported; the last section looks into"
        " that. The weights that ship are of an earlier run of the same command, on another day: no NLL of theirs differs by more than"
        f" {_apart(rows):.3f} nats from those here.\n"
    )


def _apart(rows: list[dict[str, Any]]) -> float:
    """The largest difference between the NLL of a run here and that of the shipped weights of the same run."""
    shipped = {name.removeprefix("small/"): pretrained.card(name) for name in pretrained.names() if name.startswith("small/")}
    here = {f"{row['network']}-{seed}": nll for row in rows for seed, nll in zip(row["seeds"], row["nll"], strict=True)}
    return max(abs(nll + shipped[name]["elbo"]["nats"]) for name, nll in here.items() if name in shipped)


def _remedies(rows: list[dict[str, Any]]) -> str:
    """Each network beside own-3 with its own learning rate, seed by seed, with the KL that was left."""
    of = {row["network"]: row for row in rows}
    lines = []
    for name, row in of.items():
        base = next((of[f"{seeds.PLAIN}-{rate}"] for rate in ("lr2x", "lr0.5x") if name.endswith(f"-{rate}")), of[seeds.PLAIN])
        if row is not base:
            values = (", ".join(f"{value:.1f}" for value in row[what]) for what in ("nll", "kl"))
            lines.append([name, base["network"], seeds.with_interval(seeds.over(row, base), "+.2f"), *values])
    headings = ["network", "over", "costs, paired (95 % over seeds)", "NLL of each seed", "KL of each seed"]
    faster = ", ".join(
        f"{seeds.with_interval(seeds.over(of[f'{name}-lr2x'], of[name]), '+.2f')} nats for {name}"
        for name in (seeds.PLAIN, "shared-5")
    )
    return (
        "Beside networks of the same learning rate:\n\n" + markdown_tables.table(headings, lines) + "\n"
        f"Twice the learning rate changes the NLL by {faster}: the first rate is too low for either after so few steps. Where seeds end far apart,"
        " as with a KL that is zero, training failed in some of them, and an interval that takes seeds for normal says little. The verdict of"
        " E3 on the digits is that of shared-5 over own-3, which were chosen before.\n"
    )


ABOUT = {"sharing-remedies": "Names: " + "; ".join(f"`{name}`, {about}" for name, about in remedies.ABOUT.items()) + "."}
"""What a study's names mean beyond those of the introduction."""


def _depth(rows: list[dict[str, Any]]) -> str:
    """What the network that shares nothing costs beside the one as deep and about as small that does."""
    of = {row["network"]: row for row in rows}
    differences = seeds.over(of["narrow-5"], of["shared-5"])
    return (
        f"Beside shared-5, which has the same encoder and {100 * (1 - of['shared-5']['parameters'] / of['narrow-5']['parameters']):.0f} % fewer"
        f" parameters, narrow-5 costs {seeds.with_interval(differences, '+.2f')} nats, paired. It was trained when the pair was known, as a"
        " control for it: own-1, which is as small and shares nothing, is also shallower. A network whose encoder was narrowed as well"
        " was tried first. Three seeds were trained, and two more, as many as the pair has, when the difference was in doubt"
        " over the first 1,000 test images; so E3 takes an interval of 97.5 % here, too.\n"
    )


AFTER = {"sharing-depth": _depth, "weight-sharing": _second_look, "sharing-remedies": _remedies}
"""What a study's table and figure leave to be said."""

"""What the docs take from the studies of HVAEs: a page with the tables of what `multires study` wrote to analysis/records."""

import json
from pathlib import Path
from typing import Any

from analysis import hvae_studies, seeds, study
from multires import pretrained

RECORDS = Path(__file__).parents[1] / "analysis/records"
STUDIES = {
    "weight-sharing": ("One cell a resolution against cells of its own at each step", "weight-sharing.png"),
    "state-norm": ("States that are normalised after each step", None),
    "sharing-remedies": ("What else sharing could take on the digits", "sharing-remedies.png"),
}
COLLAPSED = 1.0
INTRODUCTION = """# Studies of HVAEs

Written by `docs/generate.py` from what `multires study NAME --json analysis/records/NAME.json` measured on the finished runs. All networks of a
study have one training, but where its text says otherwise. `own-k` takes k steps at each resolution but the coarsest with cells of their own,
`shared-r` takes r with one cell for each resolution, `normalised-k` is `own-k` with its state normalised after each step. NLL is -ELBO over all
test images, in nats, the mean over seeds with its 95 % t-interval; what it is over that of {plain} is paired seed by seed.
Steps a second and the memory of a training step above the network's are measured on two threads of one machine, one network after another.

These are short trainings: what is compared is networks after the same short training, at a small size.
The full size, MNIST at 32 x 32 with 30,000 steps of 128 images, is one command away, `multires study weight-sharing --size full`, on a GPU;
it was not run.
"""


def page() -> str:
    """The text of docs/hvae-studies.md."""
    parts = [INTRODUCTION.format(plain=seeds.PLAIN)]
    for name, (title, figure) in STUDIES.items():
        record = json.loads((RECORDS / f"{name}.json").read_text())
        headings, table = hvae_studies.table(record["rows"])
        lines = ["| " + " | ".join(line) + " |" for line in (headings, ["---"] * len(headings), *table)]
        parts += [f"## {title}\n\n`multires study {name}`: {_trained(record)}.{_missing(name, record)}\n", "\n".join(lines) + "\n"]
        if figure:
            parts.append(f"![{title}]({figure})\n")
        parts += [after(record["rows"]) for of, after in AFTER.items() if of == name]
    return "\n".join(parts)


def _trained(record: dict[str, Any]) -> str:
    """Images and training of a study."""
    base, row = hvae_studies.BASES[record["size"]], record["rows"][0]
    side, pooled = base.model.resolutions[0].size, " average-pooled to" if base.pooled else ","
    values = f"binarised: {base.binarise}" if base.binarise != "no" else "256 grey values"
    training = f"batches of {base.training.batch}, {row['training_steps']:,} steps; {row['test_images']:,} test images"
    return f"{base.data}{pooled} {side} x {side}, {values}, {training}"


def _missing(name: str, record: dict[str, Any]) -> str:
    """Which runs of the grid the record lacks."""
    there = {f"{row['network']}-{seed}" for row in record["rows"] for seed in row["seeds"]}
    names = [run for run in study.STUDIES[name].sizes[record["size"]]() if run not in there]
    return f" Of the grid these runs are not in the table, as they were not finished: {', '.join(names)}." if names else ""


def _second_look(rows: list[dict[str, Any]]) -> str:
    """How the pair of claim E3 came to have more seeds than the others."""
    nll = {row["network"]: row["nll"] for row in rows}
    first, (over, of) = len(hvae_studies.SEEDS), hvae_studies.PAIR
    differences = [a - b for a, b in zip(nll[of][:first], nll[over][:first], strict=True)]
    low, high = seeds.interval(differences)
    return (
        f"{of} was first trained with {first} seeds, as all others were. It was below {over} with {sum(d < 0 for d in differences)} of them,"
        f" but the interval of the difference was {low:+.2f} to {high:+.2f}. Only then, having seen that, were more seeds trained, of this"
        " pair alone; the verdict of E3 rests on all of them. That was a second look: an interval of 95 % lies wholly on the wrong side with"
        " a chance of 2.5 %, two looks with 5 % at most. On the digits, with three seeds, E3 is not supported; the last section looks into"
        " that. The weights that ship are of an earlier run of the same command, on another day: no NLL of theirs differs by more than"
        f" {_apart(rows):.3f} nats from those here.\n"
    )


def _apart(rows: list[dict[str, Any]]) -> float:
    """The largest difference between the NLL of a run here and that of the shipped weights of the same run."""
    shipped = {name.removeprefix("small/"): pretrained.card(name) for name in pretrained.names() if name.startswith("small/")}
    here = {f"{row['network']}-{seed}": nll for row in rows for seed, nll in zip(row["seeds"], row["nll"], strict=True)}
    return max(abs(nll + shipped[name]["elbo"]["nats"]) for name, nll in here.items() if name in shipped)


def _remedies(rows: list[dict[str, Any]]) -> str:
    """What came of the remedies: how many cost nothing, surely something, and neither."""
    base = seeds.plain(rows)
    assert base
    intervals = {row["network"]: seeds.interval(seeds.over(row, base)) for row in rows if not row["network"].startswith("own")}
    none = [name for name, (_, high) in intervals.items() if high <= 0]
    some = [name for name, (low, _) in intervals.items() if low > 0]
    open_ = [name for name in intervals if name not in none + some]
    said = {"wholly at or below zero": none, "wholly above it": some, "on both sides of it": open_}
    collapsed = [
        f"{row['network']}-{seed}" for row in rows for seed, kl in zip(row["seeds"], row["kl"], strict=True) if kl < COLLAPSED
    ]
    rows_of = {row["network"]: row for row in rows}
    fair = ", ".join(
        f"{_signed(seeds.over(rows_of[f'shared-5-{how}'], rows_of[f'own-3-{how}']))} nats with {rate} the learning rate for both"
        for how, rate in (("fast", "twice"), ("slow", "half"))
    )
    counts = "; ".join(f"{where} for {', '.join(names) if names else 'none'}" for where, names in said.items())
    return (
        f"Of networks that share, over {len(base['seeds'])} seeds, the interval lies {counts}. Each of the {len(intervals)} errs on one side"
        " with a chance of 2.5 %, some of them oftener: the best of them is no verdict. The verdict of E3 is that of shared-5, which was"
        f" chosen before. The learning rate is no remedy of sharing alone: shared-5 costs {fair}. Where one cell"
        f" is to serve resolutions that differ, training tends to posterior collapse: a KL below {COLLAPSED:g} nat an image, all of it together,"
        f" was left to {', '.join(collapsed)}.\n"
    )


def _signed(differences: list[float]) -> str:
    low, high = seeds.interval(differences)
    return f"{sum(differences) / len(differences):+.2f} ({low:+.2f} to {high:+.2f})"


AFTER = {"weight-sharing": _second_look, "sharing-remedies": _remedies}
"""What a study's table and figure leave to be said."""

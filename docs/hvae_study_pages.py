"""What the docs take from the studies of HVAEs: a page with the tables of what `multires study` wrote to analysis/records."""

import json
from pathlib import Path
from typing import Any

from analysis import hvae_studies

RECORDS = Path(__file__).parents[1] / "analysis/records"
STUDIES = {
    "weight-sharing": "One cell a resolution against cells of its own at each step",
    "state-norm": "States that are normalised after each step",
}
INTRODUCTION = """# Studies of HVAEs

Written by `docs/generate.py` from what `multires study NAME --json analysis/records/NAME.json` measured on the finished runs. All networks of a
study have one training: {images}, batches of {batch}, {steps:,} steps, {seeds} seeds ({more}). `own-k` takes k steps at each resolution but the
coarsest with cells of their own, `shared-r` takes r with one cell for each resolution, `normalised-k` is `own-k` with its state
normalised after each step. NLL is -ELBO over all {tested:,} test images, in nats, the mean over seeds with its 95 % t-interval.
Steps a second and the memory of a training step above the network's are measured on two threads of one machine, one network after another.

{steps:,} steps of {batch} images is a short training: what is compared is networks after the same short training, at a small size.
The full size, MNIST at 32 x 32 with 30,000 steps of 128 images, is one command away, `multires study weight-sharing --size full`, on a GPU;
it was not run. {missing}
"""


def page() -> str:
    """The text of docs/hvae-studies.md."""
    found = {name: json.loads((RECORDS / f"{name}.json").read_text()) for name in STUDIES}
    base = hvae_studies.BASES[found["weight-sharing"]["size"]]
    rows = found["weight-sharing"]["rows"]
    side = base.model.resolutions[0].size
    parts = [
        INTRODUCTION.format(
            images=f"{base.data} average-pooled to {side} x {side}, binarised: {base.binarise}",
            batch=base.training.batch,
            steps=rows[0]["training_steps"],
            seeds=len(hvae_studies.SEEDS),
            more=f"{len(hvae_studies.PAIR_SEEDS)} of {' and '.join(hvae_studies.PAIR)}",
            tested=rows[0]["test_images"],
            missing=_missing(found["weight-sharing"]),
        )
    ]
    for name, title in STUDIES.items():
        headings, table = hvae_studies.table(found[name]["rows"])
        lines = ["| " + " | ".join(line) + " |" for line in (headings, ["---"] * len(headings), *table)]
        parts.append(f"## {title}\n\n`multires study {name}`\n\n" + "\n".join(lines) + "\n")
        if name == "weight-sharing":
            parts.append("![The NLL against the parameters](weight-sharing.png)\n")
            parts.append(_differences(rows))
    return "\n".join(parts)


def _missing(record: dict[str, Any]) -> str:
    """Which runs of the grid the record lacks."""
    there = {f"{row['network']}-{seed}" for row in record["rows"] for seed in row["seeds"]}
    names = [name for name in hvae_studies.SHARING[record["size"]]() if name not in there]
    return f"Of the grid these runs are not in the table, as they were not finished: {', '.join(names)}." if names else ""


def _differences(rows: list[dict[str, Any]]) -> str:
    """What each network costs over the unshared one of claim E3, seed by seed."""
    nll = {row["network"]: row["nll"] for row in rows}
    parameters = {row["network"]: row["parameters"] for row in rows}
    lines = ["| network | parameters over those of own-3 | NLL over that of own-3 (95 % over seeds) |", "|---|---|---|"]
    for label in sorted(nll):
        if label != "own-3":
            over = [a - b for a, b in zip(nll[label], nll["own-3"], strict=False)]
            low, high = hvae_studies.interval(over)
            share = f"{parameters[label] / parameters['own-3']:.3f}"
            spread = f"{low:+.2f} to {high:+.2f}" if len(over) > 1 else "one seed"
            lines.append(f"| {label} | {share} | {sum(over) / len(over):+.2f} ({spread}) |")
    first = len(hvae_studies.SEEDS)
    of, over = hvae_studies.PAIR[1], hvae_studies.PAIR[0]
    differences = [a - b for a, b in zip(nll[of][:first], nll[over][:first], strict=True)]
    low, high = hvae_studies.interval(differences)
    said = (
        f"{of} was first trained with {first} seeds, as all others were. It was below {over} with {sum(d < 0 for d in differences)} of them,"
        f" but the interval of the difference was {low:+.2f} to {high:+.2f}. Only then, having seen that, were more seeds trained, of this"
        " pair alone; the verdict of E3 rests on all of them. That was a second look: an interval of 95 % lies wholly on the wrong side with"
        " a chance of 2.5 %, two looks with 5 % at most. On the digits, with three seeds, E3 is not supported."
    )
    return "Paired seed by seed, over all test images:\n\n" + "\n".join(lines) + f"\n\n{said}\n"

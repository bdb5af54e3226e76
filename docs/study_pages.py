"""What the docs take from studies' tables: the paragraph on what training changes, and the page with the whole table.

analysis/records/unet-basis.json is what `multires study unet-basis --json` wrote, at three digits; unet-basis-synthesis.json the same
with `--size synthesis`.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from analysis import basis_study, filters
from analysis.terminal import scientific

Row = dict[str, Any]
RECORDS = Path(__file__).parents[1] / "analysis/records"
ROWS: list[Row] = json.loads((RECORDS / "unet-basis.json").read_text())["rows"]
SYNTHESIS: list[Row] = json.loads((RECORDS / "unet-basis-synthesis.json").read_text())["rows"]
ORTHOGONAL = {name: f"{name}+synthesis" for name in basis_study.ORTHOGONAL}
"""Poolings by the filter of an orthogonal wavelet, and what they are called where that wavelet's synthesis goes up again."""
OWN = {name: "haar" if name == "average" else name for name in ("average", *filters.WAVELETS[1:])}
OWN |= {both: name for name, both in ORTHOGONAL.items()}


def chosen(weights: str, side: str, levels: range, poolings: list[str]) -> list[Row]:
    """The rows of some networks."""
    return [
        row
        for row in ROWS + SYNTHESIS
        if (row["weights"], row["side"]) == (weights, side) and row["level"] in levels and row["pooling"] in poolings
    ]


def spread(values: list[float]) -> str:
    """From the smallest to the largest."""
    return f"{scientific(min(values))} to {scientific(max(values))}"


def own(rows: list[Row]) -> list[float]:
    """The unexplained fractions of the networks' own bases."""
    return [row["unexplained"][OWN[row["pooling"]]]["mean"] for row in rows]


def others(rows: list[Row]) -> list[float]:
    """The best of the other bases for each row."""
    return [min(value["mean"] for name, value in row["unexplained"].items() if name != OWN.get(row["pooling"])) for row in rows]


def agreeing(rows: list[Row]) -> str:
    """In how many rows the own basis is the best with every seed."""
    return f"{sum(row['own_is_best'] for row in rows)} of {len(rows)}"


def interval(row: Row) -> str:
    """The own basis' unexplained fraction with its interval."""
    value = row["unexplained"][OWN[row["pooling"]]]
    return f"{scientific(value['mean'])} ({scientific(value['low'])} to {scientific(value['high'])})"


def paragraph() -> str:
    """What training changes, in numbers."""
    coarse, every, filtered = range(2, 5), range(1, 5), ["average", *filters.WAVELETS[1:]]
    wavelets = filtered[1:]
    encoder, before = (chosen(weights, "encoder", coarse, filtered) for weights in ("trained", "untrained"))
    noise = chosen("random", "encoder", coarse, filtered)
    factor = min(b / a for a, b in zip(own(encoder), others(encoder), strict=True))
    haar, haar_before = (chosen(weights, "decoder", every, ["average"]) for weights in ("trained", "random"))
    fine, deep = (chosen("trained", "decoder", levels, wavelets) for levels in (range(1, 3), range(3, 5)))
    deep_before = chosen("random", "decoder", range(3, 5), wavelets)
    none = [others(chosen(weights, "encoder", coarse, ["max", "strided"])) for weights in ("random", "trained")]
    seeds = len(encoder[0]["seeds"])
    return f"""### What training changes

Measured by `multires study unet-basis`: nine poolings, {seeds} seeds, 1,000 steps of denoising 32 x 32 patches of photographs; read-outs
fitted on one half of the photographs and scored on the other; intervals are 95 % t-intervals over seeds, on logarithms. *The basis of
the encoder is not learned.* Before training, with blocks that begin as the identity, each of the seven networks carries its own
wavelet's approximations up to rounding (unexplained at levels 2 to 4: {spread(own(before))}). With all weights at random it does so
roughly ({spread(own(noise))}; the best basis with every seed in {agreeing(noise)} cases). Trained from the identity it stays near it
({spread(own(encoder))}): its own basis is the best at levels 2 to 4 with every filter and seed ({agreeing(encoder)}), at least
{factor:.0f} times below any other. *The decoder is where training shows.* With average pooling its states come to carry the Haar
approximations of the output better than those of any other basis at {agreeing(haar)} levels with every seed, from
{agreeing(haar_before)} at random; at level 4 the unexplained fraction falls from {interval(haar_before[3])} to {interval(haar[3])}, at level 1
from {interval(haar_before[0])} to {interval(haar[0])}, so the finer states hold them only roughly. With the other six filters the own
basis is the best at levels 3 and 4 in {agreeing(deep)} cases ({agreeing(deep_before)} at random), and at levels 1 and 2 in
{agreeing(fine)}: there Haar or a neighbouring wavelet does better. {upsampling()}
Max and strided pooling leave {scientific(min(none[1]))} or more unexplained in every basis at levels 2 to 4 ({scientific(min(none[0]))} or more at random). So "average-pooling U-Nets learn a Haar basis" holds in this form: the architecture fixes
the basis of the encoder, and training brings the decoder to it. The [whole table](unet-basis.md) has the cells that disagree.
"""


def upsampling() -> str:
    """How much of the decoder's disagreement is due to nearest neighbours."""

    def cases(level: int, poolings: Iterable[str]) -> list[Row]:
        return chosen("trained", "decoder", range(level, level + 1), list(poolings))

    def agree(poolings: Iterable[str]) -> str:
        return ", ".join(agreeing(cases(level, poolings)) for level in range(1, 5))

    last = [row for level in range(1, 5) for row in cases(level, ORTHOGONAL.values()) if not row["own_is_best"]]
    return f"""*The way up is a part of the
reason*: nearest neighbours are Haar's synthesis whatever the pooling was. With the synthesis of the pooling's own wavelet instead
(`--size synthesis`: the four orthogonal filters, {len(last[0]["seeds"])} seeds) the own basis is the best at levels 1 to 4 in
{agree(ORTHOGONAL.values())} cases, from {agree(ORTHOGONAL)}. Where it still is not, bases hardly differ:
{spread(own(last))} is unexplained in the own basis and {spread(others(last))} in the best other."""


def synthesis_table() -> str:
    """The decoder of networks with either upsampling."""
    lines = [
        "| pooling | level | own basis, nearest | best other | own best, every seed | own basis, synthesis | best other | own best, every seed |",
        "|---" * 8 + "|",
    ]
    for name, both in ORTHOGONAL.items():
        for level in range(1, 5):
            cells = [name, str(level)]
            for pooling in (name, both):
                (row,) = chosen("trained", "decoder", range(level, level + 1), [pooling])
                cells += [interval(row), scientific(others([row])[0]), "yes" if row["own_is_best"] else "**no**"]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def table() -> str:
    """The page with every cell."""
    head = ["pooling", "side", "level", "own basis, trained", "best other", "own best, every seed"]
    head += [f"{what}, {weights}" for weights in ("untrained", "random") for what in ("own", "best")] + ["1 - CKA"]
    found = {(row["weights"], row["pooling"], row["side"], row["level"]): row for row in ROWS}
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in ROWS:
        if row["weights"] != "trained":
            continue
        named = row["pooling"] in OWN
        drawn = [found[weights, row["pooling"], row["side"], row["level"]] for weights in ("untrained", "random")]
        values = {name: float(value["mean"]) for name, value in row["unexplained"].items() if name != OWN.get(row["pooling"])}
        rival = min(values, key=values.__getitem__)
        cells = [
            row["pooling"],
            row["side"],
            str(row["level"]),
            interval(row) if named else "-",
            f"{scientific(values[rival])} {rival}",
            ("yes" if row["own_is_best"] else "**no**") if named else "-",
            *(
                cell
                for each in drawn
                for cell in (interval(each) if named else "-", ", ".join(dict.fromkeys(map(str, each["best"]))))
            ),
            scientific(sum(row["one_minus_cka"]) / len(row["one_minus_cka"])),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return f"""# The basis of U-Nets, cell by cell

Written by `docs/generate.py` from what `multires study unet-basis --json analysis/records/unet-basis.json` measured. Each number is an unexplained
fraction $1 - R^2$ of a linear read-out on held-out patches, the geometric mean over seeds with its 95 % t-interval; "best other" is the
wavelet that comes nearest. CKA compares a site's activations in the trained and in the untrained network, whose blocks are still the
identity; "random" has random weights in the blocks too.

The encoder's level 1 with average pooling cannot tell haar from db2: the four taps of db2 are those of haar convolved with three others,
which the stem, a convolution of width 3, supplies. So both are carried to rounding before training, and what is left after it says which
of the two the blocks happened to disturb less. No other filter of the dictionary is so short, which is why claim C5 starts at level 2.

{chr(10).join(lines)}

## Upsampling

The decoder where states are taken up by repeating each value (nearest neighbours, as above), and by the synthesis of the pooling's own
wavelet (`multires study unet-basis --size synthesis --json analysis/records/unet-basis-synthesis.json`).

{synthesis_table()}
"""

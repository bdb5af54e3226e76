"""Figures of studies, from the rows of their tables."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analysis.figures.style import BLUE, ORANGE


def sharing(rows: list[dict[str, Any]]) -> Figure:
    """The NLL against the parameters: networks with cells of their own and with shared ones, each joined, numbers are depths."""
    figure = Figure(figsize=(6.4, 4))
    axes = figure.subplots()
    for kind, color, label in (("own", BLUE, "own cells"), ("shared", ORANGE, "one cell a resolution")):
        found = sorted((row for row in rows if row["network"].startswith(kind)), key=lambda row: row["depth"])
        if not found:
            continue
        x, y = ([row["parameters"] for row in found], [float(np.mean(row["nll"])) for row in found])
        axes.plot(x, y, "o-", color=color, label=label)
        for row, at, mean in zip(found, x, y, strict=True):
            axes.plot([at] * len(row["nll"]), row["nll"], "_", color=color, ms=9, alpha=0.6)
            side = -1 if kind == "shared" else 1
            axes.annotate(
                str(row["depth"]),
                (at, mean),
                (8 * side, 0),
                textcoords="offset points",
                fontsize=8,
                va="center",
                ha="left" if side > 0 else "right",
                color=color,
            )
    axes.set(xlabel="parameters", ylabel="-ELBO, nats an image", title="numbers: steps in time; strokes: seeds")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlim(left=0)
    axes.legend()
    return figure

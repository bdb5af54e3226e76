"""Figures of studies, from the rows of their tables."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis import seeds
from analysis.evidence import Evidence
from analysis.figures.layout import legend, panels
from analysis.figures.style import BLUE, GREEN, GREY, MARKS, ORANGE, PANEL, PURPLE, RED
from multires.errors import MultiresError


def sharing(rows: list[dict[str, Any]]) -> Figure:
    """The NLL against the parameters: networks with cells of their own and with shared ones, each joined, numbers are depths."""
    figure, (axes,) = panels(1, 1.5 * PANEL)
    for kind, color, line, face, label in (
        ("own", BLUE, "o-", BLUE, "own cells"),
        ("shared", ORANGE, "o--", "white", "one cell a resolution"),
    ):
        found = sorted((row for row in rows if row["network"].startswith(kind)), key=lambda row: row["depth"])
        if not found:
            continue
        x, y = ([row["parameters"] for row in found], [float(np.mean(row["nll"])) for row in found])
        axes.plot(x, y, line, color=color, mfc=face, label=label)
        for number, (row, at, mean) in enumerate(zip(found, x, y, strict=True)):
            side = -1 if kind == "shared" and number % 2 == 0 else 1  # one above the other, they would overlap
            axes.plot([at] * len(row["nll"]), row["nll"], "_", color=color, ms=9, alpha=0.6)
            where: dict[str, Any] = {
                "xytext": (8 * side, 0),
                "textcoords": "offset points",
                "ha": "left" if side > 0 else "right",
                "va": "center",
            }
            axes.annotate(str(row["depth"]), (at, mean), color=color, **where)
    axes.set(xlabel="parameters", ylabel="-ELBO, nats an image", title="numbers: steps in time; strokes: seeds")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlim(0, 1.08 * max((row["parameters"] for row in rows), default=1))
    legend(figure, axes)
    return figure


def paired(rows: list[dict[str, Any]]) -> Figure:
    """What each network costs over `own-3`, seed by seed, with the interval of the mean over seeds."""
    base = seeds.plain(rows)
    if base is None:
        raise MultiresError(f"no run of {seeds.PLAIN} is finished, which the figure holds the others against")
    found = {row["network"]: seeds.over(row, base) for row in rows if row is not base}
    found = {label: differences for label, differences in found.items() if differences}
    figure, (axes,) = panels(1, PANEL * (0.4 + 0.12 * len(found)))
    for at, (label, differences) in enumerate(found.items()):
        color = BLUE if label.startswith("own") else ORANGE
        if len(differences) > 1:
            axes.plot(seeds.interval(differences), [at, at], "-", color=color, lw=5, alpha=0.3, solid_capstyle="butt")
        axes.plot(differences, [at] * len(differences), MARKS[color], color=color)
    axes.axvline(0, color=GREY, lw=0.8)
    axes.set_yticks(range(len(found)), list(found))
    axes.invert_yaxis()
    axes.set(
        xlabel=f"nats an image more than {seeds.PLAIN}",
        title="marks: seeds, dots of own cells, squares of shared ones; bars: 95 % interval of the mean",
    )
    return figure


def costs(evidence: Evidence) -> Figure:
    """E2, E3: -ELBO of each network, seed by seed, and what each costs over the first, with intervals; the control comes last."""
    a = evidence.arrays
    labels = [name.removeprefix("nll ") for name in a if name.startswith("nll ")]
    names = [f"{label}\n{int(a[f'parameters {label}']):,}" for label in labels]
    figure, (each, over) = panels(2)
    values = [a[f"nll {label}"] for label in labels]
    for seed in range(max(map(len, values))):
        of = [(at, row[seed]) for at, row in enumerate(values) if seed < len(row)]
        each.plot(*zip(*of, strict=True), "-", color=GREY, lw=0.6, zorder=1)
    for at, (row, color) in enumerate(zip(values, (BLUE, ORANGE, GREEN, RED), strict=False)):
        each.plot([at] * len(row), row, MARKS[color], color=color)
    each.set_xticks(range(len(labels)), names)
    each.set(
        xlabel="parameters", ylabel="-ELBO, nats an image", title="lines join networks of one seed", xlim=(-0.4, len(labels) - 0.6)
    )
    (control,) = (name.removeprefix("control ") for name in a if name.startswith("control "))
    intervals = {label: a[f"over {label}"] for label in labels[1:]} | {control: a[f"control {control}"]}
    colors = (*(ORANGE, GREEN, RED)[: len(labels) - 1], PURPLE)
    for at, ((name, ends), color) in enumerate(zip(intervals.items(), colors, strict=True)):
        label, _, other = name.partition(" over ")
        differences = [x - y for x, y in zip(a[f"nll {label}"], a[f"nll {other or labels[0]}"], strict=False)]
        over.plot([at, at], ends, "-", color=color, lw=5, alpha=0.3, solid_capstyle="butt")
        over.plot([at] * len(differences), differences, MARKS[color], color=color)
    over.axhline(0, color=GREY, lw=0.8)
    over.set_xticks(range(len(intervals)), [name.replace(" over ", "\nover ") for name in intervals])
    over.set(ylabel="nats more", title=f"over {labels[0]} or as named; bars: interval", xlim=(-0.5, len(intervals) - 0.5))
    return figure

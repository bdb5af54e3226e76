"""The figure of every claim that has none of its own: each defect beside its bound."""

import re

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.evidence import Evidence
from analysis.figures.style import BLUE, GREY, ORANGE, RED, SMALLEST


def margins(evidence: Evidence) -> Figure:
    """Every defect as a dot beside the bound it must stay left of; controls as diamonds that must lie right of their floor."""
    rows: dict[str, list[tuple[float, float]]] = {}
    for check in evidence.checks:
        rows.setdefault(re.split(r", d = |, j to |, sides to ", check.what)[0], []).append((check.measured, check.bound))
    for control in evidence.controls:  # one named after a check goes into its row
        rows.setdefault(_row_of(control.what, rows), [])
    labels = list(rows)
    figure = Figure(figsize=(7.2, 0.9 + 0.28 * len(labels)))
    axes = figure.subplots()
    for y, points in enumerate(rows.values()):
        for k, (measured, bound) in enumerate(points):
            _dot(axes, max(measured, SMALLEST), y, BLUE, "o", "measured (0 at the left edge)" if y == k == 0 else None)
            _dot(axes, max(bound, SMALLEST), y, GREY, "|", "bound" if y == k == 0 else None)
    for k, control in enumerate(evidence.controls):
        row = _row_of(control.what, rows)
        y, x = labels.index(row), max(control.measured, SMALLEST)
        _dot(axes, x, y, RED, "D", "control" if k == 0 else None)
        _dot(axes, max(control.floor, SMALLEST), y, ORANGE, "|", "floor it must exceed" if k == 0 else None)
        if row != control.what:
            axes.annotate(
                control.what.removeprefix(f"{row}: "), (x, y), (6, 0), textcoords="offset points", va="center", fontsize=7
            )
    axes.set_xscale("log")
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("defect")
    figure.legend(loc="outside upper right", ncols=4)
    return figure


def _row_of(control: str, rows: dict[str, list[tuple[float, float]]]) -> str:
    """The check that a control is named after, as in 'check: what breaks it'; else the control's own name."""
    check = control.rpartition(": ")[0]
    return check if check in rows else control


def _dot(axes: Axes, x: float, y: float, color: str, marker: str, label: str | None) -> None:
    size = 11 if marker == "|" else 4
    axes.plot([x], [y], marker, color=color, label=label, ms=size, mew=1.6 if marker == "|" else 0.5)

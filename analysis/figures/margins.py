"""The figure of every claim that has none of its own: each defect beside its bound."""

import re

from matplotlib.figure import Figure

from analysis.evidence import Evidence
from analysis.figures.layout import canvas, legend, logarithmic
from analysis.figures.style import BLUE, GREY, ORANGE, RED, SMALLEST, wide

BROKEN = "DXP*"
CLEAR = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
"""Behind a name, so that no mark runs through it."""


def margins(evidence: Evidence) -> Figure:
    """Every defect as a dot beside the bound it must stay left of; controls as other marks that must lie right of their floor."""
    rows: dict[str, list[tuple[float, str, str, str]]] = {}  # value, marker, colour, label
    for check in evidence.checks:
        points = rows.setdefault(_row(check.what), [])
        points += [(check.measured, "o", BLUE, "measured (0 at the left edge)"), (check.bound, "|", GREY, "bound")]
    marks: dict[str, str] = {}  # what broke the claim, as in 'check: what breaks it', and its mark
    for control in evidence.controls:
        name, _, how = control.what.rpartition(": ")
        row, label = (_row(name), f"control: {how}") if _row(name) in rows else (_row(control.what), "control")
        label = _plain(label)
        marker = marks.setdefault(label, BROKEN[len(marks) % len(BROKEN)])
        points = rows.setdefault(row, [])
        points += [(control.measured, marker, RED, label), (control.floor, ">", ORANGE, "floor it must exceed")]
    figure = canvas(0.5 + (0.2 if wide() else 0.27) * len(rows))
    axes = figure.subplots()
    labelled: set[str] = set()
    for y, points in enumerate(rows.values()):
        for value, marker, color, label in points:
            size, face = (8 if marker == "|" else 4), ("none" if marker == ">" else color)
            shown = None if label in labelled else label
            axes.plot([max(value, SMALLEST)], [y], marker, color=color, mfc=face, ms=size, label=shown)
            labelled.add(label)
    axes.set_ylim(len(rows) - 0.5, -0.5 if wide() else -0.9)
    axes.set_yticks(range(len(rows)), list(rows) if wide() else [])
    if not wide():  # where names beside their rows would leave no room, they stand above them
        for y, name in enumerate(rows):
            axes.text(0, y - 0.22, name, transform=axes.get_yaxis_transform(), va="bottom", fontsize=6.5, bbox=CLEAR, zorder=3)
    logarithmic(axes, "x")
    axes.set_xlabel("defect")
    legend(figure, axes)
    return figure


def _row(what: str) -> str:
    """What is measured, whatever its dimension and parameters are: it has one row."""
    return re.split(r", \w = |, j to |, sides to ", _plain(what))[0]


def _plain(text: str) -> str:
    """Text that is neither mathematics nor anything that no file of a picture can hold."""
    return re.sub(r"[\x00-\x1f\x7f]", " ", text).replace("$", r"\$")

"""Figures: each a function from Evidence to a matplotlib Figure, one style for all.

`FIGURES` maps claim ids to their own figure; every other claim gets `margins`, which shows each defect beside its bound.
"""

import io
import re
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.evidence import Evidence

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#666666"  # Okabe and Ito
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "multires",  # the same evidence gives the same file
}
SMALLEST = 1e-18  # where a defect of exactly 0 is drawn on a logarithmic axis

Draw = Callable[[Evidence], Figure]


def draw(id: str, evidence: Evidence) -> Figure:
    """The figure of a claim, in the project's style."""
    with mpl.rc_context(STYLE):
        return FIGURES.get(id, margins)(evidence)


def svg(id: str, evidence: Evidence) -> bytes:
    """The claim's figure as SVG, the same bytes for the same evidence."""
    stream = io.BytesIO()
    with mpl.rc_context(STYLE):
        draw(id, evidence).savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


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


def smooth_convergence(evidence: Evidence) -> Figure:
    """A4: the error of three functions against the resolution, with fitted slopes, beside the limit and a photograph."""
    a = evidence.arrays
    names = [r"$\prod\cos \pi x$", r"$e^{\sum x_i/i}$", r"$\sum|x-\frac{1}{3}|^{1.5}$"]
    figure = Figure(figsize=(9.6, 4.4))
    for d, axes in enumerate(figure.subplots(1, 3), start=1):
        js = a[f"d{d}_j"]
        for number, (name, color) in enumerate(zip(names, (BLUE, ORANGE, GREEN), strict=True)):
            errors, limit = a[f"d{d}_{number}_errors"], float(a[f"d{d}_{number}_limit"])
            slope = np.polyfit(js[-3:], np.log2(errors[-3:]), 1)[0]
            axes.plot(js, errors, "o", color=color, label=f"{name}, slope {slope:.4f}")
            axes.plot(js, limit * 2.0**-js, "-", color=color, lw=0.8)
        if d == 2:
            slope = np.polyfit(a["image_j"], np.log2(np.maximum(a["image_errors"], SMALLEST)), 1)[0]
            axes.plot(a["image_j"], a["image_errors"], "s--", color=GREY, ms=3, label=f"first image, slope {slope:.2f}")
        _resolution_axes(axes, f"d = {d}", r"$\|f - P_j f\|$" if d == 1 else "")
        axes.plot([], [], "-", color=GREY, lw=0.8, label=r"limit $2^{-j}\,\|\nabla f\|/\sqrt{12}$")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16))
    return figure


def jump_convergence(evidence: Evidence) -> Figure:
    """A5: the error of a jump lies on its law at every resolution; its controls do not."""
    a = evidence.arrays
    js = a["j"]
    figure = Figure(figsize=(7.2, 3.6))
    axes, rest = figure.subplots(1, 2, width_ratios=(3, 2))
    axes.plot(js, a["law"], "-", color=BLUE, lw=0.8, label=r"law $2^{-j/2}\sqrt{2}/3$")
    for x, y, marker, color, name in (
        (js, a["errors"], "o", BLUE, "measured"),
        (js[:-1], a["corners"], "D", RED, "control: left ends"),
        (js, a["ramp"], "s", ORANGE, r"control: $f(x)=x$"),
    ):
        slope = np.polyfit(x, np.log2(y), 1)[0]
        axes.plot(x, y, marker, color=color, label=f"{name}, slope {slope:.4f}")
    _resolution_axes(axes, r"$f = 1[x < 1/3]$", r"$\|f - P_j f\|$")
    axes.legend(loc="lower left")
    rest.plot(js, np.maximum(np.abs(a["errors"] / a["law"] - 1), SMALLEST), "o", color=BLUE, label="measured")
    rest.axhline(1e-13, color=GREY, lw=1, label="bound")
    rest.plot(js[:-1], np.abs(a["corners"] / a["law"][:-1] - 1), "D", color=RED, label="control: left ends")
    _resolution_axes(rest, "relative distance from the law", "")
    rest.set_yscale("log", base=10)
    rest.set_ylim(SMALLEST, 10)
    rest.legend(loc="center right")
    return figure


def brownian(evidence: Evidence) -> Figure:
    """A6: both laws for Brownian paths, and below the ratio of measured to law inside its interval."""
    a = evidence.arrays
    js = a["j"]
    figure = Figure(figsize=(7.6, 5.2))
    panels = figure.subplots(2, 2, sharex=True, height_ratios=(3, 2))
    cases = (
        ("errors", "law", "error_width", "ends", r"$\mathbb{E}\|B-P_jB\|^2$", r"law $2^{-j}/6$", "control: first sibling"),
        (
            "variances",
            "spread",
            "variance_width",
            "white",
            r"Var$\langle B,\psi_j\rangle$",
            r"law $2^{-2j}/12$",
            "control: white noise",
        ),
    )
    for (above, below), (measured, law, width, control, title, label, control_label) in zip(panels.T, cases, strict=True):
        beyond = float(a["beyond"]) if measured == "errors" else 0.0  # |B - P_J B|^2, which the sampled P_J B does not hold
        slope = np.polyfit(js, np.log2(a[measured] + beyond), 1)[0]
        above.plot(js, a[law] + beyond, "-", color=BLUE, lw=0.8, label=label)
        above.plot(js, a[measured] + beyond, "o", color=BLUE, label=f"measured, slope {slope:.3f}")
        above.plot(js, a[control] + beyond, "D", color=RED, label=control_label)
        _resolution_axes(above, title, "")
        above.set_xlabel("")
        above.legend(loc="upper right")
        below.fill_between(js, 1 - a[width], 1 + a[width], color=GREY, alpha=0.25, label="interval", lw=0)
        below.plot(js, a[measured] / a[law], "o", color=BLUE, label="measured / law")
        below.set_xlabel("resolution j")
        below.legend(loc="lower right", ncols=2)
    return figure


def pyramid(evidence: Evidence) -> Figure:
    """B2: an image pooled level by level, PyWavelets' approximations of it, and their difference."""
    a = evidence.arrays
    levels = sum(name.startswith("pooled_") for name in a)
    figure = Figure(figsize=(1.75 * levels + 0.5, 5.4))
    rows = figure.subplots(3, levels, squeeze=False)
    low, high = float(a["pooled_0"].min()), float(a["pooled_0"].max())
    largest = max(float(np.abs(a[f"difference_{level}"]).max()) for level in range(levels)) or SMALLEST
    for level in range(levels):
        for axes, name in zip(rows[:, level], ("pooled", "pywavelets", "difference"), strict=True):
            signed = name == "difference"
            limits = (-largest, largest) if signed else (low, high)
            shown = axes.imshow(
                a[f"{name}_{level}"], cmap="RdBu_r" if signed else "gray", vmin=limits[0], vmax=limits[1], interpolation="none"
            )
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
        side = a[f"pooled_{level}"].shape[0]
        rows[0, level].set_title(f"{side} x {side}" + (", the image" if level == 0 else ""))
    for axes, label in zip(rows[:, 0], ("average pooling", "PyWavelets\napproximation", "difference"), strict=True):
        axes.set_ylabel(label)
    figure.colorbar(shown, ax=rows[2, :], orientation="horizontal", fraction=0.08, aspect=50)
    return figure


def other_poolings(evidence: Evidence) -> Figure:
    """B6: every pooling against every statement; a defect near 1e-16 is rounding, one near 1 a statement that is false."""
    table = np.maximum(evidence.arrays["margins"], SMALLEST)  # NaN, where a pooling has no version of a statement, stays
    poolings, statements = evidence.arrays["poolings"], evidence.arrays["statements"]
    figure = Figure(figsize=(6.4, 0.9 + 0.3 * len(poolings)))
    axes = figure.subplots()
    shown = axes.imshow(np.log10(table), cmap="cividis", vmin=-16, vmax=0.5, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        shade, text = (
            ("white" if value < 1e-8 else "black"),
            ("-" if np.isnan(value) else "0" if value == SMALLEST else f"{value:.1g}"),
        )
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=shade)
    axes.set_xticks(range(len(statements)), statements)
    axes.set_yticks(range(len(poolings)), poolings)
    axes.set_title("largest defect over all fields: rounding near 1e-16, a false statement near 1")
    axes.grid(visible=False)
    bar = figure.colorbar(shown, ax=axes)
    bar.set_label(r"$\log_{10}$ defect")
    return figure


def _resolution_axes(axes: Axes, title: str, label: str) -> None:
    axes.set_yscale("log", base=2)
    axes.set_xlabel("resolution j")
    axes.set_ylabel(label)
    axes.set_title(title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


FIGURES: dict[str, Draw] = {"A4": smooth_convergence, "A5": jump_convergence, "A6": brownian, "B2": pyramid, "B6": other_poolings}
"""The claims with a figure of their own."""

CAPTIONS = {
    "A4": "Dots are measured errors, lines the limit law. Dashed, in two dimensions: the first image of the data.",
    "A5": "Left: the jump on its law at every resolution. Right: its distance from the law is rounding; the control's is not.",
    "A6": "Above: both laws. Below: measured over law, inside the interval that holds for all resolutions at once.",
    "B2": "Each column is one level down. The first two rows come from code that shares nothing; the last is their difference.",
    "B6": "Dark cells are rounding, bright ones statements that fail; only average pooling is dark. '-': nothing to compare.",
}
DEFAULT_CAPTION = (
    "Every defect the claim measured, for all dimensions and precisions, left of its bound; controls right of their floor."
)

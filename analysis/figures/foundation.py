"""Figures of claims A and B: the laws of convergence, the pyramid, the other poolings."""

import numpy as np
from matplotlib.figure import Figure

from analysis.evidence import Evidence
from analysis.figures.layout import (
    canvas,
    first_label,
    legends_below,
    logarithmic,
    matrix,
    panels,
    picture,
    resolution_axes,
    side,
    write_cells,
)
from analysis.figures.style import BLUE, GREEN, GREY, MARKS, ORANGE, PANEL, RED, SMALLEST, wide


def smooth_convergence(evidence: Evidence) -> Figure:
    """A4: the error of three functions against the resolution, with fitted slopes, beside the limit and a photograph."""
    a = evidence.arrays
    names = ["∏ cos πxᵢ", "exp(Σ xᵢ/i)", "Σ|xᵢ - ⅓|³ᐟ²"]
    figure, drawn = panels(3)
    for d, axes in enumerate(drawn, start=1):
        js = a[f"d{d}_j"]
        for number, (name, color) in enumerate(zip(names, (BLUE, ORANGE, GREEN), strict=True)):
            errors, limit = a[f"d{d}_{number}_errors"], float(a[f"d{d}_{number}_limit"])
            slope = np.polyfit(js[-3:], np.log2(errors[-3:]), 1)[0]
            axes.plot(js, errors, MARKS[color], color=color, label=f"{name}, slope {slope:.4f}")
            axes.plot(js, limit * 2.0**-js, "-", color=color, lw=0.8)
        if d == 2:
            slope = np.polyfit(a["image_j"], np.log2(np.maximum(a["image_errors"], SMALLEST)), 1)[0]
            axes.plot(a["image_j"], a["image_errors"], "x--", color=GREY, label=f"first image, slope {slope:.2f}")
        resolution_axes(axes, f"d = {d}", "")
        axes.plot([], [], "-", color=GREY, lw=0.8, label="limit 2⁻ʲ‖∇f‖/√12")
    first_label(drawn, "‖f - Pⱼf‖")
    legends_below(figure, drawn)
    return figure


def jump_convergence(evidence: Evidence) -> Figure:
    """A5: the error of a jump lies on its law at every resolution; its controls do not."""
    a = evidence.arrays
    js = a["j"]
    figure, (axes, rest) = panels(2)
    axes.plot(js, a["law"], "-", color=BLUE, lw=0.8, label="law 2⁻ʲᐟ²√2/3")
    for x, y, color, name in (
        (js, a["errors"], BLUE, "measured"),
        (js[:-1], a["corners"], RED, "control: left ends"),
        (js, a["ramp"], ORANGE, "control: f(x) = x"),
    ):
        slope = np.polyfit(x, np.log2(y), 1)[0]
        axes.plot(x, y, MARKS[color], color=color, label=f"{name}, slope {slope:.4f}")
    resolution_axes(axes, "f = 1[x < 1/3]", "‖f - Pⱼf‖")
    rest.plot(js, np.maximum(np.abs(a["errors"] / a["law"] - 1), SMALLEST), "o", color=BLUE, label="measured")
    rest.axhline(1e-13, color=GREY, lw=1, label="bound")
    rest.plot(js[:-1], np.abs(a["corners"] / a["law"][:-1] - 1), "D", color=RED, label="control: left ends")
    resolution_axes(rest, "relative distance from the law", "")
    logarithmic(rest)
    rest.set_ylim(SMALLEST / 2, 10)
    legends_below(figure, [axes, rest])
    return figure


def brownian(evidence: Evidence) -> Figure:
    """A6: both laws for Brownian paths, and below the ratio of measured to law inside its interval."""
    a = evidence.arrays
    js = a["j"]
    figure = canvas(1.7 * PANEL)
    drawn = figure.subplots(2, 2, sharex=True, height_ratios=(3, 2))
    cases = (
        ("errors", "law", "error_width", "ends", "E‖B - PⱼB‖²", "law 2⁻ʲ/6", "control: first sibling"),
        (
            "variances",
            "spread",
            "variance_width",
            "white",
            "Var⟨B, ψⱼ⟩",
            "law 2⁻²ʲ/12",
            "control: white noise",
        ),
    )
    for (above, below), (measured, law, width, control, title, label, control_label) in zip(drawn.T, cases, strict=True):
        beyond = float(a["beyond"]) if measured == "errors" else 0.0  # |B - P_J B|^2, which the sampled P_J B does not hold
        slope = np.polyfit(js, np.log2(a[measured] + beyond), 1)[0]
        above.plot(js, a[law] + beyond, "-", color=BLUE, lw=0.8, label=label)
        above.plot(js, a[measured] + beyond, "o", color=BLUE, label=f"measured, slope {slope:.3f}")
        above.plot(js, a[control] + beyond, "D", color=RED, label=control_label)
        resolution_axes(above, title, "")
        above.set_xlabel("")
        below.fill_between(js, 1 - a[width], 1 + a[width], color=GREY, alpha=0.25, label="interval", lw=0)
        below.plot(js, a[measured] / a[law], "o", color=BLUE)
        below.set_xlabel("resolution j")
    drawn[1, 0].set_ylabel("measured / law")
    legends_below(figure, *drawn)
    return figure


def pyramid(evidence: Evidence) -> Figure:
    """B2: an image pooled level by level, PyWavelets' approximations of it, and their difference."""
    a = evidence.arrays
    levels = sum(name.startswith("pooled_") for name in a)
    figure = canvas(3 * side(levels) + 0.8)
    rows = figure.subplots(3, levels, squeeze=False)
    low, high = float(a["pooled_0"].min()), float(a["pooled_0"].max())
    largest = max(float(np.abs(a[f"difference_{level}"]).max()) for level in range(levels)) or SMALLEST
    for level in range(levels):
        for axes, name in zip(rows[:2, level], ("pooled", "pywavelets"), strict=True):
            picture(axes, a[f"{name}_{level}"], low, high)
        shown = picture(rows[2, level], a[f"difference_{level}"], high=largest, signed=True)
        cells = a[f"pooled_{level}"].shape[0]
        rows[0, level].set_title(f"{cells} x {cells}" if level else f"image\n{cells} x {cells}")
    for axes, label in zip(rows[:, 0], ("average\npooling", "PyWavelets", "difference"), strict=True):
        axes.set_ylabel(label)
    figure.colorbar(shown, ax=rows[2, :], orientation="horizontal", fraction=0.2, aspect=60 if wide() else 25)
    return figure


def other_poolings(evidence: Evidence) -> Figure:
    """B6: every pooling against every statement; a defect near 1e-16 is rounding, one near 1 a statement that is false."""
    table = np.maximum(evidence.arrays["margins"], SMALLEST)  # NaN, where a pooling has no version of a statement, stays
    poolings, statements = (evidence.arrays[name].tolist() for name in ("poolings", "statements"))
    figure, (axes,) = panels(1, 0.3 + 0.19 * len(poolings))
    shown = matrix(axes, np.log10(table), poolings, statements, cmap="cividis", vmin=-16, vmax=0.5)
    write_cells(
        axes,
        shown,
        lambda power: "-" if np.isnan(power) else "0" if 10**power <= 2 * SMALLEST else f"{10**power:.1g}",
        lambda shade: shade < 0.5,
    )
    return figure

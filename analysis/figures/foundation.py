"""Figures of claims A and B: the laws of convergence, the pyramid, the other poolings."""

import numpy as np
from matplotlib.figure import Figure

from analysis.evidence import Evidence
from analysis.figures.style import BLUE, GREEN, GREY, ORANGE, RED, SMALLEST, resolution_axes


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
        resolution_axes(axes, f"d = {d}", r"$\|f - P_j f\|$" if d == 1 else "")
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
    resolution_axes(axes, r"$f = 1[x < 1/3]$", r"$\|f - P_j f\|$")
    axes.legend(loc="lower left")
    rest.plot(js, np.maximum(np.abs(a["errors"] / a["law"] - 1), SMALLEST), "o", color=BLUE, label="measured")
    rest.axhline(1e-13, color=GREY, lw=1, label="bound")
    rest.plot(js[:-1], np.abs(a["corners"] / a["law"][:-1] - 1), "D", color=RED, label="control: left ends")
    resolution_axes(rest, "relative distance from the law", "")
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
        resolution_axes(above, title, "")
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

"""Figures of claims D: a path from a point mass, orders of convergence, stable steps, and the gain of cells against time."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from analysis.evidence import Evidence
from analysis.figures.layout import first_label, legends_below, logarithmic, panels, picture, side, subscript
from analysis.figures.style import BLUE, GREEN, GREY, MARKS, ORANGE, RED, SMALLEST, STROKES, wide


def filmstrip(evidence: Evidence) -> Figure:
    """D1: a diffusion from a point mass, one resolution after another."""
    a = evidence.arrays
    js = sorted(int(name.removeprefix("frame_")) for name in a if name.startswith("frame_"))
    figure, drawn = panels(len(js) + 1, side(len(js) + 1 if wide() else 4) + 0.3, across=4)
    limit = 1.05 * max(float(np.abs(a[f"frame_{j}"]).max()) for j in js)
    states = [np.zeros((1, 1)), *(a[f"frame_{j}"] for j in js)]
    titles = ["point mass\nt = 0", *(f"V{subscript(j)}\nt = {float(a[f'time_{j}']):.4g}" for j in js)]
    for axes, state, title in zip(drawn, states, titles, strict=True):
        picture(axes, state, high=limit, signed=True)
        axes.set_title(title)
    return figure


def orders(evidence: Evidence) -> Figure:
    """D2: strong and weak errors against the step size, each with its fitted order, and the inconsistent schemes."""
    a = evidence.arrays
    figure, drawn = panels(3)
    colors = (BLUE, GREY, ORANGE, GREEN, RED)
    for axes, kind in zip(drawn, ("strong", "weak, mean", "weak, square"), strict=True):
        for number, (name, color) in enumerate(zip(a["names"], colors, strict=True)):
            key = f"{number} {kind}"
            if f"{key}: h" in a:
                h, error, (slope, low, high) = a[f"{key}: h"], a[f"{key}: error"], a[f"{key}: slope"]
                axes.plot(h, error, MARKS[color], color=color, label=f"{name}: {slope:.3f} ({low:.3f}, {high:.3f})")
                axes.plot(h, error[-1] * (h / h[-1]) ** slope, "-", color=color, lw=0.8)
                for wrong, line in (("noise by h", ":"), ("drift m1 + 2 m2", "--")):
                    if f"{key}: {wrong}" in a:
                        axes.plot(h, a[f"{key}: {wrong}"], MARKS[color] + line, color=color, lw=0.8, mfc="white")
        for line, wrong in ((":", "noise scaled by h"), ("--", "drift m₁ + 2m₂")):
            axes.plot([], [], line, color=GREY, lw=0.8, label=f"control: {wrong}")
        axes.set(xlabel="step h", title=f"{kind}: fitted order (95 %)")
        logarithmic(axes, "xy")
    first_label(drawn, "error")
    legends_below(figure, drawn)
    return figure


def stability(evidence: Evidence) -> Figure:
    """D4: where a step shrinks the state, for the two-step and the one-step scheme."""
    a = evidence.arrays
    at = a["ah"]
    figure, drawn = panels(2, min(side(2), 2.3) + (0.8 if wide() else 1.0), across=2, sharey=True)
    for axes, name in zip(drawn, ("two-step", "one-step"), strict=True):
        values = np.log10(np.maximum(a[name], SMALLEST))
        extent = (at[0], at[-1], at[0], at[-1])
        shown = axes.imshow(values, origin="lower", extent=extent, cmap="RdBu_r", vmin=-1, vmax=1)
        axes.contour(at, at, a[name], [1.0], colors="black", linewidths=1.2)
        axes.plot([at[0], at[-1]], [at[0], at[-1]], ":", color=GREY, lw=1)
        end = 2.0 if name == "two-step" else 1.0
        axes.plot([end], [end], "o", color="black")
        axes.annotate(f"(a + b)h = {2 * end:.0f}", (end, end), (6, 6), textcoords="offset points", fontsize=7)
        axes.set(title=f"{name} Euler", xlabel="a h")
        axes.grid(visible=False)
    first_label(drawn, "b h")
    bar = figure.colorbar(shown, ax=drawn, location="bottom", aspect=40 if wide() else 25)
    bar.set_label("log₁₀|Z′/Z|: below 0 a step shrinks the state")
    return figure


def gains(evidence: Evidence) -> Figure:
    """D6: Lipschitz constants of reverse drifts on the line 1/t; gain and gradient of HVAE cells against their time."""
    a = evidence.arrays
    figure, (law, gain, gradient) = panels(3)
    names = [name.removeprefix("process ") for name in a if name.startswith("process ")]
    for name, color in zip(names, (BLUE, ORANGE, GREEN), strict=True):
        law.plot(a["t"], a[f"process {name}"], MARKS[color], color=color, label=name)
    law.plot(a["t"], 1 / a["t"], "-", color=GREY, lw=0.8, label="1/t")
    law.plot(a["t"], a["spread"], "D", color=RED, label="control: a spread start")
    law.set(xlabel="t", ylabel="Lipschitz constant", title="reverse drift of known processes")
    logarithmic(law, "xy")
    t = a["hvae_t"]
    for axes, kind, title in ((gain, "gain", "gain of HVAE cells"), (gradient, "gradient", "‖∂(-ELBO)/∂Zₖ‖")):
        for label, color in (("trained", BLUE), ("untrained", ORANGE)):
            values = a[f"{kind} {label}"]
            low, middle, high = np.quantile(values, (0, 0.5, 1), axis=1)
            slope = f": $t^{{{a[f'slope {label}'][0]:.2f}}}$" if kind == "gain" else ""
            axes.plot(t, middle, STROKES[color], color=color, label=label + slope)
            axes.fill_between(t, low, high, color=color, alpha=0.2, lw=0)
        for position in np.flatnonzero(np.diff(a["sides"])) + 1:
            axes.axvline((t[position - 1] * t[position]) ** 0.5, color=GREY, lw=0.6, ls=":")
        axes.set(xlabel="t, the share of steps taken", title=title)
        logarithmic(axes, "xy")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xticks([0.1, 0.2, 0.5, 1.0], ["0.1", "0.2", "0.5", "1"])
    gain.plot(t, 1 / t, "-", color=GREY, lw=0.8, label="1/t")
    legends_below(figure, [law, gain, gradient])
    return figure

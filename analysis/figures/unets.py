"""Figures of claims C: what U-Nets do, closed-form twins first, then trained networks."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from analysis.evidence import Evidence
from analysis.figures.layout import (
    canvas,
    first_label,
    legend,
    legends_below,
    logarithmic,
    matrix,
    outline,
    panels,
    picture,
    resolution_axes,
    side,
    subscript,
    write_cells,
)
from analysis.figures.style import BLUE, GREEN, GREY, HATCHES, MARKS, ORANGE, PANEL, RED, SMALLEST, STROKES, wide


def haar_unet(evidence: Evidence) -> Figure:
    """C1: pooled activations and skips of the Haar U-Net above PyWavelets' approximations and details."""
    a = evidence.arrays
    levels = sum(name.startswith("pools_") for name in a)
    rows = [
        ("pools", "U-Net\npooled"),
        ("approximation", "PyWavelets\nmeans"),
        ("skips", "U-Net\nskip"),
        ("detail", "PyWavelets\ndetails"),
    ]
    figure = canvas(4 * side(levels) + 0.3)
    drawn = figure.subplots(4, levels, squeeze=False)
    for row, (name, label) in zip(drawn, rows, strict=True):
        row[0].set_ylabel(label)
        for level, axes in enumerate(row):
            picture(axes, a[f"{name}_{level}"], signed=name in ("skips", "detail"))
    for level, axes in enumerate(drawn[0]):
        axes.set_title(f"level {level + 1}")
    return figure


def pooled_activations(evidence: Evidence) -> Figure:
    """C2: a trained network's activation pyramid beside PyWavelets', and the distances at each site."""
    a = evidence.arrays
    levels = len(a["max"])
    high = side(levels + 1)
    figure = canvas(2 * high + PANEL + 0.3)
    grid = figure.add_gridspec(3, levels + 1, height_ratios=(high, high, PANEL))
    for row, (name, label) in enumerate((("pooled", "pooled\nactivation"), ("pywavelets", "PyWavelets\nof its input"))):
        for level in range(levels):
            axes = figure.add_subplot(grid[row, level + 1])
            picture(axes, a[f"{name}_{level}"])
            if row == 0:
                axes.set_title("{0} x {0}".format(len(a[f"{name}_{level}"])), fontsize=7)
        axes.yaxis.set_label_position("right")
        axes.set_ylabel(label)
    axes = figure.add_subplot(grid[:2, 0])
    picture(axes, a["image"])
    axes.set_title("image")
    axes = figure.add_subplot(grid[2, :])
    cases = (
        ("float64", "average pooling, float64", BLUE),
        ("float32", "average pooling, float32", GREEN),
        ("max", "max pooling", RED),
    )
    _bars(axes, [(np.maximum(a[name], SMALLEST), label, color) for name, label, color in cases])
    axes.axhline(1e-6, color=GREY, lw=1, label="bounds: float32, float64")
    axes.axhline(1e-13, color=GREY, lw=1)
    axes.set_ylim(1e-17, 5)
    axes.set_xticks(range(levels), [f"pools.{site}" for site in range(levels)])
    axes.set_ylabel("relative distance")
    legend(figure, axes, at="lower")
    return figure


def _bars(axes: Axes, cases: list[tuple[np.ndarray, str, str]]) -> None:
    """Three bars at each place, on a logarithmic axis."""
    for offset, (values, label, color) in enumerate(cases):
        at = np.arange(len(values)) + 0.27 * (offset - 1)
        axes.bar(at, values, 0.25, color=color, label=label, hatch=HATCHES[color], edgecolor="white", linewidth=0)
    logarithmic(axes)


def split_loss(evidence: Evidence) -> Figure:
    """C3: how the loss of the trained network, of the untrained one and of the noise divides among levels."""
    a = evidence.arrays
    cases = (("noise", "input: the noise", GREY), ("untrained", "untrained network", ORANGE), ("trained", "trained network", BLUE))
    figure, (axes,) = panels(1)
    _bars(axes, [(a[name], f"{label}, sum {a[name].sum():.2g}", color) for name, label, color in cases])
    details = range(1, len(a["trained"]))
    axes.set_xticks(range(len(a["trained"])), [*(f"level {level}" for level in details), "mean"])
    axes.set_xlabel("details of each level, and the mean")
    axes.set_ylabel("part of ‖Ux - w‖²")
    legend(figure, axes)
    return figure


def optimum(evidence: Evidence) -> Figure:
    """C4: the distance of each resolution's map from the closed-form optimum over gradient descent."""
    a = evidence.arrays
    figure, drawn = panels(len(a["cases"]), sharey=True)
    strokes = list(STROKES.items())
    for number, (axes, name) in enumerate(zip(drawn, a["cases"], strict=True)):
        every = -(-len(a[f"steps_{number}"]) // 6)
        for j, curve in enumerate(a[f"distances_{number}"].T):
            color, stroke = strokes[j % len(strokes)]
            axes.plot(
                a[f"steps_{number}"], curve, stroke, color=color, label=f"into V{subscript(j)}", markevery=(j * every // 6, every)
            )
        wrong = [control.measured for control in evidence.controls if control.what.endswith(str(name))]
        last = float(a[f"steps_{number}"][-1])
        axes.plot([last] * len(wrong), wrong, "*", color="black", ms=6, label="wrong target: Pⱼ₊₁W")
        axes.axhline(0.01, color="black", lw=1, label="bound, 1 %")
        axes.set(xlabel="step of gradient descent", title=str(name))
        logarithmic(axes)
    first_label(drawn, "‖Uⱼ - PⱼW‖ / ‖PⱼW‖, Frobenius")
    legends_below(figure, drawn)
    return figure


def bases(evidence: Evidence) -> Figure:
    """C5: the unexplained fraction of every basis for every network, encoder and decoder, trained and untrained; then by level."""
    a = evidence.arrays
    poolings, wavelets = [str(p) for p in a["poolings"]], [str(w) for w in a["wavelets"]]
    levels = a["trained_encoder_unexplained"].shape[1]
    high, rows = 0.1 * len(poolings), 1 if wide() else 2
    figure = canvas(6 * high + 1.2 + rows * (PANEL - 0.2))
    grid = figure.add_gridspec(2, 1, height_ratios=(6 * high, rows * (PANEL - 0.5)))
    drawn = grid[0].subgridspec(6, 1).subplots(squeeze=False)[:, 0]
    starts = np.arange(levels - 1) * (len(wavelets) + 1)  # the levels side by side, a column between them
    cases = [(part, state) for part in ("encoder", "decoder") for state in ("untrained", "random", "trained")]
    for axes, (part, state) in zip(drawn, cases, strict=True):
        values = a[f"{state}_{part}_unexplained"][:, 1:]
        apart = np.pad(np.maximum(values, SMALLEST), [(0, 0), (0, 0), (0, 1)], constant_values=np.nan)
        shades = apart.reshape(len(poolings), -1)[:, :-1]
        shown = matrix(axes, shades, poolings, [], cmap="cividis", norm=LogNorm(1e-7, 1))
        best = values.argmin(2) + starts
        axes.plot(best.T.ravel(), np.tile(range(len(poolings)), levels - 1), "o", color="white", mec="black", mew=0.4)
        for own in range(len(wavelets)):
            for start in starts:
                outline(axes, own, start + own, RED)
        label = {"untrained": "before\ntraining", "random": "random\nweights", "trained": "trained"}[state]
        axes.set_ylabel(f"{part}\n{label}", fontweight="bold" if state == "trained" else "normal")
        axes.tick_params(labelsize=6)
        axes.spines[:].set_visible(False)
    names = [(start + column, name) for start in starts for column, name in enumerate(wavelets)]
    axes.set_xticks(*zip(*names, strict=True), rotation=90)
    for level, start in enumerate(starts, start=2):
        middle = start + (len(wavelets) - 1) / 2
        drawn[0].annotate(f"level {level}", (middle, -0.5), (0, 4), textcoords="offset points", ha="center", annotation_clip=False)
    bar = figure.colorbar(shown, ax=drawn, location="top", fraction=0.02, aspect=60 if wide() else 25, extend="min")
    bar.set_label("unexplained fraction 1 - R², held out")
    both: list[Axes] = list(np.ravel(np.asarray(grid[1].subgridspec(rows, 2 // rows).subplots(sharey=True))))
    for axes, part in zip(both, ("encoder", "decoder"), strict=True):
        _by_level(axes, a, part)
    first_label(both, "1 - R², 95 % over images")
    legend(figure, *both, at="lower")
    return figure


def _by_level(axes: Axes, a: dict[str, np.ndarray], part: str) -> None:
    """Average pooling and max pooling: 1 - R^2 of Haar and of the best other basis, with intervals over images."""
    levels = np.arange(1, a["trained_encoder_unexplained"].shape[1] + 1)
    for row, state, color, label in (
        (0, "trained", BLUE, "average, trained"),
        (0, "random", ORANGE, "average, random"),
        (len(a["poolings"]) - 2, "trained", RED, "max, trained"),
    ):
        value, low, high = (a[f"{state}_{part}_{name}"][row] for name in ("unexplained", "low", "high"))
        rival = value[:, 1:].argmin(1) + 1
        for columns, line, face, name in ((np.zeros_like(rival), "-", color, "Haar"), (rival, ":", "white", "best other")):
            at = (np.arange(len(levels)), columns)
            spread = np.maximum([value[at] - low[at], high[at] - value[at]], 0)
            axes.errorbar(
                levels,
                np.maximum(value[at], SMALLEST),
                spread,
                fmt=MARKS[color] + line,
                color=color,
                mfc=face,
                capsize=2,
                label=f"{label}: {name}",
            )
    axes.set(xlabel="level", title=part, xticks=levels)
    logarithmic(axes)


def skips(evidence: Evidence) -> Figure:
    """C6: skip by sub-band, for the closed-form twin, an untrained and the trained network, and max pooling."""
    a = evidence.arrays
    cases = (("twin", "Haar U-Net"), ("untrained 0", "untrained"), ("average", "trained"), ("max", "trained, max pooling"))
    figure, drawn = panels(len(cases), 1.35, across=2)
    for axes, (name, title) in zip(drawn, cases, strict=True):
        skips, bands = a[name].shape
        columns = [*(f"d{k}" for k in range(1, bands)), "a"]
        shown = matrix(axes, a[name], [f"skip {k}" for k in range(skips)], columns, cmap="Blues", vmin=0, vmax=1)
        write_cells(axes, shown, lambda share: f"{share:.2f}", lambda shade: shade > 0.6)
        for k in range(skips):
            outline(axes, k, k, "black")
        axes.set_title(title)
    figure.supxlabel("sub-band of the output: details of level 1, 2, ..., approximation", fontsize=7)
    return figure


def truncation(evidence: Evidence) -> Figure:
    """C7: the output's error against the resolution, linear and nonlinear, with its bound and the control."""
    a = evidence.arrays
    figure, drawn = panels(len(a["functions"]))
    for axes, name in zip(drawn, a["functions"], strict=True):
        js = a[f"J {name}"]
        axes.plot(js, a[f"bound {name}"], "-", color=GREY, lw=1, label=r"bound $L\,\|f - P_Jf\|$")
        for kind, color, label in (
            ("linear", BLUE, "linear"),
            ("leaky ReLU", GREEN, "leaky ReLU"),
            ("growing", RED, "control: norms like 2ʲ"),
        ):
            errors = a[f"{kind} {name}"]
            slope = np.polyfit(js, np.log2(errors), 1)[0]
            axes.plot(js, errors, MARKS[color], color=color, label=f"{label}, slope {slope:.2f}")
        resolution_axes(axes, str(name), "")
        axes.set_xlabel("resolution J")
    first_label(drawn, r"$\|Uf - U_JP_Jf\|$")
    legends_below(figure, drawn)
    return figure

"""Figures of claims C: what U-Nets do, closed-form twins first, then trained networks."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from analysis.evidence import Evidence
from analysis.figures.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SMALLEST, resolution_axes

COLORS = (BLUE, ORANGE, GREEN, RED, PURPLE, GREY)


def _picture(axes: Axes, values: np.ndarray, signed: bool = False) -> AxesImage:
    """A grey picture over its own range, or a signed one about zero."""
    largest = float(np.abs(values).max()) or 1.0
    limits = (-largest, largest) if signed else (float(values.min()), float(values.max()))
    shown = axes.imshow(values, cmap="RdBu_r" if signed else "gray", vmin=limits[0], vmax=limits[1], interpolation="none")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    return shown


def _halves(figure: Figure, heights: tuple[int, int]) -> tuple[SubFigure, SubFigure]:
    above, below = np.ravel(np.asarray(figure.subfigures(2, 1, height_ratios=heights)))
    return above, below


def haar_unet(evidence: Evidence) -> Figure:
    """C1: pooled activations and skips of the Haar U-Net above PyWavelets' approximations and details."""
    a = evidence.arrays
    levels = sum(name.startswith("pools_") for name in a)
    rows = [("pools", "U-Net\npooled"), ("approximation", "PyWavelets\napproximation")]
    rows += [("skips", "U-Net\nskip"), ("detail", "PyWavelets\ndetails")]
    figure = Figure(figsize=(1.7 * levels + 0.6, 7.2))
    panels = figure.subplots(4, levels, squeeze=False)
    for row, (name, label) in zip(panels, rows, strict=True):
        row[0].set_ylabel(label)
        for level, axes in enumerate(row):
            _picture(axes, a[f"{name}_{level}"], signed=name in ("skips", "detail"))
    for level, axes in enumerate(panels[0]):
        axes.set_title(f"level {level + 1}")
    return figure


def pooled_activations(evidence: Evidence) -> Figure:
    """C2: a trained network's activation pyramid beside PyWavelets', and the distances at each site."""
    a = evidence.arrays
    levels = len(a["max"])
    figure = Figure(figsize=(1.7 * (levels + 1) + 0.4, 6.2))
    above, below = _halves(figure, (3, 2))
    panels = above.subplots(2, levels + 1)
    for row, (name, label) in zip(
        panels, (("pooled", "pooled\nactivation"), ("pywavelets", "PyWavelets of\nits input")), strict=True
    ):
        _picture(row[0], a["image"])
        row[1].set_ylabel(label)
        for level in range(levels):
            _picture(row[level + 1], a[f"{name}_{level}"])
    panels[0, 0].set_title("image")
    panels[1, 0].set_visible(False)
    for level in range(levels):
        side = a[f"pooled_{level}"].shape[0]
        panels[0, level + 1].set_title(f"{side} x {side}")
    axes = below.subplots()
    sites = np.arange(levels)
    for offset, (name, label, color) in enumerate(
        (("float64", "average pooling, float64", BLUE), ("float32", "average pooling, float32", GREEN), ("max", "max pooling", RED))
    ):
        axes.bar(sites + 0.27 * (offset - 1), np.maximum(a[name], SMALLEST), 0.25, color=color, label=label)
    axes.axhline(1e-6, color=GREY, lw=1)
    axes.axhline(1e-13, color=GREY, lw=1)
    axes.set_yscale("log")
    axes.set_ylim(1e-17, 5)
    axes.set_xticks(sites, [f"pools.{site}" for site in sites])
    axes.set_ylabel("relative distance")
    below.legend(loc="outside upper center", ncols=3)
    return figure


def split_loss(evidence: Evidence) -> Figure:
    """C3: how the loss of the trained network, of the untrained one and of the noise divides among levels."""
    a = evidence.arrays
    cases = (("noise", "input: the noise", GREY), ("untrained", "untrained network", ORANGE), ("trained", "trained network", BLUE))
    figure = Figure(figsize=(7.2, 3.4))
    axes = figure.subplots()
    places = np.arange(len(a["trained"]))
    for offset, (name, label, color) in enumerate(cases):
        axes.bar(places + 0.27 * (offset - 1), a[name], 0.25, color=color, label=f"{label}, sum {a[name].sum():.2g}")
    axes.set_yscale("log")
    axes.set_xticks(places, [f"details\nlevel {place + 1}" for place in places[:-1]] + ["mean"])
    axes.set_ylabel(r"share of $\|Ux - w\|^2$")
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def optimum(evidence: Evidence) -> Figure:
    """C4: the distance of each resolution's map from the closed-form optimum over gradient descent."""
    a = evidence.arrays
    figure = Figure(figsize=(9.0, 3.6))
    panels = figure.subplots(1, len(a["cases"]), sharey=True)
    for number, (axes, name) in enumerate(zip(panels, a["cases"], strict=True)):
        for j, curve in enumerate(a[f"distances_{number}"].T):
            axes.plot(a[f"steps_{number}"], curve, color=COLORS[j % len(COLORS)], label=f"into $V_{j}$")
        wrong = [control.measured for control in evidence.controls if control.what.endswith(str(name))]
        last = float(a[f"steps_{number}"][-1])
        axes.plot([last] * len(wrong), wrong, "D", color=RED, label="wrong target: $P_{j+1}W$")
        axes.axhline(0.01, color=GREY, lw=1, label="bound, 1 %")
        axes.set(yscale="log", xlabel="step of gradient descent", title=str(name))
        axes.legend(loc="lower left", ncols=2)
    panels[0].set_ylabel(r"$\|U_j - P_jW\|_F\,/\,\|P_jW\|_F$")
    return figure


def bases(evidence: Evidence) -> Figure:
    """C5: the unexplained fraction of every basis for every network, encoder and decoder, trained and untrained; then by level."""
    a = evidence.arrays
    poolings, wavelets = [str(p) for p in a["poolings"]], [str(w) for w in a["wavelets"]]
    levels = a["trained_encoder_unexplained"].shape[1]
    figure = Figure(figsize=(10.6, 14.4))
    above, below = _halves(figure, (18, 5))
    panels = above.subplots(6, levels - 1, sharex=True, sharey=True)
    cases = [(side, state) for side in ("encoder", "decoder") for state in ("untrained", "random", "trained")]
    for row, (side, state) in zip(panels, cases, strict=True):
        label = {"untrained": "before training", "random": "random weights", "trained": "trained"}[state]
        row[0].set_ylabel(f"{side}\n{label}", fontweight="bold" if state == "trained" else "normal")
        for axes, level in zip(row, range(1, levels), strict=True):
            shown = _matrix(axes, a[f"{state}_{side}_unexplained"][:, level], poolings, wavelets)
    for axes, level in zip(panels[0], range(2, levels + 1), strict=True):
        axes.set_title(f"level {level}")
    bar = above.colorbar(shown, ax=panels, fraction=0.03, extend="min")
    bar.set_label("unexplained fraction $1 - R^2$, held out")
    for axes, side in zip(below.subplots(1, 2, sharey=True), ("encoder", "decoder"), strict=True):
        _by_level(axes, a, side)
    return figure


def _matrix(axes: Axes, values: np.ndarray, poolings: list[str], wavelets: list[str]) -> AxesImage:
    shown = axes.imshow(np.maximum(values, SMALLEST), cmap="cividis", norm=LogNorm(1e-7, 1), aspect="auto")
    for row in range(len(poolings)):
        best = int(values[row].argmin())
        axes.plot(best, row, "o", color="white", ms=3)
        if row < len(wavelets):
            axes.add_patch(Rectangle((row - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=RED, lw=1.4))
    axes.set_xticks(range(len(wavelets)), wavelets, rotation=90, fontsize=7)
    axes.set_yticks(range(len(poolings)), poolings, fontsize=7)
    axes.grid(visible=False)
    return shown


def _by_level(axes: Axes, a: dict[str, np.ndarray], side: str) -> None:
    """Average pooling and max pooling: 1 - R^2 of Haar and of the best other basis, with intervals over images."""
    levels = np.arange(1, a["trained_encoder_unexplained"].shape[1] + 1)
    for row, state, color, label in (
        (0, "trained", BLUE, "average pooling, trained"),
        (0, "random", ORANGE, "average pooling, random"),
        (len(a["poolings"]) - 2, "trained", RED, "max pooling, trained"),
    ):
        value, low, high = (a[f"{state}_{side}_{name}"][row] for name in ("unexplained", "low", "high"))
        rival = value[:, 1:].argmin(1) + 1
        for columns, marker, line, name in ((np.zeros_like(rival), "o", "-", "Haar"), (rival, "s", ":", "best other")):
            at = (np.arange(len(levels)), columns)
            spread = np.maximum([value[at] - low[at], high[at] - value[at]], 0)
            legend = f"{label}: {name}"
            axes.errorbar(levels, np.maximum(value[at], SMALLEST), spread, fmt=marker + line, color=color, capsize=2, label=legend)
    axes.set(yscale="log", xlabel="level", title=side, xticks=levels)
    if side == "encoder":
        axes.set_ylabel("$1 - R^2$, 95 % over images")
    else:  # where there is room
        axes.legend(fontsize=7, loc="lower center", ncols=2)


def skips(evidence: Evidence) -> Figure:
    """C6: skip by sub-band, for the closed-form twin, an untrained and the trained network, and max pooling."""
    a = evidence.arrays
    cases = (("twin", "Haar U-Net"), ("untrained 0", "untrained"), ("average", "trained"), ("max", "trained, max pooling"))
    figure = Figure(figsize=(10.4, 3.0))
    panels = figure.subplots(1, len(cases), sharey=True)
    for axes, (name, title) in zip(panels, cases, strict=True):
        shares = a[name]
        shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(shares):
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color="white" if value > 0.6 else "black")
            if column == row:
                axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="black", lw=1.4))
        axes.set_xticks(range(shares.shape[1]), [f"d{k + 1}" for k in range(shares.shape[1] - 1)] + ["a"])
        axes.set_yticks(range(shares.shape[0]), [f"skip {k}" for k in range(shares.shape[0])])
        axes.set_title(title)
        axes.grid(visible=False)
    figure.colorbar(shown, ax=panels, fraction=0.03).set_label("share of the change")
    figure.supxlabel("sub-band of the output: details of level 1, 2, ..., approximation", fontsize=9)
    return figure


def truncation(evidence: Evidence) -> Figure:
    """C7: the output's error against the resolution, linear and nonlinear, with its bound and the control."""
    a = evidence.arrays
    figure = Figure(figsize=(9.0, 4.2))
    for axes, name in zip(figure.subplots(1, len(a["functions"])), a["functions"], strict=True):
        js = a[f"J {name}"]
        axes.plot(js, a[f"bound {name}"], "-", color=GREY, lw=1, label=r"bound $L\,\|f - P_Jf\|$")
        for kind, marker, color, label in (
            ("linear", "o", BLUE, "linear"),
            ("leaky ReLU", "s", GREEN, "leaky ReLU"),
            ("growing", "D", RED, r"control: norms like $2^j$"),
        ):
            errors = a[f"{kind} {name}"]
            slope = np.polyfit(js, np.log2(errors), 1)[0]
            axes.plot(js, errors, marker, color=color, label=f"{label}, slope {slope:.2f}")
        resolution_axes(axes, str(name), r"$\|Uf - U_JP_Jf\|$")
        axes.set_xlabel("resolution J")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    return figure

"""Figures of claims E and of probes: time in the states, sampling in parts, bases of the states, refined steps.

Each draws the arrays of one probe, of the networks that are in them: the trained one, and where it is there the untrained one.
"""

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from analysis.evidence import Evidence
from analysis.figures.style import BLUE, GREY, ORANGE, RED, SMALLEST
from analysis.filters import WAVELETS

Arrays = dict[str, np.ndarray]
NETWORKS = {"trained": BLUE, "untrained": ORANGE}


def _networks(a: Arrays, name: str) -> Iterator[tuple[str, str, np.ndarray]]:
    """Label, colour and values of each network that has them."""
    for label, colour in NETWORKS.items():
        if f"{label} {name}" in a:
            yield label, colour, a[f"{label} {name}"]


def _over_time(axes: Axes, a: Arrays) -> np.ndarray:
    """The axis of time, with the changes of resolution dotted and named; returns the time of each state."""
    sides = a["sides"]
    t = np.arange(1, len(sides) + 1) / len(sides)
    changes = np.flatnonzero(np.diff(sides)) + 1
    starts = [0, *changes]
    for k in changes:
        axes.axvline((t[k - 1] + t[k]) / 2, color=GREY, lw=0.6, ls=":")
    for first, end in zip(starts, [*changes, len(sides)], strict=True):
        where = (t[first] + t[end - 1]) / 2
        axes.text(
            where, 1.0, str(sides[first]), transform=axes.get_xaxis_transform(), ha="center", va="bottom", color=GREY, fontsize=7
        )
    axes.set_xlabel("t, the share of steps taken; above: cells a side")
    return np.asarray(t)


def _log(axes: Axes) -> None:
    """A logarithmic axis whose labels are plain numbers."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def nats(evidence: Evidence) -> Figure:
    """The KL of each step, and of all steps at each resolution."""
    a = evidence.arrays
    figure = Figure(figsize=(7.2, 3.0))
    axes = figure.subplots()
    t = _over_time(axes, a)
    axes.bar(t, a["kl"], 0.7 / len(t), color=BLUE)
    sides = list(dict.fromkeys(a["sides"].tolist()))
    said = ", ".join(f"{side} x {side} {kl:.2f}" for side, kl in zip(sides, a["kl by resolution"], strict=True))
    axes.set_title(f"KL of each step in nats\nby resolution: {said}; ELBO {a['elbo'][0]:.2f}", pad=16)
    return figure


def time(evidence: Evidence) -> Figure:
    """E1: the norm of the state against time, and what is missing of growth and of the read-outs of time."""
    a = evidence.arrays
    figure = Figure(figsize=(9.6, 3.6))
    left, right = figure.subplots(1, 2, width_ratios=(5, 4))
    t = _over_time(left, a)
    for label, colour, (low, middle, high) in _networks(a, "norm"):
        left.plot(t, middle, "o-", color=colour, label=label)
        left.fill_between(t, low, high, color=colour, alpha=0.2, lw=0)
    _log(left)
    left.set_title("norm of the state, median and 90 % of images", pad=16)
    left.legend()
    _missing(right, a, judged=bool(evidence.checks))
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=4)
    return figure


ROWS = {
    "growth": "norm with depth:\n1 - correlation",
    "unexplained means all": "time from means,\nall steps: $1 - R^2$",
    "unexplained means within": "time from means,\nwithin resolutions",
    "unexplained norms all": "time from norms,\nall steps",
    "unexplained norms within": "time from norms,\nwithin resolutions",
}
LEAST = 1e-4


def _missing(axes: Axes, a: Arrays, judged: bool) -> None:
    """What is missing of a perfect correlation and of perfect read-outs, with intervals; the bound where it was judged."""
    rows = [name for name in ROWS if f"trained {name}" in a]
    colours = {name: colour for name, colour in (NETWORKS | {"shuffled": RED}).items() if f"{name} growth" in a}
    for number, (label, colour) in enumerate(colours.items()):
        for row, name in enumerate(rows):
            found = a[f"{label} {name}"]
            value, low, high = np.maximum(1 - found[[0, 2, 1]] if name == "growth" else found, LEAST)
            place = row + 0.22 * (number - (len(colours) - 1) / 2)
            said = f"{label} times" if label == "shuffled" else label
            spread = [[max(value - low, 0)], [max(high - value, 0)]]
            axes.errorbar(value, place, xerr=spread, fmt="o", color=colour, capsize=2, label=said if row == 0 else None)
    if judged:
        axes.axvline(0.1, color=GREY, lw=1, label="bound")
    axes.set_yticks(range(len(rows)), [ROWS[name] for name in rows])
    axes.invert_yaxis()
    axes.set(xscale="log", title="what is missing, on held-out images, 95 %")


def _sheet(axes: Axes, pictures: np.ndarray) -> None:
    """Pictures of shape (row, column, channel, y, x), a grey line between them."""
    wide = np.pad(np.clip(pictures, 0, 1), ((0, 0), (0, 0), (0, 0), (0, 1), (0, 1)), constant_values=0.5)
    whole = wide.transpose(0, 3, 1, 4, 2)
    grid = whole.reshape(whole.shape[0] * whole.shape[1], whole.shape[2] * whole.shape[3], -1)
    axes.imshow(grid[..., 0] if grid.shape[-1] == 1 else grid, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)


def _ticks(cells: int, side: int) -> np.ndarray:
    return (np.arange(cells) + 0.5) * (side + 1) - 0.5


def sampling(evidence: Evidence) -> Figure:
    """E4: images told step by step, temperatures, and the curves beside them."""
    a = evidence.arrays
    figure = Figure(figsize=(10.4, 11.0))
    above, below = np.ravel(np.asarray(figure.subfigures(2, 1, height_ratios=(5, 6))))
    side = a["sheet images"].shape[-1]
    axes = above.subplots()
    _sheet(axes, np.concatenate([a["sheet images"][:, None], a["sheet given"]], 1))
    counts = a["counts"].tolist()
    names = ["image", *(f"K = {k}" for k in counts)]
    names[1] += "\nsample"
    names[-1] += "\nrebuilt"
    axes.set_xticks(_ticks(len(names), side), names, fontsize=7)
    axes.xaxis.tick_top()
    axes.set_yticks([])
    above.suptitle("the first K latents from the image on the left, the others drawn", fontsize=9)
    left, right = np.ravel(np.asarray(below.subfigures(1, 2, width_ratios=(5, 6))))
    axes = left.subplots()
    _sheet(axes, a["sheet temperatures"])
    axes.set_yticks(_ticks(len(a["temperatures"]), side), [f"{t:.1f}" for t in a["temperatures"]])
    axes.set_xticks([])
    axes.set_ylabel("temperature")
    axes.set_anchor("N")
    left.suptitle("samples, the same noise in each column", fontsize=9)
    error, nats, gain, gradient = right.subplots(2, 2).flat
    _with_interval(error, a["counts"], a["error"], BLUE, "latents of the image")
    if "error, another image" in a:
        _with_interval(error, a["counts"], a["error, another image"], RED, "of another image")
        error.legend()
    error.set(xlabel="K", title="distance from the image", ylim=(0, None))
    error.xaxis.set_major_locator(MaxNLocator(integer=True))
    _with_interval(nats, a["temperatures"], a["elbo of samples"], BLUE, "samples")
    nats.axhline(a["elbo of images"][0], color=GREY, lw=1, label="test images")
    nats.axhspan(*a["elbo of images"][1:], color=GREY, alpha=0.25, lw=0)
    nats.set(xlabel="temperature", title="ELBO under the model, nats")
    nats.legend()
    for axes, name, title in ((gain, "gain", "gain of each step"), (gradient, "gradient", r"$\|\partial(-ELBO)/\partial Z_k\|$")):
        t = _over_time(axes, a)
        for label, colour, values in _networks(a, name):
            low, middle, high = np.quantile(values, (0, 0.5, 1), axis=1)
            axes.plot(t, middle, "o-", color=colour, label=label)
            axes.fill_between(t, low, high, color=colour, alpha=0.2, lw=0)
        _log(axes)
        axes.set_xlabel("t; above: cells a side")
        axes.set_title(title, pad=14)
    gradient.legend()
    return figure


def _with_interval(axes: Axes, x: np.ndarray, values: np.ndarray, colour: str, label: str) -> None:
    """A curve of (value, low, high) with its band."""
    axes.plot(x, values[:, 0], "o-", color=colour, label=label)
    axes.fill_between(x, values[:, 1], values[:, 2], color=colour, alpha=0.25, lw=0)


def bases(evidence: Evidence) -> Figure:
    """E5: the unexplained fraction of every basis at every step between the coarsest and the finest resolution."""
    a = evidence.arrays
    networks = list(_networks(a, "unexplained"))
    rows = len(a["trained basis steps"])
    figure = Figure(figsize=(1.2 + 4.5 * len(networks), 1.4 + 0.32 * rows))
    panels = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
    largest = max(float(values.max()) for _, _, values in networks)
    norm = LogNorm(max(min(float(values.min()) for _, _, values in networks), SMALLEST), largest)
    for axes, (label, _, values) in zip(panels, networks, strict=True):
        shown = axes.imshow(np.maximum(values, SMALLEST), cmap="cividis", norm=norm, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            best = column == values[row].argmin()
            colour = "white" if norm(value) < 0.5 else "black"
            axes.text(
                column, row, f"{value:.2g}", ha="center", va="center", fontsize=7, color=colour, weight="bold" if best else "normal"
            )
            if best:
                axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=RED, lw=1.6))
        axes.set_xticks(range(len(WAVELETS)), WAVELETS, fontsize=8)
        axes.set_title(label)
        axes.grid(visible=False)
    steps = zip(a["trained basis steps"], a["trained basis sides"], strict=True)
    panels[0].set_yticks(range(rows), [f"step {step}, {side} x {side}" for step, side in steps])
    bar = figure.colorbar(shown, ax=panels, fraction=0.03)
    _log(bar.ax)
    bar.set_label("unexplained $1 - R^2$, held out")
    return figure


def steps(evidence: Evidence) -> Figure:
    """E6: the ELBO against the number of steps that a shared cell takes, over the same time and at full length."""
    a = evidence.arrays
    at = [int(name.removeprefix("r ")) for name in a if name.startswith("r ")]
    figure = Figure(figsize=(1.0 + 3.1 * len(at), 3.5))
    panels = figure.subplots(1, len(at), sharey=True, squeeze=False)[0]
    near = 0.05 * abs(float(a["elbo"][0]))
    for axes, side in zip(panels, at, strict=True):
        axes.axhspan(-near, near, color=GREY, alpha=0.15, lw=0, label="5 % of the ELBO")
        for kind, colour, label in (
            ("refined", BLUE, "steps of length r/r'"),
            ("full steps", RED, "control: steps of full length"),
        ):
            if f"{kind} {side} counts" in a:
                _with_interval(axes, a[f"{kind} {side} counts"], a[f"{kind} {side} change"], colour, label)
        axes.set(xlabel="r', steps taken", title=f"{side} x {side}, trained with r = {int(a[f'r {side}'])}")
        axes.xaxis.set_major_locator(FixedLocator(a[f"refined {side} counts"].tolist()))
        axes.xaxis.set_minor_formatter(NullFormatter())
    panels[0].set_ylabel("change of the ELBO, nats")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure

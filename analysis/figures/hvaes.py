"""Figures of claims E and of probes: time in the states, sampling in parts, bases of the states, refined steps.

Each draws the arrays of one probe, of the networks that are in them: the trained one, and where it is there the untrained one.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from analysis.evidence import Evidence
from analysis.figures.layout import canvas, first_label, legend, matrix, outline, panels, write_cells
from analysis.figures.style import BLUE, GREEN, GREY, MARKS, ORANGE, PANEL, PURPLE, RED, SMALLEST, STROKES, wide, width
from analysis.filters import WAVELETS

Arrays = dict[str, np.ndarray]
NETWORKS = {"trained": BLUE, "untrained": ORANGE}
CONTROLS = {"biased": PURPLE, "turned": GREEN, "shuffled": RED}
SAID = {"biased": "untrained, with biases", "turned": "times one step late", "shuffled": "shuffled times"}


def _networks(a: Arrays, name: str) -> Iterator[tuple[str, str, np.ndarray]]:
    """Label, colour and values of each network that has them."""
    for label, colour in NETWORKS.items():
        if f"{label} {name}" in a:
            yield label, colour, a[f"{label} {name}"]


def _over_time(axes: Axes, a: Arrays, title: str, more: Sequence[str] = ()) -> np.ndarray:
    """The axis of time, with the changes of resolution dotted, named above with more of it; returns the time of each state."""
    sides = a["sides"]
    t = np.arange(1, len(sides) + 1) / len(sides)
    changes: list[int] = (np.flatnonzero(np.diff(sides)) + 1).tolist()
    starts = [0, *changes]
    for k in changes:
        axes.axvline((t[k - 1] + t[k]) / 2, color=GREY, lw=0.6, ls=":")
    for k, (first, end) in enumerate(zip(starts, [*changes, len(sides)], strict=True)):
        said, place = "\n".join([*more[k : k + 1], str(sides[first])]), (t[first] + t[end - 1]) / 2
        axes.text(place, 1.0, said, transform=axes.get_xaxis_transform(), ha="center", va="bottom", color=GREY, fontsize=6)
    axes.set_xlabel("t; above: cells a side")
    axes.set_title(title, pad=18 if more else 10)
    return np.asarray(t)


def _log(axes: Axes) -> None:
    """A logarithmic axis whose labels are plain numbers, where there is anything above zero to draw on one."""
    if not np.isfinite(axes.dataLim.minposy):
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def nats(evidence: Evidence) -> Figure:
    """The KL of each step, and of all steps at each resolution."""
    a = evidence.arrays
    figure, (axes,) = panels(1)
    by = [f"{kl:.3g}" for kl in a["kl by resolution"]]
    t = _over_time(axes, a, f"nats of each step, above their sums; ELBO {a['elbo'][0]:.2f}", by)
    axes.bar(t, a["kl"], 0.7 / len(t), color=BLUE)
    axes.set_ylabel("KL, nats")
    return figure


def time(evidence: Evidence) -> Figure:
    """E1: the norm of the state against time, and what is missing of growth and of the read-outs of time."""
    a = evidence.arrays
    figure, (left, right) = panels(2, 1.3 * PANEL)
    t = _over_time(left, a, "norm of the state")
    for _, colour, (low, middle, high) in _networks(a, "norm"):
        left.plot(t, middle, STROKES[colour], color=colour)
        left.fill_between(t, low, high, color=colour, alpha=0.2, lw=0)
    _log(left)
    _missing(right, a, judged=bool(evidence.checks))
    legend(figure, right)
    return figure


ROWS = {
    "growth": "norm with depth:\n1 - correlation",
    "unexplained means all": "time from means,\nall steps: 1 - R²",
    "unexplained means within": "time from means,\nwithin resolutions",
    "unexplained norms all": "time from norms,\nall steps",
    "unexplained norms within": "time from norms,\nwithin resolutions",
}
LEAST = 1e-4


def _missing(axes: Axes, a: Arrays, judged: bool) -> None:
    """What is missing of a perfect correlation and of perfect read-outs, with intervals; the bound where it was judged."""
    rows = [name for name in ROWS if f"trained {name}" in a]
    colours = {name: colour for name, colour in (NETWORKS | CONTROLS).items() if f"{name} growth" in a}
    for number, (label, colour) in enumerate(colours.items()):
        for row, name in enumerate(rows):
            if label == "turned" and name == "growth":
                continue  # it has its own order
            found = a[f"{label} {name}"]
            value, low, high = np.maximum(1 - found[[0, 2, 1]] if name == "growth" else found, LEAST)
            place = row + 0.17 * (number - (len(colours) - 1) / 2)
            said = SAID.get(label, label)
            spread = [[max(value - low, 0)], [max(high - value, 0)]]
            axes.errorbar(value, place, xerr=spread, fmt=MARKS[colour], color=colour, capsize=2, label=said if row == 1 else None)
    if judged:
        axes.axvline(0.1, color=GREY, lw=1, label="bound")
    axes.set_yticks(range(len(rows)), [ROWS[name] for name in rows])
    axes.invert_yaxis()
    axes.set(xscale="log", title="what is missing, 95 %")


def _sheet(axes: Axes, pictures: np.ndarray) -> None:
    """Pictures of shape (row, column, channel, y, x), a grey line between them."""
    wide = np.pad(np.clip(np.nan_to_num(pictures), 0, 1), ((0, 0), (0, 0), (0, 0), (0, 1), (0, 1)), constant_values=0.5)
    whole = wide.transpose(0, 3, 1, 4, 2)
    grid = whole.reshape(whole.shape[0] * whole.shape[1], whole.shape[2] * whole.shape[3], -1)
    axes.imshow(grid if grid.shape[-1] == 3 else grid.mean(-1), cmap="gray", vmin=0, vmax=1, aspect="equal")
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)


def _ticks(cells: int, side: int) -> np.ndarray:
    return (np.arange(cells) + 0.5) * (side + 1) - 0.5


def sampling(evidence: Evidence) -> Figure:
    """E4: images told step by step, temperatures, and the curves beside them."""
    a = evidence.arrays
    told, drawn = np.concatenate([a["sheet images"][:, None], a["sheet given"]], 1), a["sheet temperatures"]
    part = width() / 2 if wide() else width()  # of the width, for the temperatures
    below, high = part * drawn.shape[0] / drawn.shape[1], width() * told.shape[0] / told.shape[1]
    names, heights = [["drawn"] * 2, ["error", "nats"], ["gain", "gradient"]], [below, PANEL - 0.4, PANEL - 0.4]
    if wide():
        names, heights = [["drawn", "drawn", *row] for row in names[1:]], [below / 2] * 2
    figure = canvas(high + sum(heights) + 0.6)
    layout: list[Any] = [["told"] * len(names[0]), *names]
    axes = figure.subplot_mosaic(layout, height_ratios=[high, *heights])
    side = told.shape[-1]
    _sheet(axes["told"], told)
    axes["told"].set_xticks(_ticks(told.shape[1], side), ["image", *map(str, a["counts"])], fontsize=6)
    axes["told"].xaxis.tick_top()
    axes["told"].set_yticks([])
    axes["told"].set_title("the image's first K latents, the others drawn; K =")
    _sheet(axes["drawn"], drawn)
    axes["drawn"].set_yticks(_ticks(len(a["temperatures"]), side), [f"{t:.1f}" for t in a["temperatures"]], fontsize=6)
    axes["drawn"].set(xticks=[], ylabel="temperature", title="samples, the same noise in each column")
    error, nats = axes["error"], axes["nats"]
    _with_interval(error, a["counts"], a["error"], PURPLE, "latents of the image")
    if "error, another image" in a:
        _with_interval(error, a["counts"], a["error, another image"], RED, "latents of another image")
    error.set(xlabel="K", title="distance, 95 %", ylim=(0, None))
    error.xaxis.set_major_locator(MaxNLocator(integer=True))
    _with_interval(nats, a["temperatures"], a["elbo of samples"], GREEN, "samples")
    nats.axhline(a["elbo of images"][0], color=GREY, lw=1, label="test images")
    nats.axhspan(*a["elbo of images"][1:], color=GREY, alpha=0.25, lw=0)
    value, low, high = a["elbo of redrawn"]
    nats.errorbar(1.0, value, [[value - low], [high - value]], fmt=MARKS[PURPLE], color=PURPLE, capsize=2)
    nats.set(xlabel="temperature", title="ELBO, nats, 95 %")
    for name, title in (("gain", "gain of each step"), ("gradient", "‖∂(-ELBO)/∂Zₖ‖")):
        t = _over_time(axes[name], a, title)
        for label, colour, values in _networks(a, name):
            low, middle, highest = np.quantile(values, (0, 0.5, 1), axis=1)
            axes[name].plot(t, middle, STROKES[colour], color=colour, label=label)
            axes[name].fill_between(t, low, highest, color=colour, alpha=0.2, lw=0)
        _log(axes[name])
    legend(figure, error, nats, axes["gradient"], at="lower")
    return figure


def _with_interval(axes: Axes, x: np.ndarray, values: np.ndarray, colour: str, label: str) -> None:
    """A curve of (value, low, high) with its band."""
    axes.plot(x, values[:, 0], STROKES[colour], color=colour, label=label)
    axes.fill_between(x, values[:, 1], values[:, 2], color=colour, alpha=0.25, lw=0)


def bases(evidence: Evidence) -> Figure:
    """E5: the unexplained fraction of every basis at every step between the coarsest and the finest resolution."""
    a = evidence.arrays
    networks = list(_networks(a, "unexplained"))
    rows = [f"step {step}, {side} x {side}" for step, side in zip(a["trained basis steps"], a["trained basis sides"], strict=True)]
    figure, drawn = panels(len(networks), 0.5 + 0.22 * len(rows))
    told = np.concatenate([values[np.isfinite(values)] for _, _, values in networks])
    lowest, largest = (max(float(end), SMALLEST) for end in (told.min(initial=np.inf), told.max(initial=0)))
    norm = LogNorm(lowest if lowest < largest else largest / 10, largest)
    for axes, (label, _, values) in zip(drawn, networks, strict=True):
        shown = matrix(axes, np.maximum(values, SMALLEST), rows, WAVELETS, cmap="cividis", norm=norm)
        write_cells(axes, shown, lambda value: f"{value:.2g}" if np.isfinite(value) else "-", lambda shade: shade < 0.5)
        for row, best in enumerate(a.get(f"{label} best", values.argmin(1))):
            if best >= 0:  # else none stands out
                outline(axes, row, best, RED)
        said = "unexplained 1 - R², held out" if np.isfinite(values).any() else "nothing to explain"
        axes.set_title(f"{label}: {said}")
    return figure


def steps(evidence: Evidence) -> Figure:
    """E6: the ELBO against the number of steps that a shared cell takes, over the same time and at full length."""
    a = evidence.arrays
    at = [int(name.removeprefix("r ")) for name in a if name.startswith("r ")]
    figure, drawn = panels(len(at), sharey=True)
    near = 0.05 * abs(float(a["elbo"][0]))
    for axes, side in zip(drawn, at, strict=True):
        axes.axhspan(-near, near, color=GREY, alpha=0.15, lw=0, label="5 % of the ELBO")
        for kind, colour, label in (
            ("refined", BLUE, "steps of length r/r'"),
            ("full steps", RED, "control: steps of full length"),
        ):
            if f"{kind} {side} counts" in a:
                _with_interval(axes, a[f"{kind} {side} counts"], a[f"{kind} {side} change"], colour, label)
        axes.set(xlabel="r', steps taken", title=f"{side} x {side}, trained with r = {int(a[f'r {side}'])}")
        axes.xaxis.set_major_locator(FixedLocator(a[f"refined {side} counts"].tolist()))
    first_label(drawn, "change of the ELBO, nats")
    legend(figure, drawn[0])
    return figure

"""The figure of an audit: the network's pyramid of resolutions, and what each site does."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from analysis.auditing import Audit, Site
from analysis.figures.layout import canvas, matrix
from analysis.figures.style import BLUE, GREEN, GREY, ORANGE, RED, STROKES
from analysis.filters import WAVELETS
from analysis.resampling import EXACT

COLORS = {"Haar, exact": BLUE, "linear, fixed": GREEN, "linear, learned": ORANGE, "not linear": RED, "not measured": GREY}


def _class(site: Site) -> str:
    found = site.measured
    if isinstance(found, str):
        return "not measured"
    if not found.linear:
        return "not linear"
    if found.worst is not None and found.worst <= EXACT:
        return "Haar, exact"
    return "linear, learned" if site.learned else "linear, fixed"


def pyramid(found: Audit) -> Figure:
    """Cells a side along the network, a step at each site; below, the filters, the read-outs and the bands that survive."""
    count = max(1, len(found.sites))
    figure = canvas(8.0, 0.24 * count + 1.4)  # wider where the names of the sites would not fit
    rows = figure.subplots(4, 1, sharex=True, height_ratios=(4, 2, 2, 2))
    _steps(rows[0], found)
    filters = [{} if isinstance(site.measured, str) else site.measured.filters for site in found.sites]
    _matrix(figure, rows[1], filters, WAVELETS, "filter", "unexplained")
    _matrix(figure, rows[2], [site.readout or {} for site in found.sites], WAVELETS, "read-out", "unexplained")
    survivals = [{band: sum(row.values()) for band, row in (site.survival or {}).items()} for site in found.sites]
    bands = list(next((table for table in survivals if table), {}))
    _matrix(figure, rows[3], survivals, bands, "input band", "survives")
    rows[3].set_xticks(range(count), [str(n) for n in range(1, count + 1)])
    rows[3].set_xlabel("site, in the order in which they run")
    return figure


def _steps(axes: Axes, found: Audit) -> None:
    for number, site in enumerate(found.sites):
        heights = [_side(site.before), _side(site.after)]
        color = COLORS[_class(site)]
        axes.plot([number - 0.4, number + 0.4], heights, STROKES[color], color=color, lw=2)
        end = found.sites[number + 1].before if number + 1 < len(found.sites) else site.after
        axes.plot([number + 0.4, number + 0.6], [heights[1], _side(end)], color="#bbbbbb", lw=1, zorder=0)
        text = f"{site.kind}\n{site.path or '(the network)'}"
        axes.annotate(
            text, (number, max(heights)), (0, 6), textcoords="offset points", rotation=90, fontsize=6, ha="center", va="bottom"
        )
    axes.set_yscale("log", base=2)
    axes.margins(y=0.6)
    there = sorted({_side(sides) for site in found.sites for sides in (site.before, site.after)})
    axes.set_yticks(there, [f"{side:g}" for side in there])
    axes.minorticks_off()
    axes.set_ylabel("cells a side")
    axes.set_title(f"{found.model}: {len(found.sites)} sites")
    shown = [name for name in COLORS if any(_class(site) == name for site in found.sites)]
    for name in shown:
        axes.plot([], [], STROKES[COLORS[name]], color=COLORS[name], lw=2, label=name)
    if shown:
        axes.legend(loc="lower left", ncols=2)


def _side(sides: tuple[int, ...]) -> float:
    return float(math.prod(sides) ** (1 / len(sides)))


def _matrix(figure: Figure, axes: Axes, tables: list[dict[str, float]], names: Any, label: str, what: str) -> None:
    """A row for each name, a column for each site; white where the question has no answer."""
    axes.set_ylabel(label)
    if not any(tables):
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center")
        axes.set_yticks([])
        axes.grid(visible=False)
        return
    values = np.array([[table.get(name, np.nan) for table in tables] for name in names])
    columns = [str(n) for n in range(1, len(tables) + 1)]
    shown = matrix(axes, np.maximum(values, 1e-4), names, columns, cmap="cividis", norm=LogNorm(1e-4, 1))
    figure.colorbar(shown, ax=axes, fraction=0.03, extend="both").set_label(what)

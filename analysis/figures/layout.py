"""Parts of figures that follow the current width: panels, pictures, matrices with their numbers, logarithmic axes, legends."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.image import AxesImage
from matplotlib.legend import Legend
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogFormatterSciNotation, MaxNLocator
from matplotlib.transforms import ScaledTranslation

from analysis.figures.style import PANEL, SMALLEST_TEXT, wide, width


def canvas(height: float, least: float = 0.0) -> Figure:
    """A figure of the current width, or of the least that what it holds needs, and so high in inches."""
    return Figure(figsize=(max(width(), least), height))


def panels(count: int, height: float = PANEL, across: int = 1, **shared: Any) -> tuple[Figure, list[Axes]]:
    """Panels of that height in one row; in one column of a paper, `across` of them in a row."""
    columns = count if wide() else across
    rows = -(-count // columns)
    figure = canvas(height * rows)
    grid = figure.subplots(rows, columns, squeeze=False, **shared)
    for axes in grid.flat[count:]:
        axes.remove()
    return figure, list(grid.flat[:count])


def side(columns: int) -> float:
    """The side in inches of square pictures, so many in a row beside a label."""
    return (width() - 0.3) / columns


def first_label(panels: Sequence[Axes], label: str) -> None:
    """A label for the vertical axis that panels share, at the first of each row."""
    for axes in panels:
        if _place(axes).is_first_col():
            axes.set_ylabel(label)


def picture(axes: Axes, values: np.ndarray, low: float | None = None, high: float | None = None, signed: bool = False) -> AxesImage:
    """A grey picture over its own range or that given, or a signed one about zero."""
    if signed:
        high = high or float(np.abs(values).max()) or 1.0
        low = -high
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    return axes.imshow(values, cmap="RdBu_r" if signed else "gray", vmin=low, vmax=high)


def matrix(axes: Axes, values: np.ndarray, rows: Sequence[Any], columns: Sequence[Any], **shades: Any) -> AxesImage:
    """A matrix in shades, as wide as there is room for, its rows and columns named at the edges of the figure."""
    axes.grid(visible=False)
    axes.set(xticks=[], yticks=[])  # ticks take long to draw
    if _place(axes).is_last_row():
        axes.set_xticks(range(len(columns)), columns)
    if _place(axes).is_first_col():
        axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    return axes.imshow(values, aspect="auto", **shades)


def write_cells(axes: Axes, shown: AxesImage, said: Callable[[float], str], light: Callable[[float], bool]) -> None:
    """The numbers of a matrix in its cells, white where `light` of the shade, from 0 to 1."""
    values: np.ndarray = np.ma.getdata(np.ma.asarray(shown.get_array()))
    for (row, column), value in np.ndenumerate(values):
        color = "white" if light(float(np.asarray(shown.norm(value)))) else "black"
        axes.text(column, row, said(value), ha="center", va="center", fontsize=6, color=color)


def outline(axes: Axes, row: int, column: int, color: str) -> None:
    """A line around a cell of a matrix."""
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=color, lw=1.3))


def logarithmic(axes: Axes, which: str = "y", base: int = 10) -> None:
    """Make the axes named in `which` logarithmic."""
    for name in which:
        getattr(axes, f"set_{name}scale")("log", base=base, subs=(2, 5) if base == 10 else None)  # ticks take long to draw
        axis = getattr(axes, f"{name}axis")
        axis.set_major_formatter(Powers(base))
        axis.set_minor_formatter(Powers(base))


def subscript(number: int) -> str:
    """An index in plain characters, V₁₂: to set each as mathematics takes longer than all else in a figure."""
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


class Powers(LogFormatterSciNotation):
    """Powers in plain characters, 10⁻¹⁶."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The label of a tick."""
        said = super().__call__(x, pos).replace(r"$\mathdefault{", "").replace("}$", "").replace(r"\times", "×")
        return re.sub(r"\^\{(.*?)\}", lambda power: power[1].translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")), said)


def resolution_axes(axes: Axes, title: str, label: str) -> None:
    """Errors on a logarithmic axis to base 2 against the resolution."""
    logarithmic(axes, base=2)
    axes.set(xlabel="resolution j", ylabel=label, title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def legend(figure: Figure, *panels: Axes, at: Literal["upper", "lower"] = "upper") -> None:
    """One legend for all panels, above or below them."""
    figure.set_figheight(figure.get_figheight() + _legend(figure, panels, at))


def legends_below(figure: Figure, *rows: Sequence[Axes]) -> None:
    """A legend under each panel of the last row, for all panels above one another."""
    heights: dict[int, float] = {}
    for above in zip(*rows, strict=True):
        row = _place(above[-1]).rowspan.start
        heights[row] = max(heights.get(row, 0.0), _legend(figure, above, above[-1]))
    figure.set_figheight(figure.get_figheight() + sum(heights.values()))


def _place(axes: Axes) -> SubplotSpec:
    place = axes.get_subplotspec()
    assert place
    return place


def _legend(figure: Figure, panels: Sequence[Axes], at: str | Axes) -> float:
    """A legend in as many columns as there is room for; returns its height in inches."""
    entries = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    room: float = figure.bbox.width
    make: Callable[..., Legend] = figure.legend
    where: dict[str, Any] = {"loc": f"outside {at} center"}
    if isinstance(at, Axes):
        place = _place(at)
        ratios = np.asarray(place.get_gridspec().get_width_ratios(), float)
        room *= ratios[place.colspan.start] / ratios.sum()
        below = at.transAxes + ScaledTranslation(0, -0.36, figure.dpi_scale_trans)  # under the labels of the axis
        make, where = at.legend, {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "bbox_transform": below}
    columns = len(entries)
    while True:
        figure.legends.clear()
        size = None if columns else SMALLEST_TEXT  # where one column is too wide
        box = make(entries.values(), entries.keys(), ncols=max(columns, 1), fontsize=size, **where).get_window_extent()
        if box.width <= room or not columns:
            break
        columns = min(columns - 1, math.ceil(columns * room / box.width))  # each measuring takes long
    return float(box.height / figure.dpi)

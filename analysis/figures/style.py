"""One style for all figures: plain rc parameters, colours that the colour-blind can tell apart, and shared axes."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from multires import files

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


def resolution_axes(axes: Axes, title: str, label: str) -> None:
    """Errors on a logarithmic axis to base 2 against the resolution."""
    axes.set_yscale("log", base=2)
    axes.set_xlabel("resolution j")
    axes.set_ylabel(label)
    axes.set_title(title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def svg(draw: Callable[[Any], Figure], of: Any) -> bytes:
    """Draw in this style, as SVG; the same bytes for the same figure."""
    stream = io.BytesIO()
    with mpl.rc_context(STYLE):
        draw(of).savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def save(draw: Callable[[Any], Figure], of: Any, *paths: Path) -> None:
    """Draw in this style, to files of the formats that their names end in; the same bytes for the same figure."""
    with mpl.rc_context(STYLE):
        figure = draw(of)
        for path in paths:
            stream, kind = io.BytesIO(), path.suffix[1:] or "png"
            figure.savefig(stream, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
            files.write(path, stream.getvalue())

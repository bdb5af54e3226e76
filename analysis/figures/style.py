"""One style for all figures: plain rc parameters, two widths, colours that the colour-blind can tell apart; and their files.

The width is that of the rc parameter `figure.figsize`; the height follows from what a figure holds. So a function that draws
one in this style needs no argument for it.
"""

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from multires import files
from multires.errors import MultiresError

FORMATS = ("svg", "pdf", "png")

Width = Literal["column", "double"]
Format = Literal["svg", "pdf", "png"]
WIDTHS: dict[Width, float] = {"column": 3.4, "double": 7.0}
"""Inches: one column of a paper that has two, and both."""
PANEL = 1.9
"""The height of a panel of curves with its labels, in inches."""
SMALLEST_TEXT = 6  # points

BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#666666"  # Okabe and Ito
MARKS = {BLUE: "o", ORANGE: "s", GREEN: "^", RED: "D", PURPLE: "v", GREY: "x"}
STROKES = {BLUE: "o-", ORANGE: "s--", GREEN: "^-.", RED: "D:", PURPLE: "v-", GREY: "x--"}
HATCHES = {BLUE: "", ORANGE: "/////", GREEN: ".....", RED: "xxxxx", GREY: "-----"}
"""What goes with each colour, so that none stands alone: the marker, the marker on its line, the filling of a bar."""
STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "hatch.linewidth": 0.6,
    "image.interpolation": "none",  # a cell stays a cell, and a picture in an SVG has its own pixels
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.columnspacing": 1.2,
    "legend.borderaxespad": 0.2,
    "figure.figsize": (WIDTHS["double"], PANEL),
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,  # whole fonts, that can be edited and searched
    "svg.hashsalt": "multires",  # the same evidence gives the same file
}
SMALLEST = 1e-18  # where a defect of exactly 0 is drawn on a logarithmic axis


def width() -> float:
    """The current width in inches."""
    return float(mpl.rcParams["figure.figsize"][0])


def wide() -> bool:
    """Whether the current width is that of two columns."""
    return width() > 5


def draw(function: Callable[[Any], Figure], of: Any, width: Width = "double") -> Figure:
    """Draw in this style and width."""
    with mpl.rc_context(STYLE | {"figure.figsize": (WIDTHS[width], PANEL)}):
        return function(of)


def render(function: Callable[[Any], Figure], of: Any, format: str = "svg", width: Width = "double") -> bytes:
    """Draw in this style and width, as a file of that format; the same bytes for the same figure."""
    stream = io.BytesIO()
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(format)
    with mpl.rc_context(STYLE):
        draw(function, of, width).savefig(stream, format=format, metadata=undated)
    return _EMBEDDED.sub(_smaller, stream.getvalue()) if format == "svg" else stream.getvalue()


def require_writable(path: Path) -> None:
    """Raise MultiresError where no figure can be written, before anything is computed."""
    if path.suffix[1:] not in ("", *FORMATS):
        raise MultiresError(f"{path}: figures are written as {', '.join('.' + name for name in FORMATS)}")
    files.require_writable(path)


def save(function: Callable[[Any], Figure], of: Any, *paths: Path) -> None:
    """Draw in this style, to files of the formats that their names end in."""
    for path in paths:
        files.write(path, render(function, of, path.suffix[1:] or "png"))


_EMBEDDED = re.compile(rb"(?<=data:image/png;base64,)[A-Za-z0-9+/=\s]+")


def _smaller(png: re.Match[bytes]) -> bytes:
    """The same pixels, as indices into their colours where these are 256 or fewer; without opacity where all is opaque."""
    picture = Image.open(io.BytesIO(base64.b64decode(png[0]))).convert("RGBA")
    colours, indices = np.unique(np.asarray(picture).view(np.uint32)[..., 0], return_inverse=True)
    if len(colours) <= 256:
        picture = Image.fromarray(indices.reshape(picture.size[::-1]).astype(np.uint8), "P")
        picture.putpalette(colours.tobytes(), "RGBA")
    elif picture.getchannel("A").getextrema() == (255, 255):
        picture = picture.convert("RGB")
    stream = io.BytesIO()
    picture.save(stream, "png", optimize=True)
    return base64.b64encode(stream.getvalue())

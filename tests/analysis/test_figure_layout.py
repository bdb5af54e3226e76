"""Figures at both widths: nothing is cut off, nothing is written over something else, nothing is too small to read."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from analysis import figures
from analysis.evidence import Evidence
from analysis.figures.style import SMALLEST_TEXT, WIDTHS, Width

DPI = 100
CLOSE = 1.5  # pixels by which boxes may meet: they hold the space between lines too


def drawn(figure: Figure) -> list[Text]:
    """The texts that the figure draws: those of ticks outside of the axes, and of invisible axes, are not among them."""
    found: dict[Text, None] = {}
    draw = Text.draw

    def record(text: Text, *args: object, **options: object) -> None:
        if text.get_visible() and text.get_text().strip():
            found[text] = None
        draw(text, *args, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", record)
        figure.set_dpi(DPI)
        FigureCanvasAgg(figure).draw()
    return list(found)


def overlap(one: Bbox, other: Bbox) -> bool:
    shared = Bbox.intersection(one, other)
    return shared is not None and min(shared.width, shared.height) > CLOSE


def faults(figure: Figure) -> list[str]:
    """What is wrong with the layout of a figure, in words."""
    boxes = {text: text.get_window_extent() for text in drawn(figure)}
    said = {text: repr(text.get_text()) for text in boxes}
    width, height = figure.bbox.size
    found = [f"{said[text]} is {text.get_fontsize()} pt" for text in boxes if text.get_fontsize() < SMALLEST_TEXT]
    for text, box in boxes.items():
        if min(box.x0, box.y0) < -1 or box.x1 > width + 1 or box.y1 > height + 1:
            found.append(f"{said[text]} is cut off")
    for one, other in combinations(boxes, 2):
        if overlap(boxes[one], boxes[other]):
            found.append(f"{said[one]} on {said[other]}")
    for axes in figure.findobj(Axes):
        assert isinstance(axes, Axes)
        if min(axes.bbox.size) < 8:
            found.append(f"axes of {axes.bbox.width:.0f} x {axes.bbox.height:.0f} pixels")
        for text in axes.texts if axes.get_images() else []:  # written into the cells of a matrix
            x, y = text.get_position()
            cell = axes.transData.transform_bbox(Bbox([[x - 0.5, y - 0.5], [x + 0.5, y + 0.5]]))
            if text.get_transform() == axes.transData and text in boxes and not _holds(cell, boxes[text]):
                found.append(f"{said[text]} leaves its cell")
    for legend in figure.findobj(Legend):
        assert isinstance(legend, Legend)
        box, own = legend.get_window_extent(), set(legend.findobj(Text))
        found += [f"legend on {said[text]}" for text in boxes if text not in own and overlap(box, boxes[text])]
        for axes in figure.axes:
            for line in axes.get_lines():
                if line.get_path().vertices.size and line.get_path().transformed(line.get_transform()).intersects_bbox(box, False):
                    found.append(f"legend on the line {line.get_label()}")
    return found


def _holds(cell: Bbox, box: Bbox) -> bool:
    return bool(np.all(box.min >= cell.min - CLOSE) and np.all(box.max <= cell.max + CLOSE))


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_overlaps_is_cut_off_or_too_small(width: Width, measured: dict[str, Evidence]) -> None:
    found = {}
    for id, evidence in measured.items():
        figure = figures.draw(id, evidence, width)
        assert figure.get_figwidth() == WIDTHS[width]
        found[id] = faults(figure)
    assert not {id: those for id, those in found.items() if those}


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda axes: axes.text(0.2, 0.5, "one") and axes.text(0.2, 0.52, "two"), "'one' on 'two'"),
        (lambda axes: axes.text(1.2, 0.5, "outside"), "'outside' is cut off"),
        (lambda axes: axes.text(0.2, 0.5, "tiny", fontsize=5), "'tiny' is 5.0 pt"),
        (lambda axes: axes.plot([0, 1], [0, 1], label="a line") and axes.legend(loc="center"), "legend on the line a line"),
        (lambda axes: axes.text(0.2, 0.5, "under") and axes.legend([Line2D([], [])], ["x"], loc=(0.1, 0.4)), "legend on 'under'"),
        (lambda axes: axes.imshow(np.eye(20)) and axes.text(3, 3, "long", fontsize=9), "'long' leaves its cell"),
        (lambda axes: axes.set_position((0.5, 0.5, 0.03, 0.4)), "axes of 6 x"),
    ],
)
def test_the_faults_are_seen(spoil: object, fault: str) -> None:
    figure = Figure(figsize=(2, 2))
    figure.subplots_adjust(0.25, 0.2, 0.85, 0.9)  # with room for the ticks, and nothing that would make room for the fault
    axes = figure.subplots()
    assert not faults(figure)
    assert callable(spoil)
    spoil(axes)
    assert any(fault in each for each in faults(figure))

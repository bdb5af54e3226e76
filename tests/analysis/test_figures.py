"""Figures: each draws what the evidence holds, and says what was measured."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis import claims, figures
from analysis.evidence import REGISTRY, Check, Context, Control, Evidence
from analysis.figures.style import SMALLEST
from multires import data

assert claims
DIGITS = data.load("digits")
SMALL = replace(DIGITS, batches=(DIGITS.batches[0][:2],))


@pytest.fixture(scope="module")
def evidence() -> dict[str, Evidence]:
    return {id: REGISTRY[id].measure(Context(SMALL, 0, id)) for id in ("A4", "A5", "A6", "B2", "B5", "B6")}


def texts(figure: Figure) -> str:
    labels = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    return "\n".join(labels)


@pytest.mark.parametrize("id", ["A4", "A5", "A6", "B2", "B5", "B6"])
def test_a_figure_draws_and_saves_the_same_bytes_twice(id: str, evidence: dict[str, Evidence]) -> None:
    files = [figures.render(id, evidence[id]) for _ in range(2)]
    assert files[0] == files[1]
    assert len(files[0]) > 5000


@pytest.mark.parametrize(("id", "law"), [("A4", -1.0), ("A5", -0.5), ("A6", -1.0)])
def test_legends_give_the_fitted_slope(id: str, law: float, evidence: dict[str, Evidence]) -> None:
    slopes = [float(part.split()[0]) for part in texts(figures.draw(id, evidence[id])).split("slope ")[1:]]
    assert any(abs(slope - law) < 0.02 for slope in slopes)


def test_the_pyramid_shows_image_pooling_pywavelets_and_difference(evidence: dict[str, Evidence]) -> None:
    figure = figures.draw("B2", evidence["B2"])
    pictures = [axes.get_images()[0].get_array() for axes in figure.axes if axes.get_images()]
    assert len(pictures) == 3 * 4  # 8 x 8 digits have levels 0 to 3
    assert np.array_equal(pictures[0], SMALL.batches[0][0, 0].numpy())
    assert all(np.abs(picture).max() < 1e-6 for picture in pictures[8:])


def test_the_margins_name_every_pooling(evidence: dict[str, Evidence]) -> None:
    shown = texts(figures.draw("B6", evidence["B6"]))
    for name in ("average", "max", "subsample", "blur [1 2 1]", "strided convolution", "low-pass db2", "low-pass bior4.4"):
        assert name in shown


@pytest.mark.parametrize("id", [*(f"C{k}" for k in range(1, 8)), "D1", "D2", "D4", "D6"])
def test_figures_of_networks_and_diffusions_draw_and_have_a_caption(id: str, measured: dict[str, Evidence]) -> None:
    assert len(figures.render(id, measured[id])) > 5000
    assert id in figures.CAPTIONS


def test_the_matrices_of_bases_show_the_evidence_and_outline_the_own_basis(measured: dict[str, Evidence]) -> None:
    arrays = measured["C5"].arrays
    matrices = [axes for axes in figures.draw("C5", measured["C5"]).axes if axes.get_images()]
    order = [(side, state) for side in ("encoder", "decoder") for state in ("untrained", "random", "trained")]
    width = len(arrays["wavelets"])
    for axes, (side, state) in zip(matrices, order, strict=True):
        shown = np.ma.getdata(axes.get_images()[0].get_array())
        for k in range(3):
            level = slice(k * (width + 1), k * (width + 1) + width)
            assert np.array_equal(shown[:, level], np.maximum(arrays[f"{state}_{side}_unexplained"][:, k + 1], SMALLEST))
        assert np.isnan(shown[:, width :: width + 1]).all()
        assert shown.shape[1] == 3 * width + 2
        outlined = {(k * (width + 1) + i - 0.5, i - 0.5) for k in range(3) for i in range(width)}
        assert {patch.get_xy() for patch in axes.patches} == outlined
        (dots,) = axes.get_lines()
        blocks = (shown[:, k * (width + 1) :][:, :width] for k in range(3))
        best = {(k * (width + 1) + column, row) for k, block in enumerate(blocks) for row, column in enumerate(block.argmin(1))}
        assert set(zip(*dots.get_data(), strict=True)) == best


def test_the_skip_matrices_write_every_number(measured: dict[str, Evidence]) -> None:
    shown = texts(figures.draw("C6", measured["C6"]))
    for name in ("average", "max", "twin", "untrained 0"):
        for value in measured["C6"].arrays[name].ravel():
            assert f"{value:.2f}" in shown


def test_curves_of_the_optimum_end_below_the_bound(measured: dict[str, Evidence]) -> None:
    figure = figures.draw("C4", measured["C4"])
    for axes in figure.axes:
        curves = [line for line in axes.get_lines() if str(line.get_label()).startswith("into")]
        assert len(curves) > 1
        assert all(line.get_ydata()[-1] <= 0.01 < line.get_ydata()[0] for line in curves)


def test_the_default_figure_shows_checks_bounds_and_controls() -> None:
    evidence = Evidence(
        [Check("one", 1e-16, 1e-13), Check("two, d = 2", 0, 0)], [Control("three", 0.5, 1e-3), Control("one: broken", 0.25, 1e-2)]
    )
    figure = figures.draw("B5", evidence)
    assert {"one", "two", "three", "control: broken"} <= set(texts(figure).split("\n"))
    (axes,) = figure.axes
    drawn = sorted(float(line.get_xdata()[0]) for line in axes.get_lines())
    assert drawn == sorted([1e-16, 1e-13, SMALLEST, SMALLEST, 0.5, 1e-3, 0.25, 1e-2])

"""`multires figures`: the files of all figures from evidence that was measured before."""

import base64
import io
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from analysis import claims, figures, record
from analysis.cli import main
from analysis.evidence import REGISTRY, Check, Control, Evidence, Result
from analysis.figures import style
from analysis.figures.layout import picture
from analysis.figures.style import WIDTHS, Format, Width
from multires import MultiresError, data

assert claims
SHOWN = Evidence([Check("one", 1e-16, 1e-13)], [Control("broken", 0.5, 1e-3)], {}, "")


def run(folder: Path, **evidence: Evidence | None) -> Path:
    """A run's record in the folder, with that evidence by claim."""
    folder.mkdir(exist_ok=True)
    results = [
        Result(REGISTRY[id], *(each.judge() if each else ("skipped", "no images")), each, 1.0) for id, each in evidence.items()
    ]
    record.write(record.measured(results, data.load("digits"), 0, full=False), folder)
    return folder


def call(*arguments: object) -> object:
    with pytest.raises(SystemExit) as stopped:
        main(["figures", *map(str, arguments)])
    return stopped.value.code


@pytest.mark.parametrize("format", ["svg", "pdf", "png"])
def test_every_claim_that_was_measured_has_its_file(format: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(tmp_path, A2=SHOWN, B5=SHOWN, C2=None)
    assert call(folder, "--format", format) == 0
    assert sorted(path.name for path in (folder / "figures").iterdir()) == [f"A2.{format}", f"B5.{format}"]
    assert capsys.readouterr().out == f"2 figures: {folder / 'figures'}\n"


@pytest.mark.parametrize("width", WIDTHS)
def test_files_are_as_wide_as_they_were_asked_to_be(width: Width, tmp_path: Path) -> None:
    inches = WIDTHS[width]
    for format in ("svg", "pdf", "png"):
        assert call(run(tmp_path, A2=SHOWN), "--format", format, "--width", width) == 0
    svg, pdf = ((tmp_path / "figures" / f"A2.{format}").read_bytes() for format in ("svg", "pdf"))
    with Image.open(tmp_path / "figures" / "A2.png") as png:
        assert png.width == round(inches * 200)
    for pattern, content in ((rb'<svg .*?width="([\d.]+)pt"', svg), (rb"/MediaBox \[ 0 0 ([\d.]+) ", pdf)):
        (found,) = re.findall(pattern, content, re.DOTALL)
        assert float(found) == pytest.approx(72 * inches)


def test_fonts_are_embedded() -> None:
    svg, pdf = figures.render("A2", SHOWN), figures.render("A2", SHOWN, "pdf")
    assert b"/FontFile2" in pdf  # TrueType, whole
    assert b"/Subtype /Type3" not in pdf
    assert b"<text" not in svg  # characters are outlines
    assert b'href="http' not in svg


def test_names_of_checks_are_neither_mathematics_nor_markup(tmp_path: Path) -> None:
    evidence = Evidence([Check("$\\frac{$ <b>\x07", 1e-16, 1e-13)], [Control("$x: $_$", 0.5, 1e-3)], {}, "")
    assert ElementTree.fromstring(figures.render("B5", evidence)).tag.endswith("svg")


def test_a_file_that_cannot_be_replaced_stops_before_any_is_written(tmp_path: Path) -> None:
    folder = run(tmp_path, A2=SHOWN, B5=SHOWN)
    (folder / "figures" / "B5.svg").mkdir(parents=True)
    assert call(folder) == 2
    assert not (folder / "figures" / "A2.svg").exists()


@pytest.mark.parametrize("format", ["svg", "pdf", "png"])
def test_the_same_evidence_gives_the_same_bytes(format: Format) -> None:
    assert figures.render("A2", SHOWN, format) == figures.render("A2", SHOWN, format)
    assert figures.render("A2", SHOWN, format) != figures.render(
        "A2", Evidence([Check("one", 1e-15, 1e-13)], SHOWN.controls, {}, ""), format
    )


@pytest.mark.parametrize(
    "colours",
    [
        np.random.default_rng(0).integers(0, 9, (40, 40)) / 9.0,  # few: indices into a palette
        np.random.default_rng(0).random((40, 40, 3)),  # more than 256
        np.random.default_rng(0).random((40, 40, 4)),  # and with opacity
    ],
    ids=["few", "many", "opacity"],
)
def test_pictures_in_an_svg_keep_their_pixels(colours: np.ndarray) -> None:
    def draw(_: object) -> Figure:
        figure = Figure(layout="none")
        picture(figure.add_axes((0, 0, 1, 1)), colours, 0, 1)
        return figure

    def pictures(svg: bytes) -> list[np.ndarray]:
        coded = re.findall(rb"data:image/png;base64,([A-Za-z0-9+/=\s]+)", svg)
        return [np.asarray(Image.open(io.BytesIO(base64.b64decode(each))).convert("RGBA")) for each in coded]

    stream = io.BytesIO()
    with style.mpl.rc_context(style.STYLE):
        style.draw(draw, None).savefig(stream, format="svg")
    small = style.render(draw, None)
    (before,), (after,) = pictures(stream.getvalue()), pictures(small)
    assert len(np.unique(before.reshape(-1, 4), axis=0)) >= min(9, colours.size)
    np.testing.assert_array_equal(before, after)
    assert len(small) < len(stream.getvalue())


def test_evidence_that_has_no_figure_in_it_writes_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = Evidence(SHOWN.checks, SHOWN.controls, {"j": np.arange(3)})
    with pytest.raises(MultiresError, match=r"^A5: no figure can be drawn from this evidence .*multires verify A5$"):
        figures.render("A5", broken)
    assert call(run(tmp_path, A2=SHOWN, A5=broken)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("multires: A5: no figure can be drawn from this evidence")
    assert not list((tmp_path / "figures").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-run"], "no-such-run: no evidence.json here; multires verify --out no-such-run writes one"),
        (["RUN", "--out", "RUN/evidence.json"], "RUN/evidence.json: cannot be written (File exists); name another folder"),
    ],
)
def test_bad_calls_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run(Path("RUN"), A2=SHOWN)
    assert call(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line

"""`multires evaluate` over files that do not belong together, or that it must not write over."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from analysis import cli
from multires import pretrained

NAME = "hvae-digits.safetensors"


def call(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    capsys.readouterr()
    assert call("evaluate", *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hvae") / "run"
    options = ["--width", "8", "--mixtures", "2", "--steps", "6", "--batch", "4", "--log-every", "1"]
    assert call("train", "hvae", "digits", *options, "--out", folder) == 0
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run's folder."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def change(folder: Path, **fields: Any) -> None:
    card = json.loads((folder / "weights.json").read_text())
    (folder / "weights.json").write_text(json.dumps(card | fields))


def another(folder: Path) -> Path:
    """The folder of another run on the same data."""
    other = Path(shutil.copytree(folder, folder.parent / "other"))
    card = pretrained.card(other)
    change(other, run=card["run"] | {"training": card["run"]["training"] | {"seed": 1}})
    return other


def test_the_history_is_that_of_the_card_whatever_log_lies_beside_the_weights(run: Path, tmp_path: Path) -> None:
    record = {"record": "step", "step": 1, "loss": 9.0}
    (run / "log.jsonl").write_text(json.dumps(record) + "\n")
    before = pretrained.card(run)["history"]
    assert call("evaluate", run, "--images", "5", "--json", tmp_path / "e.json", "--ship", tmp_path) == 0
    assert len(before["training"]) == 6
    assert json.loads((tmp_path / "e.json").read_text())["history"] == pretrained.card(tmp_path / NAME)["history"] == before


def test_weights_may_be_shipped_again(run: Path, tmp_path: Path) -> None:
    place = tmp_path / "shipped"
    assert call("evaluate", run, "--images", "5", "--ship", place) == 0
    assert call("evaluate", run, "--images", "6", "--ship", place) == 0
    assert pretrained.card(place / NAME)["test_images"] == 6


def test_weights_are_not_shipped_over_those_of_another_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "shipped"
    assert call("evaluate", run, "--images", "5", "--ship", place) == 0
    before = {path: path.read_bytes() for path in place.iterdir()}
    assert f"{NAME}: weights of another run have that name" in refused(capsys, another(run), "--images", "5", "--ship", place)
    assert {path: path.read_bytes() for path in place.iterdir()} == before


@pytest.mark.parametrize("option", ["--json", "--sheet"])
def test_weights_are_not_written_over(option: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    target = run / "checkpoints" / ".." / "weights.safetensors"
    assert "holds the weights that are evaluated" in refused(capsys, run, "--images", "5", option, target)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_data_that_is_missing_leaves_no_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MULTIRES_DATA", str(tmp_path / "data"))
    out = tmp_path / "out"
    line = refused(capsys, "hvae-mnist", "--json", out / "e.json", "--sheet", out / "s.png", "--ship", out / "shipped")
    assert line.endswith("run: multires data fetch mnist")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"steps": "many"}, "weights.json: steps is 'many', not a number"),
        ({"seconds": None}, "weights.json: seconds is None, not a number"),
        ({"history": 7}, "weights.json: history is no course of (step, nats) by name"),
        ({"history": {"test": 7}}, "weights.json: history is no course"),
        ({"history": {"test": [[1, 2], [3]]}}, "weights.json: history is no course"),
        ({"history": {"test": [[1, "low"]]}}, "weights.json: history is no course"),
    ],
)
def test_a_card_with_other_values_than_a_cards_is_one_line(
    fields: dict[str, Any], says: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(run, **fields)
    assert says in refused(capsys, run, "--images", "5", "--sheet", run / "s.png")
    assert not (run / "s.png").exists()

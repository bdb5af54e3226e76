"""`multires evaluate` over files that do not belong together, or that it must not write over."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

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


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.json", "run.json", "log.jsonl"])
@pytest.mark.parametrize("option", ["--json", "--sheet"])
def test_weights_are_not_written_over(option: str, name: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    target = run / "checkpoints" / ".." / name
    assert "belongs to the weights that are read" in refused(capsys, run, "--images", "5", option, target)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_two_things_are_not_written_to_one_file(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "shipped"
    for options in (
        ["--json", place / "e", "--sheet", place / "e"],
        ["--json", place / f"{Path(NAME).stem}.json", "--ship", place],
    ):
        assert "is to be written twice" in refused(capsys, run, "--images", "5", *options)
        assert not list(place.iterdir())


def test_tiles_of_larger_images_are_announced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "large.npy", np.random.default_rng(0).random((30, 16, 16)))
    options = ["--data", tmp_path / "large.npy", "--width", "8", "--mixtures", "2", "--steps", "1", "--batch", "4"]
    assert call("train", "hvae", "digits", *options, "--out", tmp_path / "run") == 0
    capsys.readouterr()
    assert call("evaluate", tmp_path / "run") == 0
    said, found, *_ = capsys.readouterr().out.splitlines()
    assert said == f"{tmp_path}/large.npy: test images, 6 of 16 x 16, cut into 24 tiles of 8 x 8"
    assert "24 test images" in found


def test_no_bound_is_printed_or_written_but_what_is_measured(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A card that was shipped has one, of all images."""
    change(run, importance={"draws": 50, "nats": -1.0, "standard_error": 0.1, "bits_per_dimension": 0.1})
    assert call("evaluate", run, "--images", "5", "--json", tmp_path / "e.json") == 0
    assert "L_" not in capsys.readouterr().out
    assert "importance" not in json.loads((tmp_path / "e.json").read_text())
    assert call("evaluate", run, "--images", "5", "--draws", "2", "--json", tmp_path / "e.json") == 0
    assert json.loads((tmp_path / "e.json").read_text())["importance"]["draws"] == 2


def scaled(folder: Path, name: str, by: float) -> None:
    tensors = load_file(folder / "weights.safetensors")
    save_file(tensors | {name: tensors[name] * by}, folder / "weights.safetensors")


def test_weights_that_half_precision_does_not_hold_are_not_shipped(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scaled(run, "encoder.stem.weight", 1e7)
    line = refused(capsys, run, "--images", "5", "--ship", tmp_path / "shipped")
    assert line.endswith("encoder.stem.weight has values beyond 65504, the most that half precision holds")
    assert not list((tmp_path / "shipped").iterdir())


def test_an_elbo_that_is_not_finite_is_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scaled(run, "encoder.stem.weight", 1e30)
    assert refused(capsys, run, "--images", "5", "--json", tmp_path / "e.json").endswith(
        "the ELBO of 5 of 5 test images is not finite"
    )
    assert not (tmp_path / "e.json").exists()


@pytest.mark.parametrize("value", [float("nan"), 1e308, -1e308])
def test_a_course_that_cannot_be_drawn_is_left_out(value: float, run: Path) -> None:
    change(run, history={"training": [[1, 9.0], [2, value]], "test": [[2, value]]})
    assert call("evaluate", run, "--images", "5", "--sheet", run / "s.png") == 0
    assert (run / "s.png").read_bytes().startswith(b"\x89PNG")


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

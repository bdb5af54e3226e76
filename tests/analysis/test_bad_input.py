"""Mistakes in a call, through the command: exit code 2, one line on standard error, and nothing else anywhere.

Most are made in this process, through `analysis.cli.main`; a few start the command as a user does.
"""

import errno
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis import cli
from tests.analysis.mistakes import Refused, files, grey

pytestmark = pytest.mark.usefixtures("desk")


@pytest.mark.parametrize("claim", ["Z9", "Z", "A99", "A0", "verify", ""])
def test_unknown_claim(refused: Refused, claim: str) -> None:
    line = refused("verify", claim, "--out", "out")
    assert repr(claim) in line
    assert "A1" in line
    assert "B1" in line
    assert files(Path()) == []


def test_unknown_claim_among_known_ones(refused: Refused) -> None:
    assert "'q7'" in refused("verify", "A1", "q7", "B")
    assert files(Path()) == []


@pytest.mark.parametrize("seed", ["-1", "-9999999999999999999999"])
def test_negative_seed(refused: Refused, seed: str) -> None:
    line = refused("verify", "A1", "--data", "digits", "--seed", seed, "--out", "out")
    assert f"--seed {seed}" in line
    assert files(Path()) == []


@pytest.mark.parametrize("place", ["file", "file/below", "file/far/below"])
def test_out_that_is_no_folder(refused: Refused, place: str) -> None:
    Path("file").write_text("mine")
    line = refused("verify", "A1", "--data", "digits", "--out", place)
    assert f"{place}: cannot be written" in line
    assert files(Path()) == [Path("file")]
    assert Path("file").read_text() == "mine"


def test_out_that_is_read_only(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated, because nothing is read-only to the superuser, who may well be running this."""

    def read_only(**arguments: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    assert "out: cannot be written (Read-only file system)" in refused("verify", "A1", "--data", "digits", "--out", "out")
    assert files(Path("out")) == []


def test_json_that_is_a_folder(refused: Refused) -> None:
    Path("folder").mkdir()
    line = refused("verify", "A1", "--data", "digits", "--out", "out", "--json", "folder")
    assert "folder: is a folder; name a file" in line
    assert files(Path("folder")) == []
    assert files(Path("out")) == []


def test_json_under_a_file(refused: Refused) -> None:
    Path("file").write_text("mine")
    assert "file: cannot be written" in refused("verify", "A1", "--data", "digits", "--out", "out", "--json", "file/evidence.json")
    assert Path("file").read_text() == "mine"
    assert files(Path("out")) == []


@pytest.mark.parametrize(("place", "says"), [("folder", "is a folder"), ("file/rows.json", "cannot be written")])
def test_json_of_a_benchmark(refused: Refused, monkeypatch: pytest.MonkeyPatch, place: str, says: str) -> None:
    """Known before anything is timed."""

    def haar_rows() -> Iterator[dict[str, float]]:
        pytest.fail("timed, with nowhere to write it")

    monkeypatch.setattr("analysis.bench.haar_rows", haar_rows)
    Path("folder").mkdir()
    Path("file").write_text("mine")
    line = refused("bench", "haar", "--json", place)
    assert place.split("/")[0] in line
    assert says in line
    assert files(Path()) == [Path("file"), Path("folder")]


@pytest.mark.parametrize(
    ("field", "value"),
    [("--batch", ["100000000000"]), ("--widths", ["1000000", "1000000"]), ("--blocks", ["10000000000"])],
    ids=["batch", "widths", "blocks"],
)
def test_a_training_that_no_memory_holds(refused: Refused, field: str, value: list[str]) -> None:
    line = refused("train", "unet", "denoise", "--data", "natural", field, *value, "--out", "run")
    assert re.match(rf"multires: .*\b{field.removeprefix('--')} = ", line)
    assert " GiB or more, and this machine has " in line
    assert files(Path()) == []


@pytest.mark.parametrize(
    ("options", "takes"),
    [
        ("--width 1000000", ""),
        ("--latents 1000000000", " parameters"),
        ("--mixtures 1000000000", " parameters"),
        ("--batch 100000000000", "multires: batch = 100000000000 at 7 steps"),
        ("--resolutions size=8,steps=100000000", "multires: batch = 32 at 100,000,000 steps"),
        ("--resolutions size=8,encoder_blocks=100000000", "multires: batch = 32 at 1 steps"),
    ],
)
def test_an_hvae_that_no_memory_holds(refused: Refused, options: str, takes: str) -> None:
    line = refused("train", "hvae", "digits", *options.split(), "--out", "run")
    assert f"{takes}: takes " in line
    assert " GiB or more, and this machine has " in line
    assert files(Path()) == []


@pytest.mark.parametrize("levels", ["-1", "17", "10000000000"])
def test_levels_that_no_images_have(refused: Refused, levels: str) -> None:
    assert f"pooled = {levels}: must be 0 to 16 levels" in refused("train", "hvae", "digits", "--pooled", levels, "--out", "run")
    assert files(Path()) == []


@pytest.mark.parametrize("preset", [("unet", "denoise"), ("hvae", "digits")], ids=lambda preset: preset[0])
@pytest.mark.parametrize("name", ["sources.jsonl", "log.jsonl", "sheet.png", "weights.safetensors", "weights.json"])
def test_a_folder_in_place_of_a_file_of_the_run(refused: Refused, name: str, preset: tuple[str, str]) -> None:
    (Path("run") / name).mkdir(parents=True)
    assert f"run/{name}: is a folder" in refused("train", *preset, "--out", "run")
    assert files(Path()) == [Path("run"), Path("run") / name]


def test_a_file_in_place_of_the_checkpoints_of_the_run(refused: Refused) -> None:
    Path("run").mkdir()
    Path("run/checkpoints").write_text("mine")
    assert "run/checkpoints: is a file; remove it" in refused("train", "hvae", "digits", "--out", "run")
    assert files(Path()) == [Path("run"), Path("run/checkpoints")]
    assert Path("run/checkpoints").read_text() == "mine"


def test_weights_of_a_study_shipped_into_a_file(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.study.train", lambda *_: pytest.fail("trained before it looked"))
    Path("file").touch()
    assert "file: cannot be written" in refused("study", "unet-basis", "--out", "runs", "--ship", "file")
    assert files(Path()) == [Path("file")]


def test_fetch_without_a_name(refused: Refused) -> None:
    line = refused("data", "fetch")
    assert "name a set" in line
    assert all(name in line for name in ("mnist", "fashion-mnist", "cifar-10"))


@pytest.mark.parametrize("name", ["mnits", "natural", "digits", "../mnist"])
def test_fetch_of_what_cannot_be_fetched(refused: Refused, tmp_path: Path, name: str) -> None:
    assert repr(name) in refused("data", "fetch", name)
    assert files(tmp_path / "data") == []


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param((), id="nothing"),
        pytest.param(("verfy",), id="unknown command"),
        pytest.param(("verify", "--sed", "1"), id="unknown option"),
        pytest.param(("verify", "--seed", "many"), id="seed that is no number"),
        pytest.param(("verify", "--seed", "1.5"), id="seed that is no integer"),
        pytest.param(("verify", "--out"), id="option without its value"),
        pytest.param(("data", "remove", "mnist"), id="unknown action"),
        pytest.param(("bench", "hare"), id="unknown benchmark"),
    ],
)
def test_arguments_that_make_no_command(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    """tyro draws a box that says what is wrong, so this is more than a line."""
    with pytest.raises(SystemExit) as caught:
        cli.main([*arguments])
    out, err = capsys.readouterr()
    assert caught.value.code == 2
    assert out == ""
    assert "multires" in err
    assert files(Path()) == []


def start(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "analysis", *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_the_process_says_one_line() -> None:
    """Of an image that is wrong only in its sides, so that all of reading it is done before."""
    grey(30, 31).save("photo.png")
    done = start("verify", "A1", "--data", "photo.png", "--out", "out")
    assert done.returncode == 2
    assert done.stdout == ""
    line = "multires: photo.png: 30 x 31 cells: all sides must be the same power of two, the nearest that works is 32 x 32\n"
    assert done.stderr == line
    assert files(Path()) == [Path("photo.png")]


def test_the_process_refuses_an_unknown_claim() -> None:
    done = start("verify", "Z9")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("multires: no claim 'Z9': ")
    assert done.stderr.count("\n") == 1
    assert files(Path()) == []


def test_the_process_refuses_arguments_that_make_no_command() -> None:
    done = start("verify", "--seed", "many")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "--seed" in done.stderr
    assert "many" in done.stderr
    assert "Traceback" not in done.stderr
    assert files(Path()) == []

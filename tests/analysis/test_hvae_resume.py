"""Going on with an HVAE's run: what is kept, what is passed over, and what is refused with nothing lost."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from analysis import runs
from multires import files, pretrained
from multires.training import Finished, Record, Step
from tests.analysis.tiny_hvae import call, go


def test_a_finished_run_that_is_resumed_keeps_its_commit(
    trained: tuple[Path, list[Record]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    before, sources = pretrained.card(folder), (folder / runs.SOURCES).read_text()
    monkeypatch.setattr(runs, "commit", lambda: "a later one")
    go(folder)
    assert pretrained.card(folder)["commit"] == before["commit"]
    assert (folder / runs.SOURCES).read_text() == sources


def test_a_run_from_before_a_field_was_added_goes_on(trained: tuple[Path, list[Record]], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)

    def older(values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if name != "free_nats"}

    (folder / runs.CONFIG).write_text(json.dumps(older(json.loads((folder / runs.CONFIG).read_text()))))
    state = checkpoint(folder) / "state.json"
    values = json.loads(state.read_text())
    state.write_text(json.dumps(values | {"identity": json.dumps(older(json.loads(values["identity"])), sort_keys=True)}))
    assert "free_nats" not in state.read_text()
    assert isinstance(go(folder)[-1], Finished)


def test_a_run_goes_on_under_the_name_of_its_own_preset_alone(
    trained: tuple[Path, list[Record]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for network, other in (("hvae", "mnist"), ("hvae", "cifar10"), ("unet", "denoise")):
        assert call("train", network, other, "--resume", str(folder)) == 2
        said = f"multires: --resume {folder}: that run knows its settings; say only: train hvae digits --resume\n"
        assert capsys.readouterr().err == said
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert call("train", "hvae", "digits", "--resume", str(folder)) == 0


def test_a_run_without_a_checkpoint_says_that_it_begins_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert call("train", "hvae", "digits", "--steps", "2", "--save-every", "1", "--out", str(folder)) == 0
    capsys.readouterr()
    said = f"multires: no checkpoint in {folder / 'checkpoints'}; begins at step 0\n"
    assert call("train", "hvae", "digits", "--resume", str(folder)) == 0
    assert said not in capsys.readouterr().err
    shutil.rmtree(folder / "checkpoints")
    assert call("train", "hvae", "digits", "--resume", str(folder)) == 0
    assert said in capsys.readouterr().err
    card = pretrained.card(folder)
    assert {"kind", "run", "data", "seed", "parameters", "steps", "seconds", "device", "threads", "precision"} <= card.keys()
    assert {"commit", "versions", "test_images", "test_seed", "elbo", "kl", "history"} <= card.keys()
    assert (card["precision"], card["threads"]) == ("float32", torch.get_num_threads())


@pytest.mark.parametrize("name", ["weights.safetensors", "log.jsonl", "checkpoints/00000003/model.safetensors"])
def test_a_folder_that_holds_something_else_is_left_alone(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    assert call("train", "hvae", "digits", "--steps", "2", "--out", str(tmp_path)) == 2
    assert f"{tmp_path}: holds {name.split('/')[0]} of something else already; name another --out" in capsys.readouterr().err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]


def test_lines_about_sources_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    lines = [b'{"step": 0, "commit": "one"}', b"\xff\xfe", b"[]", b'{"step": 7, "commit": "two"}', b'{"step": 9, "com']
    (tmp_path / runs.SOURCES).write_bytes(b"\n".join(lines))
    assert runs.sources(tmp_path) == {"one": 0, "two": 7}


def checkpoint(folder: Path) -> Path:
    return folder / "checkpoints" / "00000200"


def damage_truncated(folder: Path) -> str:
    path = checkpoint(folder) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    return "model.safetensors: not a whole safetensors file"


def damage_other_configuration(folder: Path) -> str:
    values = json.loads((folder / runs.CONFIG).read_text())
    values["model"]["latents"] = 5
    (folder / runs.CONFIG).write_text(json.dumps(values))
    return r"posterior.c4.weight has shape \(16, 4, 1, 1\), the network's is \(10, 4, 1, 1\)"


def damage_other_setting(folder: Path) -> str:
    """One that no shape shows."""
    values = json.loads((folder / runs.CONFIG).read_text())
    values["model"]["normalise"] = True
    (folder / runs.CONFIG).write_text(json.dumps(values))
    return "it was written by a run of other settings"


def damage_moments(folder: Path) -> str:
    path = checkpoint(folder) / "optimizer.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"0.exp_avg": torch.zeros(2, 2)}, path)
    return r"moment 0.exp_avg has shape \(2, 2\)"


def damage_no_moments(folder: Path) -> str:
    save_file({}, checkpoint(folder) / "optimizer.safetensors")
    return "holds other moments than were written"


def damage_pickled(folder: Path) -> str:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path(folder / "executed").touch, ())

    path = checkpoint(folder) / "model.safetensors"
    path.unlink()
    torch.save(Bomb(), path)
    return "model.safetensors: not a whole safetensors file"


def damage_unknown_field(folder: Path) -> str:
    values = json.loads((folder / runs.CONFIG).read_text())
    values["model"]["resolutions"][0]["depth"] = 3
    (folder / runs.CONFIG).write_text(json.dumps(values))
    return "unknown field 'depth'; Resolution has size"


@pytest.mark.parametrize(
    "damage",
    [
        damage_truncated,
        damage_other_configuration,
        damage_other_setting,
        damage_moments,
        damage_no_moments,
        damage_pickled,
        damage_unknown_field,
    ],
)
def test_what_cannot_be_resumed_is_one_line_and_nothing_is_lost(
    damage: Any, trained: tuple[Path, list[Record]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    says = damage(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert call("train", "hvae", "digits", "--resume", str(folder)) == 2
    error = capsys.readouterr().err
    assert re.search(says, error)
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_two_processes_do_not_train_one_run(
    trained: tuple[Path, list[Record]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    with files.held(folder / runs.CONFIG, ""):
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert call("train", "hvae", "digits", "--resume", str(folder)) == 2
    assert capsys.readouterr().err == f"multires: {folder}: another process trains there; wait for it, or stop it first\n"
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert call("train", "hvae", "digits", "--resume", str(folder)) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full, a file that is always full, is Linux's")
def test_a_full_disk_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "SOURCES", "/dev/full")
    monkeypatch.setattr(runs, "FILES", ())
    assert call("train", "hvae", "digits", "--steps", "2", "--out", str(tmp_path / "run")) == 2
    assert (
        capsys.readouterr().err.splitlines()[-1]
        == "multires: /dev/full: cannot be written (No space left on device); make room, then go on"
    )


def test_what_a_launcher_says_of_gradients_changes_none(
    trained: tuple[Path, list[Record]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    records = go(tmp_path / "run", until=3)
    norms = [[each.gradient_norm for each in of if isinstance(each, Step)][:3] for of in (records, trained[1])]
    assert norms[0] == norms[1]

"""`multires probe` as a user meets it: shipped weights, openai/vdvae's, wrong calls; and no state kept longer than its batch."""

import json
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from analysis import cli, inference, probing
from analysis.clock import Clock
from analysis.state_basis import Bases
from multires import vdvae
from multires.errors import MultiresError
from multires.hvae import HVAE
from tests.analysis.test_refinement import CONFIG
from tests.multires.test_vdvae import FIXTURES, SMALL

STATE = FIXTURES / "openai_vdvae_small.state.safetensors"


def probe(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["probe", *map(str, arguments)])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_shipped_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert probe("hvae-digits", "--images", "40", "--out", out, "--json", tmp_path / "copy.json") == 0
    shown = capsys.readouterr().out
    assert "40 test images" in shown
    assert "norm with depth, Spearman's correlation" in shown
    figures = [f"{name}.{kind}" for name in ("bases", "nats", "sampling", "time") for kind in ("png", "svg")]
    assert sorted(path.name for path in out.iterdir()) == sorted(["probe.json", *figures])
    record = json.loads((out / "probe.json").read_text())
    assert (tmp_path / "copy.json").read_text() == (out / "probe.json").read_text()
    assert record["sides"] == [1, 4, 4, 4, 8, 8, 8]
    assert len(record["nats"]["kl"]) == 7
    assert sum(record["nats"]["kl by resolution"]) == pytest.approx(sum(record["nats"]["kl"]))
    assert np.shape(record["bases"]["unexplained"]) == (3, 7)
    assert np.shape(record["sampling"]["error"]) == (8, 3)
    assert np.shape(record["sampling"]["gain"]) == (7, 8)


def test_one_seed_gives_the_same_numbers() -> None:
    net, images = probing.open_network("hvae-digits", None)
    records = []
    for seed in (0, 0, 1):
        looked = probing.Probe(net, images[:12], seed)
        assert len(list(looked.run())) == looked.parts
        records.append(looked.to_json())
    assert records[0] == records[1]
    assert records[0]["nats"] != records[2]["nats"]


def test_refined_steps_where_cells_are_shared() -> None:
    torch.manual_seed(0)
    looked = probing.Probe(HVAE(CONFIG).eval(), torch.rand(8, 1, 8, 8).round(), 0)
    assert len(list(looked.run())) == looked.parts
    steps = looked.to_json()["steps"]
    assert steps["refined 4 counts"] == [2, 3, 4, 6]
    assert steps["refined 4 change"][1] == [0, 0, 0]
    assert steps["refined 4 change"][0] != [0, 0, 0]


def test_a_state_dict_of_openai(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vdvae.PRESETS, "small", SMALL)
    pixels = np.random.default_rng(0).random((60, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", pixels)
    assert probe(STATE, "--data", tmp_path / "x.npy", "--out", tmp_path / "out") == 0
    record = json.loads((tmp_path / "out" / "probe.json").read_text())
    assert record["images"] == 12  # the last fifth
    assert record["sides"] == [1, 4, 4, 4, 8, 8, 8]


def test_the_elbo_is_that_of_bounds() -> None:
    net, images = probing.open_network("hvae-digits", None)
    nats = inference.Nats(net)
    for _ in inference.read(net, images[:30], 5, [nats]):
        pass
    with torch.no_grad():
        generator = torch.Generator().manual_seed(5)
        nll, kl = net(images[:15], generator)
    assert torch.allclose(nats.elbo[:15], -(nll + kl.sum(0)), rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["hvae-none"], "no weights 'hvae-none': shipped are"),
        (["unet-max"], "not the card of an HVAE's weights"),
        (["hvae-digits", "--images", "3"], "images 4 or more"),
        (["hvae-digits", "--seed", "-1"], "--seed -1"),
        (["hvae-digits", "--data", "nowhere"], "no data set or file 'nowhere'"),
        (["{state}"], "openai_vdvae_small.state.safetensors: a state dict says nothing of its images; name them with --data"),
        (["{state}", "--data", "digits"], "this HVAE takes (batch, 3, 8, 8)"),
        (["alone.safetensors", "--data", "digits"], "no card alone.json beside it, and no state dict of openai/vdvae"),
        (["missing.safetensors"], "missing.safetensors"),
        (["hvae-digits", "--json", "{folder}"], "is a folder"),
    ],
)
def test_wrong_calls_get_one_line_and_leave_nothing(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(vdvae.PRESETS, "small", SMALL)
    monkeypatch.chdir(tmp_path)
    save_file({"a": torch.zeros(1)}, "alone.safetensors")
    filled = [part.format(state=STATE, folder=tmp_path) for part in arguments]
    assert probe(*filled, "--out", "out") == 2
    shown = capsys.readouterr()
    assert says in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["alone.safetensors"]


def test_too_few_test_images_are_refused() -> None:
    net, images = probing.open_network("hvae-digits", None)
    with pytest.raises(MultiresError, match="3 test images: probes fit on one half and score on the other, and need 4 or more"):
        probing.Probe(net, images[:3], 0)


class Watch:
    """Sees whether states of earlier batches are still held somewhere."""

    def __init__(self) -> None:
        self.batches = 0
        self.seen: list[weakref.ref[torch.Tensor]] = []

    def update(self, batch: inference.Inferred) -> None:
        assert not any(seen() is not None for seen in self.seen)
        self.seen = [weakref.ref(step.state) for step in batch.steps]
        self.batches += 1

    def found(self) -> inference.Arrays:
        return {}


def test_memory_is_flat_in_the_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """No reader holds states of an earlier batch."""
    monkeypatch.setattr(inference, "BATCH", 16)
    net, images = probing.open_network("hvae-digits", None)
    watch = Watch()
    readers = [watch, inference.Nats(net), Clock(net), Bases(net)]
    assert sum(inference.read(net, images[:100], 0, readers)) == 100
    assert watch.batches == 8

"""Shipped weights: they load, are what their cards say, and are small; others load from a folder or a path."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from analysis import filters, hvae_runs, unet_runs
from analysis.hvae_studies import DECISIVE, seeds
from multires import MultiresError, bounds, checkpoints, data, download, files, plain, pretrained, tasks
from multires.configs import UNetConfig, UNetRun
from multires.patches import split
from multires.unet import UNet

NAMES = [name for name in pretrained.names() if name.startswith("unet-")]
NAMES_ALONE = [name for name in pretrained.names() if "/" not in name]
HVAES = [name for name in pretrained.names() if name.startswith("hvae-")]
RUN = UNetRun(model=UNetConfig(widths=(2, 3), pooling=(0.5, 0.5)), side=8)


def shipped(name: str, folder: Path) -> Path:
    """A copy of shipped weights and their card."""
    for ending in ("safetensors", "json"):
        shutil.copy(pretrained.FOLDER / f"{name}.{ending}", folder / f"weights.{ending}")
    return folder / "weights.safetensors"


def test_there_are_weights_and_they_are_small() -> None:
    found = [path for path in pretrained.FOLDER.iterdir() if path.is_file()]
    pairs = {name for name in pretrained.names() if "/" in name}
    assert {"unet-average", "unet-max", "unet-strided", "unet-db2"} <= set(NAMES)
    assert {"hvae-digits", "hvae-mnist", "hvae-mnist-shared", "hvae-fashion-mnist", "hvae-fashion-mnist-shared"} == set(HVAES)
    assert {path.stem for path in found if path.suffix == ".json"} == set(NAMES) | set(HVAES) == set(pretrained.names()) - pairs
    assert {path.suffix for path in found} == {".json", ".safetensors"}
    assert sum(path.stat().st_size for path in found if path.stem in NAMES) <= 4e6
    assert all(path.stat().st_size <= 4e6 for path in found)
    assert {f"{size}/{label}-{seed}" for size in ("small", "digits") for label in DECISIVE for seed in seeds(size, label)} == pairs
    compared = [name for name in pairs if name.split("/")[1].rpartition("-")[0] in ("own-3", "normalised-3", "shared-5")]
    assert sum((pretrained.FOLDER / f"{name}.safetensors").stat().st_size for name in compared) <= 6e6


@pytest.mark.parametrize("name", NAMES)
def test_shipped_weights_are_what_their_card_says(name: str) -> None:
    net, run = pretrained.load_unet(name)
    card = pretrained.card(name)
    assert not any(module.training for module in net.modules())
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert all(p.isfinite().all() and p.any() for p in net.parameters())
    assert {t.dtype for t in checkpoints.read_tensors(pretrained.path_of(name)).values()} == {torch.float16}
    assert plain.to_json(run) == plain.to_json(plain.from_json(UNetRun, card["run"], name))
    assert name == f"unet-{card['pooling']}" == f"unet-{filters.label(run.model.pooling)}"
    assert card["parameters"] == sum(p.numel() for p in net.parameters())
    assert card["steps"] == run.training.steps
    assert card["seconds"] > 0
    assert 0 < card["test_loss"] < run.task.noise**2
    assert all(isinstance(card[field], str) and card[field] for field in ("device", "commit"))
    assert card["commit"].isalnum()
    assert set(card["versions"]) == {"multires-toolkit", "torch"}


@pytest.mark.parametrize("name", HVAES)
def test_shipped_hvaes_are_what_their_card_says(name: str) -> None:
    hvae, run = pretrained.load_hvae(name)
    card = pretrained.card(name)
    assert name == f"hvae-{hvae_runs.name(run)}"
    assert {t.dtype for t in checkpoints.read_tensors(pretrained.path_of(name)).values()} == {torch.float16}
    assert all(p.isfinite().all() for p in hvae.parameters())
    assert card["parameters"] == sum(p.numel() for p in hvae.parameters()) <= 350_000
    assert card["steps"] == run.training.steps
    assert card["command"] == hvae_runs.command(run)
    assert f"{card['command']} ".startswith(f"multires train hvae {name.removeprefix('hvae-')} ")
    assert card["elbo"]["nats"] < card["importance"]["nats"] < 0
    assert card["elbo"]["standard_error"] > 0
    assert len(card["kl"]) == run.model.steps
    assert min(card["kl"]) >= 0
    assert card["seconds"] > 0
    assert "-dirty" not in json.dumps(card["commit"])
    assert len(hvae.cells) == len(run.model.resolutions if name.endswith("-shared") else hvae.timetable)


@pytest.mark.parametrize("name", HVAES)
def test_the_elbo_of_a_card_is_found_again(name: str) -> None:
    """Over all test images; the draws are those of the card's."""
    hvae, run = pretrained.load_hvae(name)
    if run.data != "digits" and not all(download.present(run.data, file) for file in download.SOURCES[run.data].files):
        pytest.skip(f"{run.data} is not on this machine: set MULTIRES_DATA, or run multires data fetch {run.data}")
    test = hvae_runs.held_out(run)
    card = pretrained.card(name)
    assert card["test_images"] == len(test)
    parts = list(bounds.bounds(hvae, test, 0, hvae_runs.TEST_SEED))
    found = hvae_runs.summary(parts, 0, hvae.dimensions)
    assert found["elbo"]["nats"] == pytest.approx(card["elbo"]["nats"], rel=1e-5)
    assert found["kl"] == pytest.approx(card["kl"], rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_test_loss_is_found_again_on_held_out_tiles(name: str) -> None:
    net, run = pretrained.load_unet(name)
    _, held_out = split(data.load(run.data), run.side)
    x, target = tasks.pair(run.task, held_out.tiles(unet_runs.TEST_TILES), torch.Generator().manual_seed(unet_runs.TEST_SEED))
    assert unet_runs.loss_on(net, x, target) == pytest.approx(pretrained.card(name)["test_loss"], rel=0.01)


@pytest.mark.parametrize("given", [Path.absolute, lambda path: path.parent, str], ids=["path", "folder", "text"])
def test_weights_of_ones_own_load(given: Callable[[Path], str | Path], tmp_path: Path) -> None:
    net = UNet(RUN.model)
    path = tmp_path / "weights.safetensors"
    checkpoints.write_weights(path, net, {"kind": "unet", "run": plain.to_json(RUN)})
    found, run = pretrained.load_unet(given(path))
    assert run == RUN
    assert not found.training
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), net.parameters(), strict=True))


@pytest.mark.parametrize(
    "name", ["unet-none", "", "a" * 5000, "\0", "weights/nothing"], ids=["other", "empty", "long", "null", "path"]
)
def test_unknown_names_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MultiresError, match=rf"^[^\n]*(shipped are {', '.join(NAMES_ALONE)}; or give [^\n]*|: no such file)$"):
        pretrained.load_unet(name)


def test_weights_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    path = shipped("unet-max", tmp_path)
    content, card = path.read_bytes(), files.read_json(path.with_suffix(".json"))

    def refused(says: str, card: Any) -> None:
        path.with_suffix(".json").write_text(json.dumps(card))
        with pytest.raises(MultiresError, match=rf"^{re.escape(str(tmp_path))}/weights\.(json|safetensors): {says}$"):
            pretrained.load_unet(tmp_path)

    model = card["run"]["model"]

    def with_model(**changes: object) -> dict[str, Any]:
        return {**card, "run": {**card["run"], "model": {**model, **changes}}}

    refused("not the card of a U-Net's weights", [])
    refused("not the card of a U-Net's weights", {**card, "kind": "vae"})
    refused("not the card of a U-Net's weights", {"kind": "unet"})
    refused("model: unknown field 'depth'; .*", with_model(depth=3))
    refused(r"stem\.weight has shape \(24, 1, 3, 3\), the network's is \(24, 3, 3, 3\)", with_model(channels=3))
    refused(r"decoder\.0\.1\.body\.1\.bias is missing .*", with_model(blocks=2))
    refused(r"decoder\.3\.0\.body\.1\.bias belongs to another network .*", with_model(widths=[24] * 4))
    refused(r"pools\.0\.bias is missing .*", with_model(pooling="strided"))
    path.write_bytes(content[:-7])
    refused(r"not a whole safetensors file \(.*\)", card)
    path.unlink()
    refused("no such file", card)
    path.write_bytes(content)
    path.with_suffix(".json").unlink()
    with pytest.raises(MultiresError, match=r"weights\.json: no such file$"):
        pretrained.load_unet(path)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("unet-average", "widths", [10**6] * 5),
        ("unet-average", "blocks", 10**10),
        ("unet-average", "channels", 10**12),
        ("hvae-digits", "bottleneck", 1e6),
        ("hvae-digits", "latents", 10**10),
    ],
)
def test_a_card_of_a_network_that_no_memory_holds_is_refused(name: str, field: str, value: Any, tmp_path: Path) -> None:
    path = shipped(name, tmp_path)
    card = json.loads(path.with_suffix(".json").read_text())
    card["run"]["model"][field] = value
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(MultiresError, match=r"^.+: takes [\d,]+ GiB or more, and this machine has \d+$"):
        pretrained.load(path)

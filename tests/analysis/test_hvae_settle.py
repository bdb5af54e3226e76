"""What a run of an HVAE takes from its data, and what data it refuses."""

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from analysis import hvae_runs
from multires.data import Images
from multires.errors import MultiresError
from multires.hvae_configs import HVAE_PRESETS, HVAERun, Resolution

TINY = HVAE_PRESETS["digits"]


@pytest.mark.parametrize("value", [-0.5, 1.5])
@pytest.mark.parametrize(("batch", "side"), [(0, 0), (0, -1), (1, 0), (1, -1)], ids=["train", "test", "2nd train", "2nd test"])
def test_pixels_beyond_the_range_are_found_wherever_they_are(
    batch: int, side: int, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each shape of photographs the left half is trained on, the right one tested."""
    batches = (torch.full((1, 1, 16, 16), 0.5), torch.full((1, 1, 32, 32), 0.5))
    batches[batch][..., side] = value
    monkeypatch.setattr(hvae_runs.data, "load", lambda name: Images("mine", "", batches))
    with pytest.raises(MultiresError, match=r"values from (-0.5 to 0.5|0.5 to 1.5); an HVAE models pixels in \[0, 1\]"):
        hvae_runs.settle(TINY)


@pytest.fixture
def mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HVAERun:
    """A run on made-up files, whose preset does not know the border of its data."""
    monkeypatch.setenv("MULTIRES_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    for part, count in (("train", 30), ("t10k", 3)):
        content = struct.pack(">4I", 0x0803, count, 28, 28) + bytes(count * 28 * 28)
        (tmp_path / "mnist" / f"{part}-images-idx3-ubyte").write_bytes(content)
    preset = HVAE_PRESETS["mnist"]
    return replace(preset, model=replace(preset.model, border=0))


def sized(run: HVAERun, size: int, border: int = 0) -> HVAERun:
    return replace(run, model=replace(run.model, resolutions=(Resolution(size), Resolution(1)), border=border))


def test_the_border_is_that_of_the_data(mnist: HVAERun) -> None:
    assert hvae_runs.settle(mnist).model.border == 2
    assert hvae_runs.settle(HVAE_PRESETS["mnist"]) == HVAE_PRESETS["mnist"]
    assert hvae_runs.settle(replace(sized(mnist, 16), pooled=1)).model.border == 1
    assert hvae_runs.settle(replace(sized(mnist, 8), pooled=2)).model.border == 0
    assert hvae_runs.settle(replace(HVAE_PRESETS["mnist"], data="natural")).model.border == 0
    assert hvae_runs.settle(sized(TINY, 8, border=2)).model.border == 0
    assert hvae_runs.settle(sized(TINY, 4, border=1)).model.border == 0  # so digits may be cut


def test_images_of_ones_own_keep_the_border_that_is_configured(tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", np.zeros((40, 16, 16)))
    run = replace(TINY, data=str(tmp_path / "mine.npy"))
    for border in (0, 3):
        assert hvae_runs.settle(sized(run, 16, border)).model.border == border
    assert hvae_runs.settle(sized(run, 8, 0)).model.border == 0
    assert hvae_runs.settle(replace(sized(run, 8, 3), pooled=1)).model.border == 3
    with pytest.raises(MultiresError, match=r"images of 16 x 16 with a border .* but 8 x 8 would be cut out of them"):
        hvae_runs.settle(sized(run, 8, border=3))


def test_images_with_a_border_are_not_cut(mnist: HVAERun) -> None:
    says = r"\Amnist: images of 32 x 32 with a border that only pads them .* 16 x 16 would be cut out of them; .*\(pooled\)\Z"
    for run in (sized(mnist, 16), replace(sized(mnist, 8), pooled=1)):
        with pytest.raises(MultiresError, match=says):
            hvae_runs.settle(run)

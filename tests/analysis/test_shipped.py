"""The networks that claims C measure: which images they are given, and that each pools as its name says."""

import math
from dataclasses import replace

import numpy as np
import pytest
import pywt
import torch
from torch import Tensor

from analysis import shipped
from analysis.evidence import Context, Skipped
from analysis.filters import WAVELETS
from multires.configs import PRESETS
from multires.data import Images
from multires.patches import split

RUN = PRESETS["denoise"]


def _context(*batches: Tensor) -> Context:
    return Context(Images("mine", "", batches), 3, "C5")


def numbered(*shape: int) -> Tensor:
    """Every pixel a number of its own."""
    return torch.arange(math.prod(shape), dtype=torch.float32).reshape(shape) / 2**20


def test_pairs_to_fit_and_to_score_on_share_no_pixel() -> None:
    run = replace(RUN, task=replace(RUN.task, noise=0.0))
    for batch in (numbered(2, 1, 128, 256), numbered(40, 1, 64, 64), numbered(2, 3, 128, 128)):
        (inputs, fit), (scored, held) = shipped.pairs(_context(batch), run, 24, 20)
        assert fit.shape == (24, 1, 32, 32)
        assert held.shape == (20, 1, 32, 32)
        assert torch.equal(inputs, fit)
        assert torch.equal(scored, held)
        assert not set(fit.flatten().tolist()) & set(held.flatten().tolist())
        assert set(fit.flatten().tolist()) | set(held.flatten().tolist()) <= set(batch.flatten().tolist())


def test_noise_is_that_of_the_task_and_fresh_for_both() -> None:
    (inputs, fit), (scored, held) = shipped.pairs(_context(numbered(2, 1, 128, 256)), RUN, 16, 16)
    first, second = inputs - fit, scored - held
    for noise in (first, second):
        assert float(noise.std()) == pytest.approx(RUN.task.noise, rel=0.03)
    assert float((first * second).mean()) == pytest.approx(0, abs=3e-4)


def test_channels_count_as_images_from_all_over_the_image() -> None:
    colour = numbered(1, 3, 256, 256)
    train, held_out = split(Images("mine", "", (colour,)), 32)
    fit, held = shipped.samples((train, held_out), 0, 30, 31)
    assert (len(fit), len(held)) == (30, 31)
    for found, part in ((fit, train), (held, held_out)):
        first, last = part.tiles()[0], part.tiles()[-1]
        assert all(torch.equal(found[k, 0], first[k]) for k in range(3))
        assert torch.equal(found[(len(found) - 1) // 3 * 3, 0], last[0])


def test_more_patches_to_fit_on_are_drawn_at_random_places_of_the_same_half() -> None:
    train, held_out = split(Images("mine", "", (numbered(1, 1, 64, 128),)), 32)
    fit, held = shipped.samples((train, held_out), 0, 50, 50)
    assert (len(fit), len(held)) == (50, 4)
    assert torch.equal(fit[:4], train.tiles())
    assert len({float(patch[0, 0, 0]) for patch in fit}) > 30
    again, other = shipped.samples((train, held_out), 0, 50, 50)[0], shipped.samples((train, held_out), 1, 50, 50)[0]
    assert torch.equal(fit, again)
    assert not torch.equal(fit, other)


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        (torch.zeros(100, 1, 16, 16), "no room for disjoint patches of 32 x 32"),
        (torch.zeros(1, 1, 64, 64), "mine: 0 patches of 32 x 32"),
        (torch.rand(10, 1, 32, 64), "mine: 10 patches"),
        (torch.zeros(40, 1, 64, 64), "mine: 0 patches of 32 x 32 to fit or test on that are not constant; 16 are the least"),
    ],
)
def test_images_that_cannot_be_used_are_skipped_with_the_reason(batch: Tensor, reason: str) -> None:
    with pytest.raises(Skipped, match=reason):
        shipped.pairs(_context(batch), RUN)


def test_a_network_that_is_not_shipped_is_skipped_with_what_makes_it() -> None:
    with pytest.raises(Skipped, match="no shipped weights unet-blur; multires study"):
        shipped.network("blur")


@pytest.mark.parametrize("pooling", ["average", "max", "strided", *WAVELETS[1:]])
def test_a_shipped_network_pools_as_its_name_says(pooling: str) -> None:
    net, run = shipped.network(pooling)
    found: list[Tensor] = []
    hook = net.pools[0].register_forward_hook(lambda module, inputs, output: found.extend((inputs[0], output)))
    with torch.no_grad():
        net(torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)))
    hook.remove()
    assert not net.training
    before = shipped.untrained(pooling)
    assert {name: p.shape for name, p in before.named_parameters()} == {name: p.shape for name, p in net.named_parameters()}
    assert any(not torch.equal(p, q) for p, q in zip(net.parameters(), before.parameters(), strict=True))
    if pooling in WAVELETS or pooling == "average":
        wavelet = "haar" if pooling == "average" else pooling
        expected = pywt.dwt2(found[0].double().numpy(), wavelet, "periodization")[0] / 2
        assert np.abs(found[1].numpy() - expected).max() < 1e-5
    assert run.model.levels == 4

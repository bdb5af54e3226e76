"""Skip ablation: what is cut, what is counted, and the interval, on networks and energies made by hand."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from analysis.ablation import Ablation, ablate, band_energies
from multires.errors import MultiresError
from multires.pooling import average, maximum, project
from multires.spaces import embed
from multires.unet import HaarUNet


def images(count: int, seed: int = 0, channels: int = 1, side: int = 16) -> Tensor:
    return torch.randn(count, channels, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Cut(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


@pytest.mark.claim("C6")
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 1000))
def test_a_haar_unet_with_a_cut_skip_returns_all_but_that_detail(levels: int, d: int, seed: int) -> None:
    x = torch.randn(2, 1, *[16] * d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    for level in range(levels):
        net = HaarUNet(levels)
        net.skips[level] = Cut()
        finer = project(x, level) if level else x
        assert torch.allclose(net(x), x - (finer - project(x, level + 1)), rtol=0, atol=1e-13)


@pytest.mark.claim("C6")
def test_a_cut_skip_of_the_haar_unet_changes_its_own_band_alone() -> None:
    net, x = HaarUNet(3), images(70, channels=2)  # more than one batch
    assert np.abs(ablate(net, net.skips, x, torch.zeros_like).shares - np.eye(3, 4)).max() < 1e-13
    assert np.abs(ablate(net, net.skips, x).shares - np.eye(3, 4)).max() < 1e-13  # it has no more than details to pass
    wrong = HaarUNet(3, maximum)
    found = ablate(wrong, wrong.skips, x, torch.zeros_like).shares
    assert (np.abs(found - np.eye(3, 4)).max(1) > 0.1).all()


@pytest.mark.parametrize("instead", [torch.zeros_like, project])
def test_energies_are_those_of_what_each_skip_makes_of_the_output(instead: Callable[[Tensor], Tensor]) -> None:
    class Shifted(HaarUNet):
        """Its skips hold more than details, and its output is no sum of bands."""

        def forward(self, x: Tensor) -> Tensor:
            return (self.skips[0](x + 1) * embed(self.skips[1](average(x)))).sin()

    net, x = Shifted(2), images(5)
    found = ablate(net, net.skips, x, instead).energies
    whole, (first, second) = net(x), (Shifted(2), Shifted(2))
    first.skips[0].forward = second.skips[1].forward = instead  # type: ignore[method-assign]
    for energies, changed in zip(found, (first, second), strict=True):
        assert torch.allclose(energies, band_energies(whole - changed(x), 2), rtol=1e-12, atol=1e-12)
        assert (energies.sum(0) > 0.1).all()


def test_a_skip_that_is_an_empty_sequence_of_modules_is_changed_like_any_other() -> None:
    net, x = HaarUNet(2), images(5)
    before = ablate(net, net.skips, x).shares
    net.skips[0] = nn.Sequential()
    assert np.array_equal(ablate(net, net.skips, x).shares, before)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 1000))
def test_the_bands_share_out_the_energy(levels: int, channels: int, seed: int) -> None:
    x = images(3, seed, channels) + 5
    energies = band_energies(x, levels)
    assert energies.shape == (levels + 1, 3)
    assert torch.allclose(energies.sum(0), x.square().flatten(1).sum(1), rtol=1e-12)
    details = [*itertools.pairwise([x, *(project(x, level) for level in range(1, levels + 1))])]
    for energy, (fine, coarse) in zip(energies[:-1], details, strict=True):
        assert torch.allclose(energy, (fine - coarse).square().flatten(1).sum(1), rtol=1e-12)


def made(shares: list[list[float]], count: int = 20, spread: float = 0.0) -> Ablation:
    """Energies given as (skip, band), the same for all images but for the spread."""
    noise = torch.randn(len(shares), len(shares[0]), count, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return Ablation(torch.tensor(shares, dtype=torch.float64)[..., None] * (1 + spread * noise))


def test_shares_and_ratios_by_hand() -> None:
    ablation = made([[6, 2, 1, 1], [2, 3, 5, 0]])
    assert np.allclose(ablation.shares, [[0.6, 0.2, 0.1, 0.1], [0.2, 0.3, 0.5, 0]])
    assert np.allclose(ablation.others_over_own(), [[4 / 6] * 3, [7 / 3] * 3])


def test_images_count_by_their_energy() -> None:
    energies = torch.tensor([[[1.0, 0.0], [1.0, 8.0]]], dtype=torch.float64)
    assert np.allclose(Ablation(energies).shares, [[0.1, 0.9]])


@pytest.mark.claim("C6")
def test_a_skip_that_changes_nothing_in_its_own_band_does_not_count_as_bringing_it() -> None:
    assert np.isposinf(made([[0, 3, 1], [0, 0, 0]]).others_over_own()).all()


@pytest.mark.claim("C6")
def test_a_network_that_takes_up_no_skip_is_not_one_whose_skips_bring_their_bands() -> None:
    class Deaf(HaarUNet):
        def forward(self, x: Tensor) -> Tensor:
            super().forward(x)
            return x

    net = Deaf(3)
    assert np.isposinf(ablate(net, net.skips, images(20)).others_over_own()).all()


def test_the_interval_holds_the_estimate_and_shrinks_with_images() -> None:
    widths = []
    for count in (50, 800):
        found = made([[9, 1, 0], [3, 6, 0]], count, spread=0.2).others_over_own(seed=1)
        assert (found[:, 1] < found[:, 0]).all()
        assert (found[:, 0] < found[:, 2]).all()
        widths.append(float(found[1, 2] - found[1, 1]))
    assert 3 < widths[0] / widths[1] < 5.3  # the root of 16, as the spread of a mean
    few, seeds = made([[9, 1], [3, 6]], 50, 0.2), (1, 1, 2)
    first, again, other = (few.others_over_own(seed) for seed in seeds)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_interval_covers() -> None:
    """Of 40 samples from one distribution with the true ratio 1/2 nearly all intervals hold it; 36 are those of the worst luck."""
    generator, held = torch.Generator().manual_seed(3), 0
    for _ in range(40):
        energies = torch.tensor([[6.0, 3.0]], dtype=torch.float64)[..., None]
        drawn = energies * (1 + 0.2 * torch.randn(1, 2, 100, dtype=torch.float64, generator=generator))
        ((_, low, high),) = Ablation(drawn).others_over_own()
        held += bool(low <= 0.5 <= high)
    assert 34 <= held <= 40


def test_hooks_are_gone_afterwards_also_after_an_exception() -> None:
    net, x = HaarUNet(2), images(3)
    ablate(net, net.skips, x)
    with pytest.raises(MultiresError, match="multiple of 4"):
        ablate(net, net.skips, images(3, side=6))
    assert not any(module._forward_hooks for module in net.modules())
    assert torch.allclose(net(x), x, rtol=0, atol=1e-14)

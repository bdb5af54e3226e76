"""Skip ablation: what is cut, what is counted, and the interval, on networks and energies made by hand."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from analysis.ablation import Ablation, ablate, band_energies
from multires.errors import MultiresError
from multires.pooling import maximum, project
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
def test_the_haar_unet_loses_the_identity_matrix() -> None:
    net, x = HaarUNet(3), images(70, channels=2)  # more than one batch
    assert np.abs(ablate(net, net.skips, x).lost - np.eye(3, 4)).max() < 1e-13
    wrong = HaarUNet(3, maximum)
    assert np.abs(ablate(wrong, wrong.skips, x).lost - np.eye(3, 4)).max() > 0.1


def test_energies_are_those_of_the_network_as_it_is_and_without_each_skip() -> None:
    net, x = HaarUNet(2), images(5)
    found = ablate(net, net.skips, x).energies
    assert torch.allclose(found[-1], band_energies(x, 2), rtol=1e-12)
    for level in range(2):
        cut = HaarUNet(2)
        cut.skips[level] = Cut()
        assert torch.allclose(found[level], band_energies(cut(x), 2), rtol=1e-12, atol=1e-12)


def test_a_skip_that_is_an_empty_sequence_of_modules_is_cut_like_any_other() -> None:
    net, x = HaarUNet(2), images(5)
    before = ablate(net, net.skips, x).lost
    net.skips[0] = nn.Sequential()
    assert np.array_equal(ablate(net, net.skips, x).lost, before)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 1000))
def test_the_bands_share_out_the_energy_about_the_mean(levels: int, channels: int, seed: int) -> None:
    x = images(3, seed, channels) + 5
    energies = band_energies(x, levels)
    assert energies.shape == (levels + 1, 3)
    assert torch.allclose(energies.sum(0).sum(), (x - x.mean()).square().sum(), rtol=1e-12)
    details = [*itertools.pairwise([x, *(project(x, level) for level in range(1, levels + 1))])]
    for energy, (fine, coarse) in zip(energies[:-1], details, strict=True):
        assert torch.allclose(energy, (fine - coarse).square().flatten(1).sum(1), rtol=1e-12)


def test_energies_do_not_depend_on_how_images_fall_into_batches() -> None:
    """Two batches of different means: the mean that the approximation is taken about is that of all images."""
    net, x = HaarUNet(2), torch.cat([images(64), images(64, 1) + 10])
    order = torch.randperm(128, generator=torch.Generator().manual_seed(0))
    found, mixed = ablate(net, net.skips, x).energies, ablate(net, net.skips, x[order]).energies
    assert torch.allclose(found[..., order], mixed, rtol=1e-10, atol=1e-10)


def made(losses: list[list[float]], count: int = 20, spread: float = 0.0) -> Ablation:
    """Energies of 1 in every band and image, less the losses given as (skip, band); images vary by the spread."""
    noise = torch.randn(len(losses), len(losses[0]), count, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    cut = 1 - torch.tensor(losses, dtype=torch.float64)[..., None] + spread * noise
    return Ablation(torch.cat([cut, torch.ones(1, *cut.shape[1:], dtype=torch.float64)]))


def test_losses_and_ratios_by_hand() -> None:
    ablation = made([[0.9, 0.1, 0.0, 0.0], [0.2, 0.5, 0.3, 0.9], [0.1, 0.6, 0.3, 0.9]])
    assert np.allclose(ablation.lost, [[0.9, 0.1, 0.0, 0.0], [0.2, 0.5, 0.3, 0.9], [0.1, 0.6, 0.3, 0.9]])
    assert np.allclose(ablation.finer_over_own(), [[0.4] * 3, [2.0] * 3])  # 0.2 / 0.5; the larger of 0.1 and 0.6 over 0.3


def test_images_count_by_their_energy() -> None:
    energies = torch.tensor([[[1.0, 0.0]] * 3, [[2.0, 3.0]] * 3, [[2.0, 8.0]] * 3], dtype=torch.float64)
    assert np.allclose(Ablation(energies).lost, [[0.9] * 3, [0.5] * 3])


@pytest.mark.claim("C6")
@pytest.mark.parametrize("own", [0.0, -0.5])
def test_a_skip_whose_own_band_loses_nothing_does_not_count_as_bringing_it(own: float) -> None:
    """The ratio of a gain to a loss is negative, and one of two gains positive: neither is below 1 in the claim's sense."""
    for finer in (0.2, 0.0, -0.2):
        assert np.isposinf(made([[0.9, 0.0, 0.0], [finer, own, 0.0]]).finer_over_own()).all()


@pytest.mark.claim("C6")
def test_a_network_that_takes_up_no_skip_is_not_one_whose_skips_bring_their_bands() -> None:
    class Deaf(HaarUNet):
        def forward(self, x: Tensor) -> Tensor:
            super().forward(x)
            return x

    net = Deaf(3)
    assert np.isposinf(ablate(net, net.skips, images(20)).finer_over_own()).all()


def test_the_interval_holds_the_estimate_and_shrinks_with_images() -> None:
    widths = []
    for count in (50, 800):
        found = made([[0.9, 0.1, 0.0], [0.3, 0.6, 0.0]], count, spread=0.2).finer_over_own(seed=1)
        assert (found[:, 1] < found[:, 0]).all()
        assert (found[:, 0] < found[:, 2]).all()
        widths.append(float(found[0, 2] - found[0, 1]))
    assert 3 < widths[0] / widths[1] < 5.3  # the root of 16, as the spread of a mean
    few, seeds = made([[0.9, 0.1], [0.3, 0.6]], 50, 0.2), (1, 1, 2)
    first, again, other = (few.finer_over_own(seed) for seed in seeds)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_interval_covers() -> None:
    """Of 40 samples from one distribution with the true ratio 1/2 nearly all intervals hold it; 36 are those of the worst luck."""
    generator, held = torch.Generator().manual_seed(3), 0
    for _ in range(40):
        noise = 0.2 * torch.randn(2, 2, 100, dtype=torch.float64, generator=generator)
        cut = 1 - torch.tensor([[0.9, 0.1], [0.3, 0.6]], dtype=torch.float64)[..., None] + noise
        ((_, low, high),) = Ablation(torch.cat([cut, torch.ones(1, 2, 100, dtype=torch.float64)])).finer_over_own()
        held += bool(low <= 0.5 <= high)
    assert 34 <= held <= 40


def test_hooks_are_gone_afterwards_also_after_an_exception() -> None:
    net, x = HaarUNet(2), images(3)
    ablate(net, net.skips, x)
    with pytest.raises(MultiresError, match="multiple of 4"):
        ablate(net, net.skips, images(3, side=6))
    assert not any(module._forward_hooks for module in net.modules())
    assert torch.allclose(net(x), x, rtol=0, atol=1e-14)

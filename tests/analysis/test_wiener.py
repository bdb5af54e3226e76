"""The closed-form optimum against samples: least squares, Monte Carlo, and a linear U-Net trained on nothing else."""

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from analysis import wiener
from analysis.wiener import Gaussian
from multires.configs import TrainingConfig
from multires.training import Finished, fit
from multires.unet import LinearUNet

NOISE = 0.5


@cache
def process(d: int = 1) -> Gaussian:
    """8 cells on a line, or 4 x 4 with a covariance that is neither stationary nor diagonal."""
    if d == 1:
        return wiener.with_spectrum(3, NOISE)
    factor = torch.randn(16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 4
    return Gaussian(factor @ factor.T, NOISE, 2, 2)


def samples(data: Gaussian, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(x, w) as rows, by the symmetric root of the covariance."""
    variances, directions = torch.linalg.eigh(data.covariance)
    root = directions * variances.clamp_min(0).sqrt() @ directions.T
    white = torch.randn(2, count, len(root), dtype=torch.float64, generator=generator)
    w = white[0] @ root
    return w + data.noise * white[1], w


def block_means(x: Tensor, data: Gaussian, j: int) -> Tensor:
    """Rows (sample, cells) as means over the blocks of V_j, by reshaping."""
    side, block = 2**j, 2 ** (data.resolution - j)
    split = x.reshape(len(x), *[n for _ in range(data.dimension) for n in (side, block)])
    return split.mean(tuple(range(2, 2 + 2 * data.dimension, 2))).reshape(len(x), -1)


@pytest.mark.claim("C4")
@pytest.mark.parametrize("d", [1, 2])
def test_least_squares_on_samples_finds_the_optimum_at_every_resolution(d: int) -> None:
    data = process(d)
    x, w = samples(data, 200_000, torch.Generator().manual_seed(1))
    for j in range(data.resolution + 1):
        found = torch.linalg.lstsq(x, block_means(w, data, j)).solution.T
        assert wiener.distance(found, data.projected(data.wiener, j)) < 0.01
        assert wiener.distance(data.projections[j], data.projected(data.wiener, j)) > 0.02  # P_j itself is not it


@pytest.mark.claim("C4")
@pytest.mark.parametrize("d", [1, 2])
def test_the_loss_is_the_mean_over_samples(d: int) -> None:
    """Within five standard errors, of which none is above 1 %."""
    data, generator = process(d), torch.Generator().manual_seed(2)
    x, w = samples(data, 100_000, generator)
    for j in range(data.resolution + 1):
        cells = 2 ** (j * data.dimension)
        for u in (torch.randn(cells, x.shape[1], dtype=torch.float64, generator=generator), data.projected(data.wiener, j)):
            losses = (x @ u.T - block_means(w, data, j)).square().mean(1)
            error = float(losses.std()) / math.sqrt(len(losses))
            expected = float(data.loss(u, j))
            assert error < 0.01 * expected
            assert abs(float(losses.mean()) - expected) < 5 * error


@pytest.mark.claim("C4")
@given(st.integers(0, 1000), st.sampled_from([1, 2]), st.integers(0, 2), st.floats(1e-3, 10))
def test_the_optimum_is_stationary_and_every_step_away_costs(seed: int, d: int, j: int, size: float) -> None:
    data = process(d)
    optimum = data.projected(data.wiener, j).clone().requires_grad_()
    least = data.loss(optimum, j)
    (gradient,) = torch.autograd.grad(least, optimum)
    assert gradient.abs().max() < 1e-13
    step = size * torch.randn(optimum.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    cost = float(torch.trace(step @ data.total @ step.T)) / len(step)  # the loss is quadratic
    assert float((data.loss(optimum + step, j) - least).detach()) == pytest.approx(cost, rel=1e-6)


@pytest.mark.parametrize("resolution", [2, 5])
def test_a_spectrum_gives_its_circulant_covariance(resolution: int) -> None:
    covariance = wiener.with_spectrum(resolution, NOISE).covariance.numpy()
    n = 2**resolution
    power = np.array([1 / (1 + min(k, n - k) ** 2) for k in range(n)])
    modes = np.exp(2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n) / np.sqrt(n)
    assert np.abs(covariance - (modes * power * n / power.sum()) @ modes.conj().T).max() < 1e-12
    assert np.abs(np.diag(covariance) - 1).max() < 1e-12
    assert np.abs(covariance - np.roll(covariance, (1, 1), (0, 1))).max() < 1e-12


def test_the_covariance_of_patches_is_numpys() -> None:
    patches = torch.rand(100, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * torch.arange(16).reshape(4, 4)
    data = wiener.of_patches(patches, NOISE)
    expected = np.cov(patches.double().flatten(1).numpy(), rowvar=False, bias=True)
    assert np.abs(data.covariance.numpy() - expected / np.diag(expected).mean()).max() < 1e-12
    assert (data.resolution, data.dimension, data.noise) == (2, 2, NOISE)


@pytest.mark.parametrize("d", [1, 2])
def test_projections_are_block_means(d: int) -> None:
    data = process(d)
    for j, projection in enumerate(data.projections):
        assert torch.allclose(projection, block_means(data.identity, data, j).T, rtol=0, atol=1e-15)


def test_the_filter_solves_the_normal_equations() -> None:
    data = process(2)
    assert torch.allclose(data.wiener @ data.total, data.covariance, rtol=0, atol=1e-13)


def test_two_seeds_start_in_two_places() -> None:
    data = process()
    one, other = ([maps for _, maps in wiener.descend(data, 2, seed)][-1] for seed in (1, 2))
    assert (
        min(wiener.distance(a, b) for a, b in zip(one[:-1], other[:-1], strict=True)) > 1e-9
    )  # nearly alike: seeds turn the activations, and orthogonally so


def test_distances_tell_the_right_target_from_the_wrong_one() -> None:
    data = process(2)
    right, wrong = wiener.distances(data, [data.projected(data.wiener, j) for j in range(3)])
    assert max(right) == 0
    assert len(wrong) == 2
    assert min(wrong) > 0.1
    twice, _ = wiener.distances(data, [2 * data.projected(data.wiener, j) for j in range(3)])
    assert twice == pytest.approx([1, 1, 1])


@pytest.mark.claim("C4")
@pytest.mark.parametrize(("d", "seed"), [(1, 7), (2, 8)])
def test_descent_finds_the_optimum_from_elsewhere(d: int, seed: int) -> None:
    data = process(d)
    (first, start), *_, (last, end) = wiener.descend(data, 400, seed)
    assert (first, last) == (0, 400)
    assert min(wiener.distances(data, start)[0]) > 0.5
    assert max(wiener.distances(data, end)[0]) < 1e-3


@pytest.mark.claim("C4")
def test_training_on_samples_comes_close(tmp_path: Path) -> None:
    """The loop that trains every U-Net, with AdamW, on noisy samples; it is never told the covariance."""
    data = process()

    def batches(step: int) -> tuple[Tensor, ...]:
        x, w = samples(data, 512, torch.Generator().manual_seed(step))
        return x[:, None].float(), w[:, None].float()

    def loss(net: nn.Module, batch: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, Tensor]]:
        x, w = batch
        errors = [y[:, 0] - block_means(w[:, 0], data, j) for j, y in enumerate(net(x))]
        return torch.stack([error.square().mean() for error in errors]).sum(), {}

    torch.manual_seed(3)
    config = TrainingConfig(
        steps=600, batch=512, learning_rate=1e-2, weight_decay=0, warmup=20, ema=0.95, save_every=600, log_every=600
    )
    *_, finished = fit(LinearUNet(3, 1), loss, batches, config, tmp_path)
    assert isinstance(finished, Finished)
    net = finished.model.double()
    assert isinstance(net, LinearUNet)
    right, wrong = wiener.distances(data, wiener.matrices(net, data))
    assert max(right) < 0.02  # 0.0085, by the last of the noise in the gradients
    assert min(wrong) > 0.2

"""Closed forms against integrals over far finer paths, known moments, and each other."""

import math

import numpy as np
import pytest
import torch

from multires import haar
from multires.brownian import draw
from multires.diffusion import Stage, integrate, two_step_euler
from multires.errors import MultiresError
from multires.exact import BrownianBridge, GeometricBrownianMotion, HaarDiffusion, OrnsteinUhlenbeck
from multires.spaces import resolution

CASES = [
    (OrnsteinUhlenbeck(1.0, 0.5, 0.8), 1.0),
    (OrnsteinUhlenbeck(0.0, 0.0, 0.8), 1.0),
    (GeometricBrownianMotion(0.3, -0.9, 0.4), 1.0),
    (BrownianBridge(1.0, 1.0, 1.3, 0.3), 0.7),
    (HaarDiffusion(0.5, 0.3), 0.5),
]


@pytest.mark.claim("D2")
@pytest.mark.parametrize(("process", "horizon"), CASES, ids=lambda case: type(case).__name__)
def test_a_very_fine_scheme_comes_to_the_solution_on_the_same_noise(process: OrnsteinUhlenbeck, horizon: float) -> None:
    start = torch.full((50, 1, 4), 1.5, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    path = draw((50, 1, 4), 4096, horizon, generator)
    if isinstance(process, GeometricBrownianMotion):  # its noise is that of one cell
        path = draw((50, 1, 1), 4096, horizon, generator)
        start = start[..., :1]
    exact = process.solution(start, path, generator)
    *_, (_, found) = integrate(process.sde(), start, [Stage(resolution(start), 4096, path.h)], list(path.increments))
    assert float((found - exact).square().mean().sqrt()) < 0.02 * float(exact.std())


@pytest.mark.claim("D3")
def test_moments_of_an_ornstein_uhlenbeck_process() -> None:
    process, start = OrnsteinUhlenbeck(0.4, 0.9, 0.7), torch.full((40_000, 1, 2), 3.0, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    end = process.solution(start, draw((40_000, 1, 2), 3, 0.8, generator), generator)
    assert float(end.mean()) == pytest.approx(3 * math.exp(-1.3 * 0.8), abs=0.02)
    assert float(end.var()) == pytest.approx(2 * process.variance(0.8), rel=0.03)  # of a cell of V_1
    assert process.variance(1e9) == pytest.approx(0.49 / 2.6)


@pytest.mark.claim("D3")
@pytest.mark.parametrize(("a", "b", "s", "h"), [(0.5, 0.5, 1.0, 0.9), (1.0, 0.25, 2.0, 0.5), (0.2, 1.7, 0.5, 1.0)])
def test_the_stationary_variance_is_that_of_many_iterates(a: float, b: float, s: float, h: float) -> None:
    process = OrnsteinUhlenbeck(a, b, s)
    path = draw((200_000, 1, 1), 60, 60 * h, torch.Generator().manual_seed(0))
    zero = torch.zeros(200_000, 1, 1, dtype=torch.float64)
    *_, (_, end) = integrate(process.sde(), zero, [Stage(0, 60, h)], list(path.increments))
    assert float(end.square().mean()) == pytest.approx(process.stationary_variance(h), rel=0.02)


@pytest.mark.claim("D4")
@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (1.0, 3.0), (0.3, 2.4), (2.0, 0.1)])
def test_the_edge_is_where_the_factor_first_leaves_the_unit_interval(a: float, b: float) -> None:
    process = OrnsteinUhlenbeck(a, b)
    h = np.linspace(0, 6 / min(a, b), 600_001)
    factor = np.abs((1 - a * h) * (1 - b * h))
    first = h[np.flatnonzero(factor[1:] > 1)[0]]
    assert process.edge() == pytest.approx(first, abs=3 * h[1])
    with pytest.raises(MultiresError, match="nothing is stationary"):
        process.stationary_variance(1.0001 * process.edge())


def test_a_bridge_ends_where_it_is_pinned() -> None:
    bridge, zero = BrownianBridge(2.0, 1.0, 0.5), torch.zeros(1000, 1, 1, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    near = bridge.solution(zero, draw((1000, 1, 1), 5, 1 - 1e-6, generator), generator)
    assert torch.allclose(near, zero + 2, rtol=0, atol=5e-3)
    half = bridge.solution(zero, draw((1000, 1, 1), 5, 0.5, generator), generator)
    assert float(half.var()) == pytest.approx(0.25 * 0.25, rel=0.15)  # s^2 t (T - t) / T
    with pytest.raises(MultiresError, match=r"before its end, 1\.0"):
        bridge.solution(zero, draw((1000, 1, 1), 5, 1.0, generator), generator)


@pytest.mark.claim("D1")
@pytest.mark.parametrize("d", [1, 2])
def test_the_covariance_of_a_haar_diffusion_is_diagonal_and_known(d: int) -> None:
    process, n = HaarDiffusion(0.5), 40_000
    generator = torch.Generator().manual_seed(0)
    end = process.solution(torch.zeros(n, 1, *[4] * d, dtype=torch.float64), draw((n, 1, *[4] * d), 2, 0.7, generator), generator)
    array = haar.analysis(end, normalization="l2")
    law = process.variances(2, 0.7)
    assert float(array[0].square().mean()) == pytest.approx(law[0], rel=0.05)  # type: ignore[union-attr]
    for level, variance in zip(array[1:], law[1:], strict=True):
        for band in level.values():  # type: ignore[union-attr]
            assert float(band.square().mean()) == pytest.approx(variance, rel=0.05)
    flat = haar.to_array(array).flatten(1)
    correlation = torch.corrcoef(flat.T) - torch.eye(flat.shape[1], dtype=torch.float64)
    assert float(correlation.abs().max()) < 6 / n**0.5


def test_a_truncated_haar_diffusion_is_the_same_process_coarser() -> None:
    """Its drift commutes with projection, so a scheme on pooled noise gives pooled states."""
    process, start = HaarDiffusion(0.5, 0.3), torch.randn(3, 1, 8, dtype=torch.float64)
    path = draw((3, 1, 8), 5, 0.1, torch.Generator().manual_seed(0))
    *_, (_, fine) = integrate(process.sde(), start, [Stage(3, 5, path.h)], list(path.increments))
    (coarse_start,) = (torch.nn.functional.avg_pool1d(start, 2),)
    *_, (_, coarse) = integrate(process.sde(), coarse_start, [Stage(2, 5, path.h)], list(path.pooled().increments))
    assert torch.allclose(torch.nn.functional.avg_pool1d(fine, 2), coarse, rtol=1e-12, atol=1e-13)


def test_the_drift_of_a_haar_diffusion_scales_each_haar_function() -> None:
    process = HaarDiffusion(0.5)
    one = haar.from_array(torch.eye(8, dtype=torch.float64)[:, None])
    functions = haar.synthesis(one, normalization="l2")
    rates = torch.tensor([0.5, 0.5, 2, 2, 8, 8, 8, 8], dtype=torch.float64)
    assert torch.allclose(process.apply(functions), rates[:, None, None] * functions)
    total = two_step_euler(process.sde(), 0.0, functions, 0.01, torch.zeros_like(functions))
    assert torch.allclose(total, ((1 - 0.005 * rates) ** 2)[:, None, None] * functions)

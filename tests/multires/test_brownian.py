"""Brownian paths: refined in time and in space they stay the same path, and have the law they should."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from multires import brownian, haar
from multires.brownian import BrownianPath, draw
from multires.errors import MultiresError
from multires.pooling import average


def path(shape: tuple[int, ...], steps: int, seed: int) -> BrownianPath:
    return draw(shape, steps, 1.5, torch.Generator().manual_seed(seed))


@given(st.integers(1, 3), st.integers(0, 2), st.integers(1, 4), st.integers(0, 9))
def test_refining_changes_nothing_that_was_there(d: int, j: int, steps: int, seed: int) -> None:
    coarse = path((2, 1, *[2**j] * d), steps, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    in_time, in_space = coarse.refined(generator), coarse.lifted(generator)
    assert len(in_time) == 2 * steps
    assert in_time.h == coarse.h / 2
    assert torch.allclose(in_time.coarsened().increments, coarse.increments, rtol=0, atol=1e-13)
    assert torch.allclose(in_time.values()[1::2], coarse.values(), rtol=0, atol=1e-12)
    assert torch.allclose(in_space.pooled().increments, coarse.increments, rtol=0, atol=1e-13)
    assert in_space.h == coarse.h


@pytest.mark.claim("D1")
@pytest.mark.parametrize("d", [1, 2, 3])
def test_haar_coefficients_of_a_path_are_standard_brownian_motions(d: int) -> None:
    """Which is the definition: covariance over drawn paths of the L2-normalised coefficients of W^(1)_t, against t I."""
    many = draw((20_000, 1, *[2] * d), 3, 1.5, torch.Generator().manual_seed(0))
    for each in (many, many.refined(torch.Generator().manual_seed(1)), many.pooled().lifted(torch.Generator().manual_seed(2))):
        coefficients = haar.to_array(haar.analysis(each.values()[-1], normalization="l2")).flatten(1)
        covariance = coefficients.T @ coefficients / len(coefficients)
        assert torch.allclose(covariance, 1.5 * torch.eye(2**d, dtype=torch.float64), rtol=0, atol=6 * 1.5 * 2**0.5 / 20_000**0.5)


def test_a_path_has_independent_increments() -> None:
    many = draw((20_000, 1, 1), 4, 1.0, torch.Generator().manual_seed(0)).refined(torch.Generator().manual_seed(1))
    steps = many.increments.flatten(1)
    covariance = steps @ steps.T / steps.shape[1]
    assert torch.allclose(covariance, torch.eye(8, dtype=torch.float64) / 8, rtol=0, atol=6 / 8 * 2**0.5 / 20_000**0.5)


def test_a_generator_fixes_a_path_and_dtype_is_kept() -> None:
    one, two, other = (path((1, 2, 4), 3, seed).increments for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    single = draw((1, 1, 4), 2, 1.0, torch.Generator(), torch.float32)
    assert single.increments.dtype == single.refined(torch.Generator()).increments.dtype == torch.float32


@pytest.mark.parametrize(("steps", "horizon"), [(0, 1.0), (3, 0.0), (3, -1.0), (3, float("nan"))])
def test_no_path_without_steps_and_time(steps: int, horizon: float) -> None:
    with pytest.raises(MultiresError, match="both must be positive"):
        draw((1, 1, 1), steps, horizon, torch.Generator())


def test_steps_are_taken_together_evenly() -> None:
    with pytest.raises(MultiresError, match="6 steps cannot be taken 4 at a time"):
        path((1, 1, 1), 6, 0).coarsened(4)


def test_halves_and_finer_are_what_their_formulas_say() -> None:
    dw, eps = torch.randn(2, 1, 2, dtype=torch.float64), torch.randn(2, 1, 2, dtype=torch.float64)
    first, second = brownian.halves(dw, eps, 0.3)
    assert torch.allclose(first - second, (2 * 0.3) ** 0.5 * eps)
    fine: Tensor = brownian.finer(dw, torch.zeros(2, 1, 4, dtype=torch.float64), 0.3)
    assert torch.equal(fine, dw.repeat_interleave(2, -1))
    assert torch.allclose(average(brownian.finer(dw, torch.randn(2, 1, 4, dtype=torch.float64), 0.3)), dw)

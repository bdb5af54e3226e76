"""A4 to A6 away from the functions and the seed that the claims use."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analysis import oracle
from analysis.claims.convergence import fitted_slope, jump_errors, smooth_functions
from multires import haar
from multires.pooling import average
from multires.spaces import distance, embed, norm, restrict


@pytest.mark.claim("A4")
@pytest.mark.parametrize("d", [1, 2, 3])
def test_gradients_of_the_smooth_functions_are_what_they_say(d: int) -> None:
    """The closed-form norms against automatic differentiation at the nodes of a fine grid."""
    n = {1: 4096, 2: 256, 3: 48}[d]
    axis = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    points = torch.stack(torch.meshgrid([axis] * d, indexing="ij"), -1).reshape(-1, d).requires_grad_()
    for smooth in smooth_functions(d):
        (gradient,) = torch.autograd.grad(smooth.f(points).sum(), points)
        assert math.isclose(float(gradient.square().sum(-1).mean().sqrt()), smooth.gradient, rel_tol=2e-3)


@pytest.mark.claim("A4")
def test_the_law_holds_for_another_function() -> None:
    def f(x: torch.Tensor) -> torch.Tensor:
        return (3 * x[..., 0]).sin() * (1 + x[..., 1] ** 2)

    errors = np.array([distance(f, restrict(f, j, 2)) for j in range(6, 9)])
    assert abs(fitted_slope(np.arange(6, 9), errors) + 1) < 1e-3


@pytest.mark.claim("A5")
@given(st.fractions(0, 1, max_denominator=1000), st.integers(0, 6))
def test_a_jump_anywhere_costs_its_cell(at: Fraction, j: int) -> None:
    """|f - P_j f|^2 = 2^-j p (1 - p), where the jump divides its cell p : 1 - p."""
    p = at * 2**j % 1
    expected = math.sqrt(float(p * (1 - p) / 2**j))
    assert math.isclose(jump_errors(np.array([j]), 7, at=at)[0], expected, rel_tol=1e-12, abs_tol=1e-15)


@pytest.mark.claim("A6")
@given(st.integers(0, 1000), st.integers(0, 5))
def test_errors_of_brownian_paths_are_their_details(seed: int, j: int) -> None:
    """Path by path |P_J B - P_j B|^2 is the energy of the Haar details from resolution j on: the laws of A6 are one law."""
    finest = 6
    paths = torch.from_numpy(oracle.brownian_cells(3, finest, np.random.default_rng(seed)))[:, None]
    _, details = haar.unpack(haar.analysis(paths, normalization="l2"))
    energy = sum(level["d"].square().sum(-1) for level in details[j:])
    error = norm(paths - embed(average(paths, finest - j), finest - j)).square()
    assert torch.allclose(error, energy, rtol=1e-12, atol=1e-14)

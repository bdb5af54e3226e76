"""Level-wise operators as explicit matrices, and truncation where the errors are known in closed form."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from analysis import levelwise
from analysis.levelwise import Operator, Truncation, truncation
from multires.pooling import average, project
from multires.spaces import Function, norm

FINEST = {1: 6, 2: 3, 3: 2}


def noise(d: int, seed: int, resolution: int | None = None) -> Tensor:
    side = 2 ** (FINEST[d] if resolution is None else resolution)
    return torch.randn(1, 1, *[side] * d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def haar_coefficients(x: Tensor, d: int) -> tuple[np.ndarray, np.ndarray]:
    """PyWavelets' coefficients as a vector, and for each the resolution of its detail, -1 for the mean."""
    coefficients = pywt.wavedecn(x[0, 0].numpy(), "haar", "periodization")
    arrays, levels = [np.ravel(coefficients[0])], [np.full(1, -1)]
    for j, bands in enumerate(coefficients[1:]):
        for name in sorted(bands):
            arrays.append(np.ravel(bands[name]))
            levels.append(np.full(bands[name].size, j))
    return np.concatenate(arrays), np.concatenate(levels)


def matrix(operator: Operator, d: int) -> tuple[np.ndarray, np.ndarray]:
    """A linear operator in the Haar basis, column by column, and the resolution of each coordinate."""
    basis = torch.eye(2 ** (FINEST[d] * d), dtype=torch.float64).reshape(-1, 1, 1, *[2 ** FINEST[d]] * d)
    images = np.stack([haar_coefficients(operator(x), d)[0] for x in basis], 1)
    change = np.stack([haar_coefficients(x, d)[0] for x in basis], 1)
    return images @ change.T, haar_coefficients(basis[0], d)[1]


@pytest.mark.claim("C7")
@pytest.mark.parametrize("growth", [1.0, 2.0])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_each_level_has_an_operator_of_its_own_with_the_norm_it_says(d: int, growth: float) -> None:
    operator = Operator(seed=3, growth=growth)
    found, levels = matrix(operator, d)
    assert np.abs(found[levels[:, None] != levels]).max() < 1e-13  # what a level is given stays in it
    assert abs(found[0, 0] - 1) < 1e-13  # the mean passes
    for j in range(FINEST[d]):
        size = np.linalg.norm(found[np.ix_(levels == j, levels == j)], 2)
        most = operator.bound * growth**j
        assert size <= most * (1 + 1e-12)
        assert np.linalg.svd(found[np.ix_(levels == j, levels == j)], compute_uv=False).min() >= 0.8 * most * (1 - 1e-12)


@pytest.mark.claim("C7")
@given(st.integers(1, 3), st.integers(0, 1000), st.booleans())
def test_operators_are_lipschitz_and_commute_with_truncation(d: int, seed: int, nonlinear: bool) -> None:
    operator, x, y = Operator(seed, nonlinear=nonlinear), noise(d, seed), noise(d, seed + 1)
    assert norm(operator(x) - operator(y)) <= operator.bound * norm(x - y) * (1 + 1e-12)
    assert torch.equal(operator(torch.zeros_like(x)), torch.zeros_like(x))
    assert torch.allclose(average(operator(x)), operator(average(x)), rtol=0, atol=1e-12)
    for level in range(1, FINEST[d]):
        detail = project(x, level - 1) - project(x, level) if level > 1 else x - project(x)
        changed = operator(detail)
        assert norm(changed) >= 0.8 * (0.9 if nonlinear else 1) * operator.bound * norm(detail) * (1 - 1e-12)
        assert norm(project(changed, level)) < 1e-12
        assert norm(changed - (project(changed, level - 1) if level > 1 else changed)) < 1e-12


@pytest.mark.claim("C7")
@given(st.integers(1, 2), st.integers(0, 1000), st.booleans())
def test_the_rate_does_not_hang_on_the_seed(d: int, seed: int, nonlinear: bool) -> None:
    js = [2, 3, 4, 5] if d == 1 else [1, 2, 3, 4]

    def ramp(x: Tensor) -> Tensor:
        return x.sum(-1)

    assert abs(truncation(ramp, d, js, js[-1] + 1, Operator(seed, nonlinear=nonlinear), 1.5).slope + 1) < 0.2


def test_a_seed_and_a_level_and_a_band_have_each_an_operator_of_their_own() -> None:
    x = noise(2, 0)
    assert norm(Operator(0)(x) - Operator(1)(x)) > 0.1
    band = x[..., :4, :4]
    turned = [Operator(0)._turn(band, j, k) for j, k in ((2, 0), (1, 0), (2, 1))]
    assert norm(turned[0] - turned[1]) > 0.1
    assert norm(turned[0] - turned[2]) > 0.1


def test_a_leaky_relu_is_not_linear() -> None:
    x, operator = noise(1, 0), Operator(0, nonlinear=True)
    assert norm(operator(-x) + operator(x)) > 0.01
    assert norm(Operator(0)(-x) + Operator(0)(x)) < 1e-13


def isometries(seed: int, bound: float) -> Callable[[Tensor], Tensor]:
    """U with T_j the bound times a random orthogonal matrix, on PyWavelets' coefficients in d = 1: no inequality is left."""

    def operator(x: Tensor) -> Tensor:
        coarse, *details = pywt.wavedec(x[0, 0].numpy(), "haar", "periodization")
        for j, detail in enumerate(details):
            q, _ = np.linalg.qr(np.random.default_rng([seed, j]).standard_normal((len(detail), len(detail))))
            details[j] = bound * q @ detail
        return torch.from_numpy(pywt.waverec([coarse, *details], "haar", "periodization"))[None, None]

    return operator


@pytest.mark.claim("C7")
@pytest.mark.parametrize("bound", [0.3, 1.0, 4.0])
def test_with_isometries_the_bound_is_met_exactly(bound: float) -> None:
    """And the input's error is the closed form of a ramp: the slope over sqrt 12, times the cell's width."""

    def ramp(x: Tensor) -> Tensor:
        return 2 * x[..., 0] - 1

    found = truncation(ramp, 1, [1, 3, 5], 7, isometries(1, bound), bound)
    law = 2 / math.sqrt(12) * 2.0 ** -np.array([1, 3, 5])
    assert found.input == pytest.approx(law, rel=1e-12)
    assert found.output == pytest.approx(bound * law, rel=1e-12)
    assert found.ratio(bound) == pytest.approx(1, rel=1e-12)
    assert found.slope == pytest.approx(-1, abs=1e-12)


@pytest.mark.claim("C7")
@pytest.mark.parametrize("d", [1, 2, 3])
def test_errors_of_a_product_of_cosines_are_the_closed_form(d: int) -> None:
    """|f - P_j f|^2 = 2^-d (1 - sinc(2^-j / 2)^(2d)), whatever level-wise isometry, here the identity, comes after."""
    js = [1, 2]
    found = truncation(lambda x: (math.pi * x).cos().prod(-1), d, js, 3, lambda x: x, 1.0)
    law = np.sqrt(2.0**-d * (1 - np.sinc(2.0 ** -np.array(js) / 2) ** (2 * d)))
    assert found.input == pytest.approx(law, rel=1e-9)
    assert found.output == pytest.approx(law, rel=1e-9)


def test_an_operator_that_is_not_level_wise_exceeds_the_bound() -> None:
    """Shifted by a cell of its own resolution, an isometry of every V_J: what it makes of P_J f is not near what it makes of f."""

    def shifted(x: Tensor) -> Tensor:
        return x.roll(1, -1)

    found = truncation(lambda x: (2 * math.pi * x[..., 0]).sin(), 1, [2, 4, 6], 8, shifted, 1.0)
    assert found.ratio(1.0) > 2


@pytest.mark.claim("C7")
def test_truncating_to_anything_but_the_best_approximation_exceeds_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values at the cells' left ends converge at the same rate, so it is for the constant to tell."""

    def left_ends(f: Function, resolution: int, d: int) -> Tensor:
        axis = torch.arange(2**resolution, dtype=torch.float64) / 2**resolution
        return f(torch.stack(torch.meshgrid([axis] * d, indexing="ij"), -1))[None, None]

    def f(x: Tensor) -> Tensor:
        return (3 * x[..., 0]).exp()

    assert truncation(f, 1, [2, 4, 6], 9, Operator(0), 1.5).ratio(1.5) <= 1
    monkeypatch.setattr(levelwise, "restrict", left_ends)
    assert truncation(f, 1, [2, 4, 6], 9, Operator(0), 1.5).ratio(1.5) > 1.1


def test_ratio_and_slope_by_hand() -> None:
    found = Truncation([1, 2, 3], np.array([3.0, 0.75, 0.1875]), np.array([1.0, 1.0, 0.5]))
    assert found.ratio(2) == 1.5
    assert found.slope == pytest.approx(-2)

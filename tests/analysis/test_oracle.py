"""The oracle against plain loops and known values: what everything else is measured with has to be right itself."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import pywt

from analysis import oracle


def blocks(x: np.ndarray, d: int, level: int) -> np.ndarray:
    b = 2**level
    lead, sides = x.shape[:-d], x.shape[-d:]
    shape = list(itertools.chain.from_iterable((n // b, b) for n in sides))
    return x.reshape(*lead, *shape).mean(axis=tuple(range(len(lead) + 1, len(lead) + 2 * d, 2)))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_means_projections_and_details(d: int) -> None:
    x = np.random.default_rng(d).standard_normal((2, 3, *[8] * d))
    for level in (0, 1, 2, 3):
        assert np.allclose(oracle.approximation(x, d, level), blocks(x, d, level), atol=1e-14)
        expected = oracle.repeat(blocks(x, d, level), d, level)
        assert np.allclose(oracle.conditional_expectation(x, d, level), expected, atol=1e-14)
    coarse = oracle.repeat(blocks(x, d, 1), d)
    assert np.allclose(oracle.project(x, d), coarse, atol=1e-14)
    assert np.allclose(oracle.detail_part(x, d), x - coarse, atol=1e-14)


@pytest.mark.parametrize("d", [1, 2])
def test_repeat_copies(d: int) -> None:
    x = np.arange(2.0**d).reshape([2] * d)
    assert np.array_equal(oracle.repeat(x, d, 2), np.kron(x, np.ones([4] * d)))


@pytest.mark.parametrize(("d", "j"), [(1, 0), (1, 3), (2, 0), (2, 2), (3, 1)])
def test_haar_functions_are_pywavelets(d: int, j: int) -> None:
    """Each function's coefficients are one unit, at its own place: names and signs are PyWavelets'."""
    functions = oracle.haar_functions(j, d)
    assert len(functions) == 2 ** (j * d)
    for (i, name, cell), values in functions.items():
        coefficients = oracle.decompose(values, d)
        band = coefficients[0] if "d" not in name else coefficients[1 + i][name]
        assert np.isclose(band[cell] * 2 ** (-j * d / 2), 1)
        array = pywt.coeffs_to_array(coefficients, axes=oracle.axes(d))[0] if j else coefficients[0]
        assert np.isclose(np.abs(array).sum(), 2 ** (j * d / 2))


def test_fractions_are_exact() -> None:
    assert oracle.to_fractions(np.array([0.1]))[0] == Fraction(0.1) != Fraction(1, 10)
    x = oracle.to_fractions(np.array([[0.1, 0.2], [0.3, 0.4]]))
    assert oracle.exact_average(x, 2)[0, 0] == sum(map(Fraction, (0.1, 0.2, 0.3, 0.4))) / 4
    assert oracle.exact_average(x, 1).tolist() == [[(Fraction(0.1) + Fraction(0.2)) / 2], [(Fraction(0.3) + Fraction(0.4)) / 2]]


@pytest.mark.parametrize("j", [0, 1, 4])
def test_jump_cells_integrate_to_the_jump(j: int) -> None:
    cells = oracle.jump_cells(j, Fraction(1, 3))
    assert cells.sum() == Fraction(2**j, 3)
    assert sum(0 < p < 1 for p in cells) == 1


def test_brownian_cells_have_the_covariance_of_brownian_motion() -> None:
    """Cov of two cell means is the mean of min(s, t) over the two cells; on a cell of width h it is left end + h/3."""
    j, paths = 2, 200_000
    x = oracle.brownian_cells(paths, j, np.random.default_rng(0))
    h = 2.0**-j
    left = np.arange(2**j) * h
    expected = np.minimum.outer(left, left) + h / 2
    expected[np.diag_indices(2**j)] = left + h / 3
    assert np.abs(x.T @ x / paths - expected).max() < 6 * np.sqrt(2 / paths)
    assert np.abs(x.mean(0)).max() < 6 / np.sqrt(paths)

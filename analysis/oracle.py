"""Ground truth that shares no code with multires: NumPy, PyWavelets and exact fractions.

Arrays have the d spatial axes last and any axes before them. `level` counts steps down, as PyWavelets does.
"""

import itertools
from fractions import Fraction

import numpy as np
import pywt

Array = np.ndarray
Bands = dict[str, Array]


def axes(d: int) -> tuple[int, ...]:
    """The last d axes."""
    return tuple(range(-d, 0))


def decompose(x: Array, d: int, wavelet: str = "haar", level: int | None = None) -> list[Array | Bands]:
    """PyWavelets' periodised decomposition, in float64, down to one cell unless a level is given."""
    level = x.shape[-1].bit_length() - 1 if level is None else level
    coefficients: list[Array | Bands] = pywt.wavedecn(x.astype(np.float64), wavelet, "periodization", level, axes(d))
    return coefficients


def to_array(coefficients: list[Array | Bands], d: int) -> Array:
    """PyWavelets' one-array form."""
    return np.asarray(pywt.coeffs_to_array(coefficients, axes=axes(d))[0] if len(coefficients) > 1 else coefficients[0])


def split(x: Array, d: int, wavelet: str = "haar") -> tuple[Array, Bands]:
    """One step down: PyWavelets' approximation and its bands of details."""
    bands = pywt.dwtn(x.astype(np.float64), wavelet, "periodization", axes(d))
    return bands.pop("a" * d), bands


def approximation(x: Array, d: int, level: int = 1, wavelet: str = "haar") -> Array:
    """PyWavelets' approximation divided by 2^(level d/2): with 'haar' the mean over blocks of 2^level cells a side."""
    for _ in range(level):
        x = split(x, d, wavelet)[0] * 2 ** (-d / 2)
    return x


def project(x: Array, d: int) -> Array:
    """The orthogonal projection one resolution down, by setting PyWavelets' finest details to zero."""
    coarse, details = split(x, d)
    return np.asarray(
        pywt.idwtn({"a" * d: coarse, **{k: np.zeros_like(v) for k, v in details.items()}}, "haar", "periodization", axes(d))
    )


def detail_part(x: Array, d: int) -> Array:
    """The component of x in the detail space, by setting PyWavelets' approximation to zero."""
    coarse, details = split(x, d)
    return np.asarray(pywt.idwtn({"a" * d: np.zeros_like(coarse), **details}, "haar", "periodization", axes(d)))


def repeat(x: Array, d: int, levels: int = 1) -> Array:
    """Each cell value copied to the 2^(levels d) cells inside it."""
    for axis in axes(d):
        x = np.repeat(x, 2**levels, axis)
    return x


def conditional_expectation(x: Array, d: int, level: int) -> Array:
    """E[x | the dyadic cells `level` steps up], by summing over labelled cells and dividing by their size."""
    sides = x.shape[-d:]
    index = np.indices(sides) >> level
    labels = np.ravel_multi_index(tuple(index), tuple(side >> level for side in sides)).ravel()
    flat = x.reshape(-1, labels.size).astype(np.float64)
    cells = int(labels.max()) + 1
    labels = labels + cells * np.arange(len(flat))[:, None]  # one range of labels for each function
    sums, sizes = np.bincount(labels.ravel(), weights=flat.ravel()), np.bincount(labels.ravel())
    return np.asarray((sums / sizes)[labels].reshape(x.shape))


def haar_functions(j: int, d: int) -> dict[tuple[int, str, tuple[int, ...]], Array]:
    """The Haar functions that span V_j, by their definition, at the midpoints of its cells.

    Keys are (resolution of the cell the function lives on, band name, cell); the constant has resolution 0 and name a..a.
    """
    t = (np.arange(2**j) + 0.5) / 2**j

    def factor(letter: str, i: int, k: int) -> Array:
        s = t * 2**i - k
        inside = (s >= 0) & (s < 1)
        return np.asarray(inside * (np.where(s < 0.5, 1.0, -1.0) if letter == "d" else 1.0) * 2 ** (i / 2))

    functions: dict[tuple[int, str, tuple[int, ...]], Array] = {}
    for i in range(j):
        for letters in itertools.product("ad", repeat=d):
            name = "".join(letters)
            if "d" not in name and i > 0:
                continue
            for cell in itertools.product(range(2**i), repeat=d):
                value = np.ones(())
                for letter, k in zip(name, cell, strict=True):
                    value = np.multiply.outer(value, factor(letter, i, k))
                functions[i, name, cell] = value
    return functions or {(0, "a" * d, (0,) * d): np.ones([1] * d)}


def to_fractions(x: Array) -> Array:
    """The exact rational values of floating-point numbers."""
    different, where = np.unique(x.astype(np.float64), return_inverse=True)  # converted once each: exact arrays repeat few values
    return np.asarray(np.array([Fraction(value) for value in different.tolist()], dtype=object)[where].reshape(x.shape))


def exact_average(x: Array, d: int) -> Array:
    """Means of 2^d siblings in the arithmetic of x; exact for arrays of fractions."""
    for axis in axes(d):
        even, odd = [np.take(x, range(start, x.shape[axis], 2), axis) for start in (0, 1)]
        x = (even + odd) / 2
    return x


def jump_cells(j: int, at: Fraction) -> Array:
    """Cell means at resolution j of the indicator function of [0, at), as fractions."""
    n = 2**j
    return np.array([min(max(at * n - k, Fraction(0)), Fraction(1)) for k in range(n)], dtype=object)


def brownian_cells(paths: int, j: int, rng: np.random.Generator) -> Array:
    """Cell means at resolution j of standard Brownian motion on [0, 1], sampled exactly; shape (paths, 2^j).

    Within a cell of width h the increment D and the mean of B - B(left end) are jointly normal: the mean is D/2 plus an
    independent normal variable of variance h/12.
    """
    h = 2.0**-j
    increments = rng.standard_normal((paths, 2**j)) * np.sqrt(h)
    left = np.cumsum(increments, -1) - increments
    return np.asarray(left + increments / 2 + rng.standard_normal((paths, 2**j)) * np.sqrt(h / 12))

r"""The change of basis $\pi_j$ from cell values of $V_j$ to Haar coefficients, and back.

One level splits $2^d$ siblings into one approximation and $2^d - 1$ details: with $s = p + q$ and $t = p - q$ along each
axis in turn, scaled by $2^{-d/2}$, an orthonormal butterfly. The approximation is $2^{d/2}$ times average pooling, so
iterating it walks down $V_j \supset V_{j-1} \supset \dots$ while the details span $V_j \ominus V_{j-1}$.

Coefficients come in PyWavelets' own layout, `[cA, details of the coarsest level, ..., details of the finest]`, with each
details a dict whose key has one letter an axis, 'a' or 'd'; in two dimensions 'da', 'ad', 'dd' are cH, cV, cD. They equal
`pywt.wavedecn(x, 'haar', 'periodization')`. `to_array` and `from_array` convert to the one-array (Mallat) form.

Source: arXiv 2301.08187, section 2; S. Mallat, "A theory for multiresolution signal decomposition", IEEE PAMI 1989.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from multires import _transform
from multires.errors import MultiresError
from multires.spaces import dimension, require_levels, resolution

Details = dict[str, Tensor]
Coefficients = list[Tensor | Details]
Normalization = Literal["orthonormal", "l2"]


def band_names(d: int) -> list[str]:
    """PyWavelets' names of the 2^d bands of one level, approximation first: for d = 2, aa da ad dd (cA cH cV cD)."""
    return ["".join("ad"[band >> axis & 1] for axis in range(d)) for band in range(2**d)]


def analysis(x: Tensor, levels: int | None = None, *, normalization: Normalization = "orthonormal") -> Coefficients:
    r"""$\pi_j(x) = 2^{-jd/2} H_j x$ ('l2'), or $H_j x$ with the orthonormal Haar transform $H_j$ ('orthonormal').

    x has shape (batch, channel, *spatial). `levels` counts the steps down; None goes to a single cell, and then needs
    sides that are one power of two. 'l2' gives the coefficients of the function x in $L^2([0,1]^d)$, the same at every
    resolution that resolves them; 'orthonormal' those of the vector x, as PyWavelets does.

    Raises MultiresError, naming the nearest size that works, when the sides cannot be halved that often.
    """
    levels = resolution(x) if levels is None else levels
    require_levels(x, levels)
    first, rest = _scales(x.shape[2:], normalization)
    if levels == 0:
        return [x * (first / rest)]
    bands = _transform.analysis(x, levels, first, rest)
    names = band_names(x.ndim - 2)[1:]
    coefficients: Coefficients = [bands[0]]
    for k in range(1, len(bands), len(names)):
        coefficients.append(dict(zip(names, bands[k : k + len(names)], strict=True)))
    return coefficients


def synthesis(coefficients: Coefficients, *, normalization: Normalization = "orthonormal") -> Tensor:
    r"""$\pi_j^{-1}$: the cell values whose coefficients these are; the inverse of `analysis` with the same arguments.

    Raises MultiresError where a band is missing or its shape does not follow from the approximation's.
    """
    approximation, details = unpack(coefficients)
    levels, names = len(details), band_names(approximation.ndim - 2)[1:]
    first, rest = _scales([n << levels for n in approximation.shape[2:]], normalization)
    first = rest * (rest / first)
    if levels == 0:
        return approximation * (first / rest)
    bands = [approximation, *(level[name] for level in details for name in names)]
    return _transform.synthesis(bands, levels, first, rest)


def unpack(coefficients: Coefficients) -> tuple[Tensor, list[Details]]:
    """Return (approximation, details coarsest first), checked band by band; raises MultiresError where they do not fit."""
    approximation, *details = coefficients or [{}]
    if not isinstance(approximation, Tensor):
        raise MultiresError("coefficients start with the approximation: expected [tensor, dict, dict, ...]")
    names = set(band_names(dimension(approximation))[1:])
    checked: list[Details] = []
    for depth, level in enumerate(details):
        if not isinstance(level, dict) or set(level) != names:
            found = sorted(level) if isinstance(level, dict) else type(level).__name__
            raise MultiresError(f"details {depth + 1} hold {found}: expected a dict of the bands {sorted(names)}")
        shape = (*approximation.shape[:2], *(n << depth for n in approximation.shape[2:]))
        for name, band in level.items():
            if band.shape != shape:
                raise MultiresError(f"band {name} of details {depth + 1} has shape {tuple(band.shape)}: expected {shape}")
            if (band.dtype, band.device) != (approximation.dtype, approximation.device):
                kinds = f"{band.dtype} on {band.device}: the approximation is {approximation.dtype} on {approximation.device}"
                raise MultiresError(f"band {name} of details {depth + 1} is {kinds}")
        checked.append(level)
    return approximation, checked


def to_array(coefficients: Coefficients) -> Tensor:
    """Return all coefficients as one tensor of the image's shape, as `pywt.coeffs_to_array` lays them out."""
    array, details = unpack(coefficients)
    for level in details:
        corner = array
        array = array.new_empty([*array.shape[:2], *(2 * n for n in array.shape[2:])])
        for name, band in zip(band_names(array.ndim - 2), [corner, *_in_order(level)], strict=True):
            array[_place(name, corner)] = band
    return array


def from_array(array: Tensor, levels: int | None = None) -> Coefficients:
    """Return PyWavelets' list of coefficients, as views of the one-array form; the inverse of `to_array`."""
    levels = resolution(array) if levels is None else levels
    names = band_names(require_levels(array, levels))
    coefficients: Coefficients = []
    for _ in range(levels):
        corner = array[_place("a" * len(names[0]), array, halve=True)]
        coefficients.insert(0, {name: array[_place(name, corner)] for name in names[1:]})
        array = corner
    return [array, *coefficients]


def _scales(spatial: list[int] | torch.Size, normalization: Normalization) -> tuple[float, float]:
    """The factor of the finest level's butterfly, and of every coarser one."""
    if normalization not in ("orthonormal", "l2"):
        raise MultiresError(f"normalization {normalization!r}: expected 'orthonormal' or 'l2'")
    rest = 2 ** (-len(spatial) / 2)
    return (rest if normalization == "orthonormal" else rest / math.sqrt(math.prod(spatial))), rest


def _in_order(level: Details) -> list[Tensor]:
    names = band_names(len(next(iter(level))))[1:]
    return [level[name] for name in names]


def _place(name: str, corner: Tensor, halve: bool = False) -> tuple[slice, ...]:
    """Where a band lies in the one-array form around an approximation of the corner's shape."""
    sides = [n // 2 if halve else n for n in corner.shape[2:]]
    spans = (slice(0, n) if letter == "a" else slice(n, 2 * n) for letter, n in zip(name, sides, strict=True))
    return (slice(None), slice(None), *spans)

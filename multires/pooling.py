r"""Average pooling, the $L^2$ projection $V_j \to V_{j-1}$, and the poolings that are not: the controls.

`average` maps cell values to the means of $2^d$ siblings. With `spaces.embed` it makes $P = \text{embed} \circ
\text{average}$, the orthogonal projection onto $V_{j-1}$ inside $V_j$. Every other function here halves the resolution too,
and breaks at least one of the properties of that projection; all are periodic and act on each channel by itself.

Source: arXiv 2301.08187, theorem 1 (average pooling as projection).
"""

import functools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from multires.errors import MultiresError
from multires.spaces import embed, require_levels

CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def average(x: Tensor, levels: int = 1) -> Tensor:
    r"""$(\text{pool}\, x)_k = 2^{-d\,\text{levels}} \sum_{i \in \text{block } k} x_i$, from $V_j$ to $V_{j - \text{levels}}$.

    Shape (batch, channel, n, ...) becomes (batch, channel, n / 2^levels, ...); 2^levels must divide every side.
    The mean over a block is taken axis by axis, so rounding stays within the bound of docs/conventions.md.
    """
    d = require_levels(x, levels)
    if d == 2 and levels == 1 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return functional.avg_pool2d(x, 2)  # several times faster where channels lie last in memory, as slow as a copy elsewhere
    if x.dtype == torch.float16:
        return average(x.float(), levels).half()  # in which the sum of two numbers beyond 32,752 is infinite
    for axis in range(2, 2 + d):  # the last, contiguous axis comes last: it is the slow one, and has the least left to do
        blocks = x.unflatten(axis, (-1, 2**levels))
        # torch reduces an axis of length 2 about eight times slower than it adds two slices
        x = (blocks.select(axis + 1, 0) + blocks.select(axis + 1, 1)) * 0.5 if levels == 1 else blocks.mean(axis + 1)
    return x


def project(x: Tensor, levels: int = 1) -> Tensor:
    r"""$P x = \text{embed}(\text{pool}\, x)$, the $L^2$ projection of $V_j$ onto $V_{j - \text{levels}}$, at x's own shape."""
    return embed(average(x, levels), levels)


def maximum(x: Tensor) -> Tensor:
    """Max pooling: the largest of 2^d siblings. Not linear."""
    d = require_levels(x, 1)
    for axis in range(2, 2 + d):
        x = x.unflatten(axis, (-1, 2)).amax(axis + 1)
    return x


def subsample(x: Tensor) -> Tensor:
    """The first of 2^d siblings: what a convolution of stride 2 and width 1 keeps."""
    d = require_levels(x, 1)
    return x[(slice(None), slice(None), *[slice(None, None, 2)] * d)]


def _wrapped(x: Tensor, axis: int, start: int, length: int) -> Tensor:
    """`length` cells of x along an axis from `start` on, around the end as often as it takes."""
    side, pieces = x.shape[axis], []
    start %= side
    while length:
        pieces.append(x.narrow(axis, start, min(side - start, length)))
        length -= pieces[-1].shape[axis]
        start = 0
    return torch.cat(pieces, axis)


def strided_convolution(x: Tensor, kernel: Tensor, origin: int) -> Tensor:
    r"""$y_k = \sum_i w_i\, x_{2k + i - \text{origin}}$ with periodic boundary, the same kernel w for each channel.

    kernel has d axes of equal width; `origin` is the index in it that meets cell 2k.
    """
    d = require_levels(x, 1)
    if kernel.ndim != d or len(set(kernel.shape)) != 1:
        raise MultiresError(f"kernel of shape {tuple(kernel.shape)}: {d} spatial axes need a kernel of {d} equal sides")
    batch, channel, *spatial = x.shape
    for axis, side in enumerate(spatial, start=2):
        x = _wrapped(x, axis, -origin, side + kernel.shape[0] - 2)
    y = CONVOLUTIONS[d](x.flatten(0, 1)[:, None], kernel.to(x)[None, None], stride=2)
    return y.reshape(batch, channel, *y.shape[2:])


def _separable(x: Tensor, taps: Sequence[float], origin: int) -> Tensor:
    """`strided_convolution` with the product of the same taps along every axis, one axis at a time."""
    for axis in range(2, 2 + require_levels(x, 1)):
        side = x.shape[axis]
        wide = _wrapped(x, axis, -origin, side + len(taps) - 2)
        terms = (tap * _from(wide, axis, k, side) for k, tap in enumerate(taps))
        x = functools.reduce(torch.add, terms)
    return x


def _from(x: Tensor, axis: int, start: int, side: int) -> Tensor:
    return x[(slice(None),) * axis + (slice(start, start + side - 1, 2),)]


def blur(x: Tensor) -> Tensor:
    """[1 2 1] / 4 along each axis, then every second cell: the anti-aliased pooling of arXiv 1904.11486."""
    return _separable(x, (0.25, 0.5, 0.25), origin=1)


def lowpass(x: Tensor, taps: Sequence[float]) -> Tensor:
    r"""One step down with a wavelet's decomposition low-pass filter, scaled to keep constants: $2^{-d/2}$ cA.

    taps are PyWavelets' `Wavelet(name).dec_lo` (they sum to sqrt 2); the result is the approximation of `pywt.dwtn(x,
    name, 'periodization')` divided by $2^{d/2}$. With the taps of 'haar' this is average pooling.
    """
    return _separable(x, [tap / math.sqrt(2) for tap in reversed(taps)], origin=_origin(taps))


def synthesis(x: Tensor, taps: Sequence[float]) -> Tensor:
    r"""One step up: $2^d$ times the adjoint of `lowpass`, which keeps constants. With the taps of 'haar' this is embedding.

    For an orthogonal wavelet it is the synthesis from an approximation alone, $2^{d/2}$ times `pywt.idwtn({'aa': x}, name,
    'periodization')`, and `lowpass` takes it back: $\mathrm{lowpass}(\mathrm{synthesis}\,x) = x$.
    """
    origin = _origin(taps)
    for axis in range(2, x.ndim):
        x = torch.stack([x, torch.zeros_like(x)], axis + 1).flatten(axis, axis + 1)
        side = x.shape[axis]
        wide = _wrapped(x, axis, origin - len(taps) + 1, side + len(taps) - 1)
        x = functools.reduce(torch.add, (math.sqrt(2) * tap * wide.narrow(axis, k, side) for k, tap in enumerate(taps)))
    return x


def orthogonal(taps: Sequence[float]) -> bool:
    r"""Whether a low-pass filter is an orthogonal wavelet's: $\sum_i t_i\, t_{i + 2k} = \delta_{0k}$, as far as it is tabulated."""
    products = (sum(a * b for a, b in zip(taps, taps[moved:], strict=False)) for moved in range(0, len(taps), 2))
    return all(abs(product - (not moved)) < 1e-6 for moved, product in enumerate(products))


def _origin(taps: Sequence[float]) -> int:
    if len(taps) < 2 or len(taps) % 2:
        raise MultiresError(f"{len(taps)} taps: PyWavelets' low-pass filters have an even number of taps, 2 or more")
    return len(taps) // 2 - 1

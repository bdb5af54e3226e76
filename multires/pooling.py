r"""Average pooling, the $L^2$ projection $V_j \to V_{j-1}$, and the poolings that are not: the controls.

`average` maps cell values to the means of $2^d$ siblings. With `spaces.embed` it makes $P = \text{embed} \circ
\text{average}$, the orthogonal projection onto $V_{j-1}$ inside $V_j$. Every other function here halves the resolution too,
and breaks at least one of the properties of that projection; all are periodic and act on each channel by itself.

Source: arXiv 2301.08187, theorem 1 (average pooling as projection).
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from multires.errors import MultiresError
from multires.spaces import dimension, embed, require_levels

CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def average(x: Tensor, levels: int = 1) -> Tensor:
    r"""$(\text{pool}\, x)_k = 2^{-d\,\text{levels}} \sum_{i \in \text{block } k} x_i$, from $V_j$ straight to $V_{j - \text{levels}}$.

    Shape (batch, channel, n, ...) becomes (batch, channel, n / 2^levels, ...); 2^levels must divide every side.
    The mean over a block is taken axis by axis, so rounding stays within the bound of docs/conventions.md.
    """
    d = require_levels(x, levels)
    for axis in range(2, 2 + d):  # the last, contiguous axis comes last: it is the slow one, and has the least left to do
        x = x.unflatten(axis, (-1, 2**levels)).mean(axis + 1)
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


def strided_convolution(x: Tensor, kernel: Tensor, origin: int) -> Tensor:
    r"""$y_k = \sum_i w_i\, x_{2k + i - \text{origin}}$ with periodic boundary, the same kernel w for each channel.

    kernel has d axes of equal width; `origin` is the index in it that meets cell 2k.
    """
    d = require_levels(x, 1)
    if kernel.ndim != d or len(set(kernel.shape)) != 1:
        raise MultiresError(f"kernel of shape {tuple(kernel.shape)}: {d} spatial axes need a kernel of {d} equal sides")
    width = kernel.shape[0]
    batch, channel, *spatial = x.shape
    for axis, side in enumerate(spatial, start=2):
        x = x.index_select(axis, (torch.arange(side + width - 2, device=x.device) - origin) % side)
    y = CONVOLUTIONS[d](x.flatten(0, 1)[:, None], kernel.to(x)[None, None], stride=2)
    return y.unflatten(0, (batch, channel))[:, :, 0]


def _separable(taps: Sequence[float], d: int) -> Tensor:
    values = [math.prod(p) for p in itertools.product(taps, repeat=d)]
    return torch.tensor(values, dtype=torch.float64).reshape([len(taps)] * d)


def blur(x: Tensor) -> Tensor:
    """[1 2 1] / 4 along each axis, then every second cell: the anti-aliased pooling of arXiv 1904.11486."""
    return strided_convolution(x, _separable((0.25, 0.5, 0.25), dimension(x)), origin=1)


def lowpass(x: Tensor, taps: Sequence[float]) -> Tensor:
    r"""One step down with a wavelet's decomposition low-pass filter, scaled to keep constants: $2^{-d/2}$ cA.

    taps are PyWavelets' `Wavelet(name).dec_lo` (they sum to sqrt 2); the result is `pywt.dwtn(x, name,
    'periodization')['a...']` divided by $2^{d/2}$. With the taps of 'haar' this is average pooling.
    """
    if len(taps) < 2 or len(taps) % 2:
        raise MultiresError(f"{len(taps)} taps: PyWavelets' low-pass filters have an even number of taps, 2 or more")
    scaled = [t / math.sqrt(2) for t in reversed(taps)]
    return strided_convolution(x, _separable(scaled, dimension(x)), origin=len(taps) // 2 - 1)

"""What claims about average pooling are held against: other poolings, another upsampling, a transform with a wrong sign."""

from functools import partial

import numpy as np
import pywt
import torch
from torch import Tensor
from torch.nn import functional

from analysis.defects import Pool
from analysis.evidence import Context
from multires import haar, pooling
from multires.spaces import dimension, embed, require_levels

LOWPASS = ("db2", "db3", "sym4", "coif1", "bior2.2", "bior4.4")
KERNEL_WIDTH = 3


def lowpass(wavelet: str) -> Pool:
    """Pooling with the decomposition low-pass filter of a PyWavelets wavelet."""
    return partial(pooling.lowpass, taps=pywt.Wavelet(wavelet).dec_lo)


def random_convolution(context: Context) -> Pool:
    """A strided convolution with positive random weights that sum to 1: what an untrained layer that keeps the mean does."""

    def pool(x: Tensor) -> Tensor:
        kernel = torch.from_numpy(np.random.default_rng(context.seed).random([KERNEL_WIDTH] * dimension(x)))
        return pooling.strided_convolution(x, kernel / kernel.sum(), origin=KERNEL_WIDTH // 2)

    return pool


def blocks(x: Tensor, levels: int) -> Tensor:
    """The cells of each block of 2^levels a side, along a last axis."""
    d = require_levels(x, levels)
    for axis in range(2, 2 + d):
        x = x.unfold(axis, 2**levels, 2**levels)
    return x.flatten(2 + d)


def block_maximum(x: Tensor, levels: int) -> Tensor:
    """Max pooling over several levels at once."""
    return blocks(x, levels).amax(-1)


def block_median(x: Tensor, levels: int) -> Tensor:
    """The lower median of each block: medians of medians are not medians."""
    return blocks(x, levels).median(-1).values


def every(x: Tensor, levels: int) -> Tensor:
    """The first cell of each block."""
    return x[(slice(None), slice(None), *[slice(None, None, 2**levels)] * dimension(x))]


def embedded(pool: Pool) -> Pool:
    """A pooling followed by embedding."""
    return lambda x: embed(pool(x))


def interpolate(x: Tensor) -> Tensor:
    """Linear upsampling: not the embedding."""
    return functional.interpolate(x, scale_factor=2, mode={1: "linear", 2: "bilinear", 3: "trilinear"}[dimension(x)])


def one_band_flipped(x: Tensor) -> haar.Coefficients:
    """Haar coefficients with one sign wrong: that of the finest band differenced along the last axis alone."""
    *rest, finest = haar.analysis(x, normalization="l2")
    if isinstance(finest, Tensor):
        return [-finest]
    name = "a" * (dimension(x) - 1) + "d"
    return [*rest, {**finest, name: -finest[name]}]

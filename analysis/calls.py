"""The calls of torch that change a grid, by name: those that resample by themselves, and those that may do so together."""

from numbers import Integral
from typing import Any

import numpy as np

from analysis.tape import CASTS, Value, leaves

RESAMPLERS = {
    "avg_pool": "average pooling",
    "max_pool": "max pooling",
    "lp_pool": "power-average pooling",
    "fractional_max_pool": "fractional max pooling",
    "adaptive_avg_pool": "adaptive average pooling",
    "_adaptive_avg_pool": "adaptive average pooling",
    "adaptive_max_pool": "adaptive max pooling",
    "conv": "strided convolution",
    "convolution": "transposed convolution",
    "conv_transpose": "transposed convolution",
    "interpolate": "interpolation",
    "upsample": "interpolation",
    "upsample_nearest": "interpolation",
    "upsample_nearest_exact": "interpolation",
    "upsample_linear": "interpolation",
    "upsample_bilinear": "interpolation",
    "upsample_trilinear": "interpolation",
    "upsample_bicubic": "interpolation",
    "pixel_shuffle": "pixel shuffle",
    "pixel_unshuffle": "pixel unshuffle",
    "max_unpool": "max unpooling",
    "grid_sample": "grid sampling",
}
# fmt: off
STRIDED = {"avg_pool": 2, "max_pool": 2, "lp_pool": 3, "conv": 3, "convolution": 3, "conv_transpose": 3}
"""Where the stride is among the arguments."""
PERMUTATIONS = {"permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis"}
LAYOUT = PERMUTATIONS | CASTS | {
    "unflatten", "flatten", "view", "reshape", "view_as", "reshape_as", "contiguous", "clone", "squeeze", "unsqueeze", "get",
}
INDEXING = {
    "getitem", "slice", "narrow", "select", "unbind", "chunk", "split", "tensor_split", "index_select", "pad", "roll", "cat",
    "concat", "stack", "hstack", "vstack", "dstack", "hsplit", "vsplit", "gather", "take_along_dim", "unfold", "im2col",
    "as_strided",
}
PRODUCTS = {"matmul", "mm", "bmm", "linear", "einsum", "tensordot", "kron"}
FOURIER = {"fft_" + name for name in (
    "fft", "ifft", "fft2", "ifft2", "fftn", "ifftn", "rfft", "irfft", "rfft2", "irfft2", "rfftn", "irfftn", "fftshift", "ifftshift",
)}
SUMS = PRODUCTS | FOURIER | {
    "mean", "sum", "amax", "amin", "max", "min", "nanmean", "std", "var", "median", "nanmedian", "quantile", "logsumexp", "norm",
    "linalg_vector_norm", "prod", "topk", "sort", "aminmax", "cumsum", "diff", "repeat", "repeat_interleave", "tile", "expand",
    "expand_as", "setitem", "fold", "col2im",
}
ELEMENTWISE = {
    "add", "sub", "rsub", "mul", "multiply", "div", "true_divide", "divide", "neg", "maximum", "minimum", "add_", "sub_", "mul_",
    "div_", "lerp", "addcmul", "addcdiv",
}
POINTWISE = {  # functions of each value that are not linear, or of each and its norm
    "pow", "square", "sqrt", "rsqrt", "exp", "log", "abs", "clamp", "reciprocal", "rdiv", "relu", "leaky_relu", "elu", "gelu",
    "silu", "mish", "sigmoid", "tanh", "softplus", "hardswish", "softmax", "clip", "clamp_min", "clamp_max", "relu6", "hardtanh",
    "hardsigmoid", "log1p", "expm1", "selu", "celu", "logsigmoid", "softsign", "sin", "cos",
}
NORMS = LAYOUT | ELEMENTWISE | POINTWISE | {"mean", "sum", "var", "std", "norm", "linalg_vector_norm"}
ENDS = POINTWISE | {"pad"}
VIEWS = {"unflatten", "view", "reshape"}
SHUFFLES = {"pixel_shuffle", "pixel_unshuffle"}
"""They resample by themselves, but what comes next may belong to it, as a mean over the cells that became channels does."""
# fmt: on
FOLLOWED = LAYOUT | INDEXING | SUMS | ELEMENTWISE | POINTWISE
RANDOM = {"rand", "randn", "rand_like", "randn_like", "randint", "normal", "bernoulli", "uniform_", "normal_", "bernoulli_"}
FACTORIES = {"new_tensor", "new_zeros", "new_ones", "new_empty", "new_full", "zeros_like", "ones_like", "empty_like", "full_like"}

QUESTIONS = {"isfinite", "isnan", "isinf"}


def strided(family: str, args: Any, kwargs: Any) -> bool:
    """Whether a call of a resampler steps by more than one cell; those without a stride do where sides change."""
    if family not in STRIDED:
        return True
    at = STRIDED[family]
    stride = kwargs.get("stride", args[at] if len(args) > at else None)
    if stride is None and "pool" in family:
        stride = kwargs.get("kernel_size", args[at - 1] if len(args) >= at else 1)
    return any(np.any(np.asarray(step) > 1) for step in leaves(stride) if isinstance(step, Integral | np.ndarray))


def kind_of(value: Value) -> str:
    """What a followed value does, in the words of a reader."""
    names = {call.name for call in value.calls()}
    for family in RESAMPLERS:
        if family in names:
            if family == "interpolate":
                call = next(call for call in value.calls() if call.name == family)
                return f"interpolation ({call.kwargs.get('mode', call.args[3] if len(call.args) > 3 else 'nearest')})"
            return RESAMPLERS[family]
    if names & FOURIER:
        return "Fourier transform"
    if names & PRODUCTS:
        return "matrix product"
    if names & {"amax", "max", "maximum", "amin", "min", "minimum"}:
        return "sliced max pooling" if names & {"amax", "max", "maximum"} else "sliced min pooling"
    if names & {"median", "nanmedian"}:
        return "sliced median pooling"
    return "reshaping" if names <= LAYOUT else "slicing" if names <= LAYOUT | INDEXING | {"setitem"} else "sliced arithmetic"

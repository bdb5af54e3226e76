"""The calls of torch that change a grid, by name: those that resample by themselves, and those that may do so together."""

from typing import Any

from analysis.tape import CASTS, Value, leaves

RESAMPLERS = {
    "avg_pool": "average pooling",
    "max_pool": "max pooling",
    "lp_pool": "power-average pooling",
    "fractional_max_pool": "fractional max pooling",
    "adaptive_avg_pool": "adaptive average pooling",
    "adaptive_max_pool": "adaptive max pooling",
    "conv": "strided convolution",
    "conv_transpose": "transposed convolution",
    "interpolate": "interpolation",
    "upsample": "interpolation",
    "upsample_nearest": "interpolation",
    "upsample_bilinear": "interpolation",
    "pixel_shuffle": "pixel shuffle",
    "pixel_unshuffle": "pixel unshuffle",
    "max_unpool": "max unpooling",
    "grid_sample": "grid sampling",
}
STRIDED = {"avg_pool": 2, "max_pool": 2, "lp_pool": 3, "conv": 3, "conv_transpose": 3}  # where the stride is among the arguments
# fmt: off
PERMUTATIONS = {"permute", "transpose", "swapaxes", "movedim", "moveaxis"}
LAYOUT = PERMUTATIONS | CASTS | {
    "unflatten", "flatten", "view", "reshape", "contiguous", "clone", "squeeze", "unsqueeze", "detach", "get",
}
INDEXING = {
    "getitem", "narrow", "select", "unbind", "chunk", "split", "tensor_split", "index_select", "pad", "roll", "cat", "concat",
    "stack",
}
SUMS = {
    "mean", "sum", "amax", "amin", "max", "min", "matmul", "repeat", "repeat_interleave", "tile", "expand", "expand_as", "setitem",
}
ELEMENTWISE = {
    "add", "sub", "rsub", "mul", "multiply", "div", "true_divide", "divide", "neg", "maximum", "minimum", "add_", "sub_", "mul_",
    "div_",
}
# fmt: on
FOLLOWED = LAYOUT | INDEXING | SUMS | ELEMENTWISE
RANDOM = {"rand", "randn", "rand_like", "randn_like", "randint", "normal", "bernoulli", "uniform_", "normal_", "bernoulli_"}
FACTORIES = {"new_zeros", "new_ones", "new_empty", "new_full", "zeros_like", "ones_like", "empty_like", "full_like"}


def strided(family: str, args: Any, kwargs: Any) -> bool:
    """Whether a call of a resampler steps by more than one cell; those without a stride do where sides change."""
    if family not in STRIDED:
        return True
    at = STRIDED[family]
    stride = kwargs.get("stride", args[at] if len(args) > at else None)
    if stride is None and "pool" in family:
        stride = kwargs.get("kernel_size", args[at - 1] if len(args) >= at else 1)
    return any(step > 1 for step in leaves(stride) if isinstance(step, int))


def kind_of(value: Value) -> str:
    """What a followed value does, in the words of a reader."""
    names = {call.name for call in value.calls()}
    for family in RESAMPLERS:
        if family in names:
            if family == "interpolate":
                return f"interpolation ({value.kwargs.get('mode', value.args[3] if len(value.args) > 3 else 'nearest')})"
            return RESAMPLERS[family]
    if "matmul" in names:
        return "matrix product"
    if names & {"amax", "max", "maximum", "amin", "min", "minimum"}:
        return "sliced max pooling" if names & {"amax", "max", "maximum"} else "sliced min pooling"
    return "reshaping" if names <= LAYOUT else "slicing" if names <= LAYOUT | INDEXING | {"setitem"} else "sliced arithmetic"

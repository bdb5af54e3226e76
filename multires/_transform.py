"""The Haar transform as a function of tensors that autograd knows: over any number of levels, forward and back.

Bands are indexed by bits: bit k says that axis k was differenced. `first` scales the finest level's butterfly, `rest` every
other. Both directions are linear, and with the same scales each is the other's adjoint, hence its gradient.

Plain tensors go through `Analysis` and `Synthesis`, whose work is done by the compiled kernel or else by slicing into
buffers. Tensors that are being traced or batched (torch.compile, vmap) have no memory to fill, and go by pure operations.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from multires import _kernel


def analysis(x: Tensor, levels: int, first: float, rest: float) -> list[Tensor]:
    """Return the approximation, then the details of each level in the order of their bits, coarsest level first."""
    if _has_memory(x):
        return list(Analysis.apply(x, levels, first, rest))  # type: ignore[no-untyped-call]
    details: list[Tensor] = []
    for level in range(levels):
        x, *bands = [part * (rest if level else first) for part in _split(x, x.ndim - 1)]
        details = bands + details
    return [x, *details]


def synthesis(bands: list[Tensor], levels: int, first: float, rest: float) -> Tensor:
    """Return the field whose `analysis` gives these bands, if the scales are inverse to it; its adjoint if they are equal."""
    if all(_has_memory(band) for band in bands):
        return Synthesis.apply(levels, first, rest, *bands)  # type: ignore[no-any-return, no-untyped-call]
    x, count = bands[0], 2 ** (bands[0].ndim - 2) - 1
    for level in range(levels):
        details = bands[1 + level * count : 1 + (level + 1) * count]
        x = _merge([x, *details], x.ndim - 1) * (rest if level < levels - 1 else first)
    return x


def _has_memory(x: Tensor) -> bool:
    """Whether x is a plain tensor over real memory: no subclass that stands in for one, and nothing traced or batched."""
    if torch.compiler.is_compiling() or type(x) not in (Tensor, torch.nn.Parameter):
        return False
    try:
        return x.data_ptr() != 0
    except RuntimeError:
        return False


def _halves(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """The even and the odd cells along an axis."""
    lead = (slice(None),) * axis
    return x[(*lead, slice(0, None, 2))], x[(*lead, slice(1, None, 2))]


def _split(x: Tensor, axis: int) -> list[Tensor]:
    """All bands of one level, without scale, in pure operations."""
    p, q = _halves(x, axis)
    return [p + q, p - q] if axis == 2 else _split(p + q, axis - 1) + _split(p - q, axis - 1)


def _merge(bands: list[Tensor], axis: int) -> Tensor:
    half = len(bands) // 2
    p, q = bands if axis == 2 else (_merge(bands[:half], axis - 1), _merge(bands[half:], axis - 1))
    return torch.stack((p + q, p - q), axis + 1).reshape([2 * n if k == axis else n for k, n in enumerate(p.shape)])


def _split_into(bands: list[Tensor], x: Tensor, axis: int, scale: float) -> None:
    """Fill the bands of one level; half of x as scratch is all the memory it takes."""
    p, q = _halves(x, axis)
    if axis == 2:
        torch.add(p, q, out=bands[0]).mul_(scale)
        torch.sub(p, q, out=bands[1]).mul_(scale)
        return
    half, scratch = len(bands) // 2, torch.empty_like(p, memory_format=torch.contiguous_format)
    _split_into(bands[:half], torch.add(p, q, out=scratch), axis - 1, scale)
    _split_into(bands[half:], torch.sub(p, q, out=scratch), axis - 1, scale)


def _merge_into(x: Tensor, bands: list[Tensor], axis: int) -> Tensor:
    """Fill x from the bands of one level, without scale."""
    even, odd = _halves(x, axis)
    half = len(bands) // 2
    if axis == 2:
        p, q = bands
    else:
        p, q = [_merge_into(even.new_empty(even.shape), part, axis - 1) for part in (bands[:half], bands[half:])]
    torch.add(p, q, out=even)
    torch.sub(p, q, out=odd)
    return x


def _fill(forward: bool, x: Tensor, levels: list[list[Tensor]], first: float, rest: float) -> None:
    """Fill levels[l][band] from x, or x from them where not forward, by the kernel or by slicing: the same bits."""
    if _kernel.usable(x):
        return _kernel.run(forward, x, levels, first, rest)
    fields = [x, *(bands[0] for bands in levels)]
    order = range(len(levels)) if forward else reversed(range(len(levels)))
    for level in order:
        scale = rest if level else first
        if forward:
            _split_into(levels[level], fields[level], x.ndim - 1, scale)
        else:
            _merge_into(fields[level], levels[level], x.ndim - 1).mul_(scale)


def _buffers(like: Tensor, spatial: list[int], levels: int, count: int) -> list[list[Tensor]]:
    lead = like.shape[:2]
    return [[like.new_empty([*lead, *(n >> level for n in spatial)]) for _ in range(count)] for level in range(1, levels + 1)]


class Analysis(Function):
    """(x, levels, first, rest) to (approximation, *details coarsest first)."""

    @staticmethod
    def forward(x: Tensor, levels: int, first: float, rest: float) -> tuple[Tensor, ...]:
        """Fill new buffers; the approximations of the levels between are dropped."""
        x = x.resolve_neg().contiguous()
        bands = _buffers(x, list(x.shape[2:]), levels, 2 ** (x.ndim - 2))
        _fill(True, x, bands, first, rest)
        return bands[-1][0], *(band for level in reversed(bands) for band in level[1:])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep levels and scales; a linear map needs no values."""
        ctx.rest = inputs[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """The adjoint: synthesis with the same scales."""
        return synthesis(list(grads), *ctx.rest), None, None, None

    @staticmethod
    def jvp(ctx: Any, x: Tensor, *_: Any) -> Any:
        """A linear map is its own derivative."""
        return tuple(analysis(x, *ctx.rest))


class Synthesis(Function):
    """(levels, first, rest, approximation, *details coarsest first) to x."""

    @staticmethod
    def forward(levels: int, first: float, rest: float, *bands: Tensor) -> Tensor:
        """Fill a new field."""
        approximation, *details = (band.resolve_neg().contiguous() for band in bands)
        spatial = [n << levels for n in approximation.shape[2:]]
        x = approximation.new_empty([*approximation.shape[:2], *spatial])
        between = [level[0] for level in _buffers(x, spatial, levels - 1, 1)] + [approximation]
        count = 2 ** (x.ndim - 2) - 1
        grouped = [details[k : k + count] for k in range(0, len(details), count)]
        _fill(False, x, [[a, *level] for a, level in zip(between, reversed(grouped), strict=True)], first, rest)
        return x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep levels and scales."""
        ctx.rest = inputs[:3]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """The adjoint: analysis with the same scales."""
        return None, None, None, *analysis(grad, *ctx.rest)

    @staticmethod
    def jvp(ctx: Any, _levels: Any, _first: Any, _rest: Any, *bands: Tensor) -> Any:
        """A linear map is its own derivative."""
        return synthesis(list(bands), *ctx.rest)

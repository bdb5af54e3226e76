"""The compiled Haar transform of `_haar.c` behind torch's autograd; optional, since haar.py can do without it.

setup builds the library where a C compiler is found. It serves float32 and float64 tensors on the CPU; `usable` says
whether it can take a tensor. Rows are shared out to torch.get_num_threads() threads, and ctypes releases the interpreter
lock, so they run at once. Both functions are linear and orthogonal up to their scale, hence each is the other's gradient.
"""

import ctypes
import importlib.util
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

CHUNK_BYTES = 1 << 18  # what a chunk of rows may take: a quarter of a common second-level cache


def _load() -> ctypes.CDLL | None:
    spec = importlib.util.find_spec("multires._haar")
    return ctypes.CDLL(spec.origin) if spec and spec.origin else None


LIBRARY = _load()
NAMES = {torch.float32: "float", torch.float64: "double"}


def usable(x: Tensor) -> bool:
    """Whether the compiled transform can take x: plain CPU data of a dtype it knows, and no compiler tracing us."""
    return LIBRARY is not None and x.device.type == "cpu" and x.dtype in NAMES and not torch.compiler.is_compiling()


_workers: ThreadPoolExecutor | None = None


def _forget_workers() -> None:
    global _workers
    _workers = None


if hasattr(os, "register_at_fork"):  # a forked child inherits the pool but none of its threads
    os.register_at_fork(after_in_child=_forget_workers)


def _share(call: Callable[[int, int], None], chunks: int) -> None:
    """Run call(first chunk, count) over all chunks, split over torch's number of threads."""
    global _workers
    threads = min(torch.get_num_threads(), chunks)
    edges = [chunks * k // threads for k in range(threads + 1)]
    if threads > 1 and _workers is None:
        _workers = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="haar")
    waiting = [_workers.submit(call, a, b - a) for a, b in pairwise(edges[1:])] if _workers else []
    call(0, edges[1])
    for job in waiting:
        job.result()


def _run(name: str, x: Tensor, levels: list[list[Tensor]], first: float, rest: float) -> None:
    """Fill levels[l][band] from x (name 'analysis') or x from them ('synthesis'); everything is contiguous."""
    d, (n, *others) = x.ndim - 2, x.shape[2:]
    h, w = [1] * (2 - len(others)) + others
    rows, row_bytes = x.shape[0] * x.shape[1] * n, h * w * x.element_size()
    # A chunk is as many rows as stay in cache. It carries `local` levels; a second round does the rest on the coarse array.
    fitting = max(1, (CHUNK_BYTES // row_bytes).bit_length() - 1)
    local = min(len(levels), fitting)
    repeats = rows >> local
    chunk = min(repeats & -repeats, 2 ** (fitting - local)) << local
    function = getattr(LIBRARY, f"{name}_{NAMES[x.dtype]}")
    pointers = [band.data_ptr() for bands in levels[:local] for band in bands]
    table = (ctypes.c_void_p * len(pointers))(*pointers)

    def call(at: int, count: int) -> None:
        sizes = [ctypes.c_ssize_t(v) for v in (at * chunk, count * chunk, chunk, h, w)]
        function(d, local, *sizes, ctypes.c_void_p(x.data_ptr()), table, ctypes.c_double(first), ctypes.c_double(rest))

    def second_round() -> None:
        if len(levels) > local:
            _run(name, levels[local - 1][0], levels[local:], rest, rest)

    if name == "synthesis":
        second_round()
    _share(call, rows // chunk)
    if name == "analysis":
        second_round()


def _buffers(like: Tensor, spatial: list[int], levels: int, count: int) -> list[list[Tensor]]:
    shape = [like.shape[0], like.shape[1]]
    return [[like.new_empty([*shape, *(n >> level for n in spatial)]) for _ in range(count)] for level in range(1, levels + 1)]


def _flat(x: Tensor, in_dim: int | None, size: int) -> Tensor:
    """Merge a vmap dimension into the batch."""
    return (x.expand(size, *x.shape) if in_dim is None else x.movedim(in_dim, 0)).flatten(0, 1)


class Analysis(Function):
    """(x, levels, first, rest) to (approximation, details coarsest first), scaled by `first` at the finest level."""

    @staticmethod
    def forward(x: Tensor, levels: int, first: float, rest: float) -> tuple[Tensor, ...]:
        x = x.contiguous()
        bands = _buffers(x, list(x.shape[2:]), levels, 2 ** (x.ndim - 2))
        _run("analysis", x, bands, first, rest)
        return bands[-1][0], *(band for level in reversed(bands) for band in level[1:])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.rest = inputs[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return Synthesis.apply(*ctx.rest, *grads), None, None, None

    @staticmethod
    def jvp(ctx: Any, x: Tensor, *_: Any) -> Any:
        return Analysis.apply(x, *ctx.rest)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], x: Tensor, *rest: Any) -> Any:
        out = Analysis.apply(_flat(x, in_dims[0], info.batch_size), *rest)
        return tuple(band.unflatten(0, (info.batch_size, -1)) for band in out), (0,) * len(out)


class Synthesis(Function):
    """(levels, first, rest, approximation, *details coarsest first) to x; the adjoint of Analysis."""

    @staticmethod
    def forward(levels: int, first: float, rest: float, *bands: Tensor) -> Tensor:
        approximation, *details = (band.contiguous() for band in bands)
        d = approximation.ndim - 2
        spatial = [n << levels for n in approximation.shape[2:]]
        x = approximation.new_empty([*approximation.shape[:2], *spatial])
        scratch = [level[0] for level in _buffers(x, spatial, levels - 1, 1)] + [approximation]
        count = 2**d - 1
        grouped = [details[k : k + count] for k in range(0, len(details), count)]
        table = [[approximations, *level] for approximations, level in zip(scratch, reversed(grouped), strict=True)]
        _run("synthesis", x, table, first, rest)
        return x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.rest = inputs[:3]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return None, None, None, *Analysis.apply(grad, *ctx.rest)

    @staticmethod
    def jvp(ctx: Any, _l: Any, _f: Any, _r: Any, *bands: Tensor) -> Any:
        return Synthesis.apply(*ctx.rest, *bands)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], levels: int, first: float, rest: float, *bands: Tensor) -> Any:
        flat = [_flat(band, dim, info.batch_size) for band, dim in zip(bands, in_dims[3:], strict=True)]
        return Synthesis.apply(levels, first, rest, *flat).unflatten(0, (info.batch_size, -1)), 0

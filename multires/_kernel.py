"""The compiled Haar transform of `_haar.c`; optional, since _transform.py can do without it.

setup builds the library where a C compiler is found. It serves float32 and float64 on the CPU, on torch's own OpenMP
threads, where torch uses OpenMP: a second pool would fight them for the cores.
"""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
from torch import Tensor

CHUNK_BYTES = 1 << 18  # what a chunk of rows may take: a quarter of a common second-level cache


def _load() -> ctypes.CDLL | None:
    beside = (Path(__file__).with_name(f"_haar{suffix}") for suffix in EXTENSION_SUFFIXES)
    return next((ctypes.CDLL(str(path)) for path in beside if path.exists()), None)


LIBRARY = _load()
PARALLEL = getattr(ctypes.CDLL(None), "GOMP_parallel", None) if os.name == "posix" else None  # the OpenMP runtime torch loaded
NAMES = {torch.float32: "float", torch.float64: "double"}


def usable(x: Tensor) -> bool:
    """Whether the library is there and knows x's device and dtype."""
    return LIBRARY is not None and x.device.type == "cpu" and x.dtype in NAMES


@contextlib.contextmanager
def disabled() -> Iterator[None]:
    """Do without the library for a while, as on a machine without a compiler."""
    global LIBRARY
    kept, LIBRARY = LIBRARY, None
    try:
        yield
    finally:
        LIBRARY = kept


class _Transform(ctypes.Structure):
    """`struct transform` of _haar.c."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("forward", "d", "levels")),
        *((name, ctypes.c_ssize_t) for name in ("chunks", "chunk", "h", "w", "next")),
        *((name, ctypes.c_void_p) for name in ("x", "bands")),
        *((name, ctypes.c_double) for name in ("first", "rest")),
    )


def run(forward: bool, x: Tensor, levels: list[list[Tensor]], first: float, rest: float) -> None:
    """Fill levels[l][band] from x, or x from them where not forward; everything is contiguous."""
    d, (n, *others) = x.ndim - 2, x.shape[2:]
    h, w = [1] * (2 - len(others)) + others
    rows, row_bytes = x.shape[0] * x.shape[1] * n, h * w * x.element_size()
    # A chunk is as many rows as stay in cache. It carries `local` levels; a second round does the rest on the coarse array.
    fitting = max(1, (CHUNK_BYTES // row_bytes).bit_length() - 1)
    local = min(len(levels), fitting)
    repeats = rows >> local
    chunk = min(repeats & -repeats, 2 ** (fitting - local)) << local
    pointers = [band.data_ptr() for bands in levels[:local] for band in bands]
    table = (ctypes.c_void_p * len(pointers))(*pointers)
    if len(levels) > local and not forward:
        run(forward, levels[local - 1][0], levels[local:], rest, rest)
    task = _Transform(forward, d, local, rows // chunk, chunk, h, w, 0, x.data_ptr(), ctypes.addressof(table), first, rest)
    work, threads = getattr(LIBRARY, f"work_{NAMES[x.dtype]}"), min(torch.get_num_threads(), rows // chunk)
    if PARALLEL is None or threads == 1:
        work(ctypes.byref(task))
    else:
        PARALLEL(work, ctypes.byref(task), ctypes.c_uint(threads), ctypes.c_uint(0))
    if len(levels) > local and forward:
        run(forward, levels[local - 1][0], levels[local:], rest, rest)

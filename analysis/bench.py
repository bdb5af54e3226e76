"""`multires bench haar`: our transform beside PyWavelets, ptwt and a plain copy of the same memory, in one run.

Every case times its candidates in turns, round after round, so that a machine whose speed drifts drifts for all of them,
and reports medians. `ratio` is fastest peer / ours, above 1 where we are faster; `copies` is ours / `tensor.clone()`.
"""

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pywt
import torch
from torch import Tensor

from analysis.peak import peak_mib
from multires import _kernel, haar

THREADS = 2
SHAPES = ((16, 3, 256, 256), (1, 1, 2048, 2048))
SCALING = range(12, 27, 2)  # log2 of the numbers of cells whose times are fitted
SECONDS = 2.0  # for each case, all candidates together
CALLS_A_TURN = 3
Row = dict[str, Any]
Call = Callable[[], Any]


def haar_rows() -> Iterator[Row]:
    """Yield the rows of the benchmark: each direction compiled and by slicing, cost against size, and peak memory."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        if _kernel.LIBRARY:
            for shape in SHAPES:
                yield from _directions(shape, "compiled")
        with _kernel.disabled():
            for shape in SHAPES:
                yield from _directions(shape, "slicing")
        yield _exponent()
        if peak_mib() is not None:
            yield _peak_memory()
    finally:
        torch.set_num_threads(threads)


def medians(candidates: dict[str, Call]) -> dict[str, float]:
    """The median seconds of each candidate, all of them timed in turns.

    A turn begins with a call that is not timed: without it each would pay for the pages that its predecessor gave back.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    gc.collect()
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        for name, call in candidates.items():
            call()
            for _ in range(CALLS_A_TURN):
                start = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def _row(case: str, x: Tensor, ours: Call, peers: dict[str, Call]) -> Row:
    found = medians({"ours": ours, "copy": x.clone, **peers})
    ours_s, copy_s = found.pop("ours"), found.pop("copy")
    return {
        "case": case,
        "ratio": min(found.values()) / ours_s,
        "copies": ours_s / copy_s,
        "ours_s": ours_s,
        "copy_s": copy_s,
        "peers": found,
    }


def _directions(shape: tuple[int, ...], path: str) -> Iterator[Row]:
    import ptwt

    x = torch.from_numpy(np.random.default_rng(0).standard_normal(shape, dtype=np.float32))
    leaf, values = x.clone().requires_grad_(), x.numpy()

    def pywavelets() -> Any:
        return pywt.wavedec2(values, "haar", "periodization")

    depth = len(pywavelets()) - 1

    def with_ptwt(t: Tensor) -> Any:
        return ptwt.wavedec2(t, "haar", mode="zero", level=depth)  # sides are even all the way: its mode never pads

    ours, theirs, torchs = haar.analysis(x), pywavelets(), with_ptwt(x)
    where = f"{' x '.join(map(str, shape))}, {path}"
    inverse = {"PyWavelets": lambda: pywt.waverec2(theirs, "haar", "periodization"), "ptwt": lambda: ptwt.waverec2(torchs, "haar")}
    yield _row(f"forward {where}", x, lambda: haar.analysis(x), {"PyWavelets": pywavelets, "ptwt": lambda: with_ptwt(x)})
    yield _row(f"inverse {where}", x, lambda: haar.synthesis(ours), inverse)
    yield _row(f"gradient {where}", x, _pullback(haar.analysis(leaf), leaf), {"ptwt": _pullback(with_ptwt(leaf), leaf)})


def _pullback(coefficients: Any, leaf: Tensor) -> Call:
    """The vector-Jacobian product of all coefficients: what one backward pass costs. PyWavelets has none."""
    bands = [
        band
        for level in coefficients
        for band in (level.values() if isinstance(level, dict) else level if isinstance(level, tuple) else [level])
    ]
    cotangents = [torch.ones_like(band) for band in bands]
    return lambda: torch.autograd.grad(bands, leaf, cotangents, retain_graph=True)


def _exponent() -> Row:
    """Fit time ~ cells^exponent over square images."""
    cells = [2**k for k in SCALING]
    seconds = []
    for k in SCALING:
        x = torch.ones(1, 1, 2 ** (k // 2), 2 ** (k // 2))
        seconds.append(medians({"ours": lambda x=x: haar.analysis(x)})["ours"])  # type: ignore[misc]
    slope = float(np.polyfit(np.log(cells), np.log(seconds), 1)[0])
    times = {f"2^{k} cells": value for k, value in zip(SCALING, seconds, strict=True)}
    return {
        "case": f"exponent of cost, 2^{SCALING[0]} to 2^{SCALING[-1]} cells",
        "value": slope,
        "ratio": None,
        "ours_s": seconds[-1],
        "peers": {},
        "times_s": times,
    }


MEMORY_PROBE = """
import torch
from analysis.peak import peak_mib
from multires import haar
haar.analysis(torch.ones(1, 1, 64, 64))
before = peak_mib()
x = torch.ones(1, 1, 8192, 8192)
coefficients = haar.analysis(x)
print((peak_mib() - before) * 2**20 / (x.numel() * x.element_size()))
"""


def _peak_memory() -> Row:
    """The peak of memory over the input's size, input included, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", MEMORY_PROBE], capture_output=True, text=True, check=True)
    return {
        "case": "peak memory / input, forward of 2^26 cells",
        "value": float(done.stdout),
        "ratio": None,
        "ours_s": None,
        "peers": {},
    }

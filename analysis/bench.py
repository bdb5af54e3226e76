"""`multires bench haar`: our transform beside PyWavelets, ptwt and a plain copy of the same memory, in one run.

Every row times the candidates in turns, round after round, so that a machine whose speed drifts drifts for all of them, and
reports medians. `ratio` is fastest peer / ours: above 1 we are faster. `copies` is ours / the time of `tensor.clone()`.
"""

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pywt
import torch
from rich.progress import track
from torch import Tensor

from multires import _kernel, haar

THREADS = 2
SHAPES = ((16, 3, 256, 256), (1, 1, 2048, 2048))
SCALING_CELLS = range(12, 27, 2)  # log2 of the number of cells
Row = dict[str, Any]
Peers = dict[str, Callable[[], Any]]


def haar_rows() -> list[Row]:
    """All rows of the benchmark: forward, inverse and gradient with and without the compiled kernel, scaling, and memory."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        compiled = _kernel.LIBRARY
        paths = {"compiled": compiled, "slicing": None} if compiled else {"slicing": None}
        rows = []
        for shape in track(SHAPES, "timing", console=_stderr(), disable=not sys.stderr.isatty(), transient=True):
            rows += [row for name, library in paths.items() for row in _rows_of(shape, name, library)]
        _kernel.LIBRARY = compiled
        return [*rows, *_scaling(), _memory()]
    finally:
        _kernel.LIBRARY = compiled
        torch.set_num_threads(threads)


def _stderr() -> Any:
    from analysis.terminal import stderr

    return stderr()


def medians(candidates: Peers, seconds: float = 2.0, most: int = 100) -> dict[str, float | None]:
    """Median time of each candidate, in turns; one that raises is None."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    failed = set()
    for name, call in candidates.items():
        try:
            call()
        except Exception:
            failed.add(name)
    gc.collect()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end and len(next(iter(times.values()))) < most:
        for name in times.keys() - failed:
            start = time.perf_counter()
            candidates[name]()
            times[name].append(time.perf_counter() - start)
    return {name: None if name in failed else statistics.median(values) for name, values in times.items()}


def _row(case: str, ours: Callable[[], Any], peers: Peers, x: Tensor) -> Row:
    found = medians({"ours": ours, "copy": lambda: x.clone(), **peers})
    ours_s, copy_s = found.pop("ours"), found.pop("copy")
    assert ours_s and copy_s
    fastest = min(value for value in found.values() if value is not None)
    return {"case": case, "ratio": fastest / ours_s, "copies": ours_s / copy_s, "ours_s": ours_s, "copy_s": copy_s, "peers": found}


def _energy(bands: Any) -> Tensor:
    """Half the sum of squares of all coefficients: its gradient needs the whole transform, backwards."""
    values = [band for level in bands for band in (level.values() if isinstance(level, dict) else level if isinstance(level, tuple) else [level])]
    return sum((value.square().sum() for value in values), start=torch.zeros(())) / 2


def _rows_of(shape: tuple[int, ...], path: str, library: Any) -> list[Row]:
    import ptwt

    _kernel.LIBRARY = library
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(shape, dtype=np.float32))
    leaf, values = x.clone().requires_grad_(), x.numpy()
    ours, theirs = haar.analysis(x), pywt.wavedec2(values, "haar", "periodization")
    depth = len(theirs) - 1
    torch_peer = ptwt.wavedec2(x, "haar", mode="zero", level=depth)  # its own modes; with even sides no padding happens

    def gradient(transform: Callable[[Tensor], Any]) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(_energy(transform(leaf)), leaf)

    def bare(transform: Callable[[Tensor], Any]) -> Callable[[], Any]:
        bands = transform(leaf)
        flat = [band for level in bands for band in (level.values() if isinstance(level, dict) else level if isinstance(level, tuple) else [level])]
        ones = [torch.ones_like(band) for band in flat]
        return lambda: torch.autograd.grad(flat, leaf, ones, retain_graph=True)

    where = f"{'x'.join(map(str, shape))} float32, {path}"
    return [
        _row(
            f"forward {where}",
            lambda: haar.analysis(x),
            {"PyWavelets": lambda: pywt.wavedec2(values, "haar", "periodization"), "ptwt": lambda: ptwt.wavedec2(x, "haar", mode="zero", level=depth)},
            x,
        ),
        _row(
            f"inverse {where}",
            lambda: haar.synthesis(ours),
            {"PyWavelets": lambda: pywt.waverec2(theirs, "haar", "periodization"), "ptwt": lambda: ptwt.waverec2(torch_peer, "haar")},
            x,
        ),
        _row(f"gradient {where}", bare(haar.analysis), {"PyWavelets": _no_gradient, "ptwt": bare(lambda t: ptwt.wavedec2(t, "haar", mode="zero", level=depth))}, x),
    ]


def _no_gradient() -> None:
    raise NotImplementedError("PyWavelets has no gradients")

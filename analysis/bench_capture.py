"""What recording activations costs: a forward pass with `capture` beside the plain one, and memory against images.

`ratio` is plain / captured, 1 where recording is free, the entry and the exit of the capture included. Both are timed in turns,
by the clock and by CPU time, which other processes disturb less; ratio and times are medians over turns. The memory row is the
growth of a process's peak resident memory (Linux's VmHWM), in MiB, between its first 1,000 images and its 60,000th: 0 up to the
allocator's noise if nothing stays behind.
"""

import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.capture import capture
from analysis.reducers import Moments

SHAPE = (64, 3, 32, 32)
CHANNELS = 24
REPETITIONS = 40
CALLS_A_TURN = 3
IMAGES = (1_000, 60_000)
Row = dict[str, Any]


class PooledByModules(nn.Module):
    """Two steps down, each a 3 x 3 convolution, ReLU and average pooling, and a last convolution."""

    def __init__(self) -> None:
        super().__init__()
        widths = (SHAPE[1], CHANNELS, CHANNELS, CHANNELS)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(widths))
        self.pools = nn.ModuleList(nn.AvgPool2d(2) for _ in range(2))

    def pool(self, x: Tensor, step: int) -> Tensor:
        """Halve the resolution by a module."""
        return self.pools[step](x)  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        """Run the net."""
        for step in range(2):
            x = self.pool(self.convolutions[step](x).relu(), step)
        return self.convolutions[2](x)  # type: ignore[no-any-return]


class PooledByFunctions(PooledByModules):
    """The same net with calls of torch.nn.functional.avg_pool2d."""

    def pool(self, x: Tensor, step: int) -> Tensor:
        """Halve the resolution by a function."""
        return functional.avg_pool2d(x, 2)


def capture_rows() -> Iterator[Row]:
    """Yield the rows: pooling by modules and by functions, each with `Moments` on every pooled site, and memory."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield from _rows("capture of pooling modules", PooledByModules(), modules="pools.*")
        yield from _rows("capture of pooling functions", PooledByFunctions(), functions="avg_pool2d")
        if Path("/proc/self/status").exists():  # Linux tells a process its peak; elsewhere the row is left out
            yield _memory()
    finally:
        torch.set_num_threads(threads)


def paired(ours: Callable[[], Any], plain: Callable[[], Any], clock: Callable[[], float]) -> tuple[float, float, float]:
    """The median over turns of plain / ours, and the median seconds of a call of each.

    Either goes first in every second turn. It begins with a call that is not timed: without it each would pay for the pages that
    the other gave back.
    """
    seconds: list[dict[Callable[[], Any], float]] = []
    for turn in range(REPETITIONS):
        seconds.append({})
        for call in (ours, plain) if turn % 2 else (plain, ours):
            call()
            start = clock()
            for _ in range(CALLS_A_TURN):
                call()
            seconds[-1][call] = (clock() - start) / CALLS_A_TURN
    ours_s, plain_s = (statistics.median(turn[call] for turn in seconds) for call in (ours, plain))
    return statistics.median(turn[plain] / turn[ours] for turn in seconds), ours_s, plain_s


def _rows(case: str, net: nn.Module, **sites: str) -> Iterator[Row]:
    x = torch.rand(SHAPE)

    def captured() -> None:
        with capture(net, reduce=Moments, **sites):  # type: ignore[arg-type]
            net(x)

    shape = " x ".join(map(str, SHAPE))
    for kind, clock in (("", time.perf_counter), (", CPU time", time.process_time)):
        with torch.no_grad():
            ratio, ours_s, plain_s = paired(captured, lambda: net(x), clock)
        name = f"{case}, {shape}, {CHANNELS} channels{kind}"
        yield {"case": name, "ratio": ratio, "ours_s": ours_s, "peers": {"plain forward": plain_s}}


PROBE = """
import re, sys, torch
from analysis.capture import capture
from analysis.reducers import Moments

few, many, reducer = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.AvgPool2d(2))
with torch.no_grad(), capture(net, "1", functions="avg_pool2d", **({} if reducer == "Keep" else {"reduce": Moments})):
    for done in range(500, many + 1, 500):
        net(torch.rand(500, 1, 28, 28))
        if done == few:
            before = peak()
print(peak() - before)
"""


def growth(few: int, many: int, reducer: str = "Moments") -> float:
    """The MiB by which peak memory grows between two numbers of images, multiples of 500, in a process of its own."""
    command = [sys.executable, "-c", PROBE, str(few), str(many), reducer]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _memory() -> Row:
    start = time.perf_counter()
    value = growth(*IMAGES)
    return {
        "case": f"growth of peak memory under capture, MiB, {IMAGES[0]:,} to {IMAGES[1]:,} images",
        "value": value,
        "ratio": None,
        "ours_s": time.perf_counter() - start,
        "peers": {},
    }

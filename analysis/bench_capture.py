"""What recording activations costs: forward passes with `capture` beside plain ones, and memory against images.

A turn passes several batches, as a loop over a data set does, inside one capture, whose entry and exit are timed with it.
`ratio` is plain / captured, 1 where recording is free. Both are timed in turns, by the clock and by CPU time, which other
processes disturb less; ratio and times are medians over turns. The memory row is the growth of a process's peak resident memory
(Linux's VmHWM), in MiB, between its first 1,000 images and its 60,000th: 0 up to the allocator's noise if nothing stays behind.
"""

import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.capture import capture
from analysis.peak import peak_mib
from analysis.reducers import Moments
from multires import pretrained

SHAPE = (64, 3, 32, 32)
CHANNELS = 24
SHIPPED = "unet-average"
BATCHES = 4
REPETITIONS = 40
IMAGES = (1_000, 60_000)
Row = dict[str, Any]
Ratio = tuple[float, float, float]


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
    """Yield the rows, each with `Moments` on every pooled site: a shipped U-Net, two nets of little else, and memory."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    small = f"{CHANNELS} channels"
    try:
        yield from _rows("capture of pooling modules", small, PooledByModules(), SHAPE, modules="pools.*")
        yield from _rows("capture of pooling functions", small, PooledByFunctions(), SHAPE, functions="avg_pool2d")
        unet, run = pretrained.load_unet(SHIPPED)
        shape = (SHAPE[0], run.model.channels, run.side, run.side)
        yield from _rows("capture of the shipped U-Net's poolings", SHIPPED, unet, shape, modules="pools.*")
        if peak_mib() is not None:
            yield _memory()
    finally:
        torch.set_num_threads(threads)


def paired(ours: Callable[[], Any], plain: Callable[[], Any], clocks: Sequence[Callable[[], float]]) -> list[Ratio]:
    """By each clock, the median over turns of plain / ours, and the median seconds of a call of each.

    Either goes first in every second turn. It begins with a call that is not timed: without it each would pay for the pages that
    the other gave back.
    """
    seconds: dict[Callable[[], Any], list[list[float]]] = {ours: [], plain: []}
    for turn in range(REPETITIONS):
        for call in (ours, plain) if turn % 2 else (plain, ours):
            call()
            start = [clock() for clock in clocks]
            call()
            seconds[call].append([clock() - began for clock, began in zip(clocks, start, strict=True)])
    median = statistics.median
    return [
        (median(b / a for a, b in zip(a_s, b_s, strict=True)), median(a_s), median(b_s))
        for a_s, b_s in zip(zip(*seconds[ours], strict=True), zip(*seconds[plain], strict=True), strict=True)
    ]


def _rows(case: str, what: str, net: nn.Module, shape: tuple[int, ...], **sites: str) -> Iterator[Row]:
    x = torch.rand(shape)

    def plain() -> None:
        for _ in range(BATCHES):
            net(x)

    def captured() -> None:
        with capture(net, reduce=Moments, **sites):  # type: ignore[arg-type]
            plain()

    name = f"{case}, {BATCHES} batches of {' x '.join(map(str, shape))}, {what}"
    with torch.no_grad():
        found = paired(captured, plain, [time.perf_counter, time.process_time])
    for kind, (ratio, ours_s, plain_s) in zip(("", ", CPU time"), found, strict=True):
        yield {"case": name + kind, "ratio": ratio, "ours_s": ours_s, "peers": {"plain forward": plain_s}}


PROBE = """
import sys, torch
from analysis.capture import capture
from analysis.peak import peak_mib
from analysis.reducers import Moments

few, many, reducer = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.AvgPool2d(2))
with torch.no_grad(), capture(net, "1", functions="avg_pool2d", **({} if reducer == "Keep" else {"reduce": Moments})):
    for done in range(500, many + 1, 500):
        net(torch.rand(500, 1, 28, 28))
        if done == few:
            before = peak_mib()
print(peak_mib() - before)
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

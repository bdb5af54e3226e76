"""`multires bench hvae`: training, evaluating and sampling HVAEs, the one of small colour images beside the plain reading of it.

Candidates take turns in one process, call by call, so that a machine whose speed drifts drifts for all of them; times are
medians and `ratio` is plain / ours. The allocator keeps what is freed, as in our training: in one process that helps plain too.
"""

import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from analysis.peak import peak_mib
from analysis.plain_vdvae import PlainVDVAE
from multires import bounds, memory
from multires.hvae import HVAE
from multires.hvae_configs import HVAE_PRESETS, HVAERun

THREADS = 2
COLOUR = HVAE_PRESETS["cifar10"]
RUNS = {name: HVAE_PRESETS[name] for name in ("mnist", "mnist-shared", "fashion-mnist", "digits", "natural")}
LEARNING_RATE = 1e-4
SECONDS_BESIDE, SECONDS_ALONE = 12.0, 3.0  # for a case with all its candidates
STEPS_IN_MEMORY = 3
Row = dict[str, Any]
Call = Callable[[], object]


class Work:
    """A network with an optimiser and one batch: what there is to time."""

    def __init__(self, run: HVAERun, net: HVAE | PlainVDVAE, fused: bool, device: str = "cpu") -> None:
        n = run.model.resolutions[0].size
        grey = torch.rand(run.training.batch, run.model.channels, n, n)
        self.images = bounds.prepared(grey, run.binarise, torch.Generator().manual_seed(0)).to(device)
        self.net, self.clip = net.to(device), run.training.clip
        self.optimizer = torch.optim.AdamW(net.parameters(), LEARNING_RATE, fused=fused or None)

    def loss(self) -> Tensor:
        """The forward pass."""
        return bounds.negative_elbo(self.net, (self.images,), self.net.dimensions)[0]

    def update(self) -> None:
        """What follows the backward pass."""
        nn.utils.clip_grad_norm_(self.net.parameters(), self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def train(self) -> None:
        """One training step."""
        self.loss().backward()
        self.update()

    def evaluate(self) -> None:
        """The forward pass without gradients."""
        with torch.no_grad():
            self.loss()

    def sample(self) -> None:
        """Draw as many images as the batch has."""
        with torch.no_grad():
            self.net.sample(len(self.images))


CASES = {"training step": Work.train, "evaluation": Work.evaluate, "sampling": Work.sample}


def ours(run: HVAERun, device: str = "cpu") -> Work:
    """Our network, trained as `multires.training` does."""
    return Work(run, HVAE(run.model), fused=True, device=device)


def plain(run: HVAERun, device: str = "cpu") -> Work:
    """The plain reading with torch's default optimiser."""
    return Work(run, PlainVDVAE(run.model), fused=False, device=device)


NETWORKS = {"ours": ours, "plain": plain}


def hvae_rows() -> Iterator[Row]:
    """Yield the rows: beside the plain reading, the parts of a step, what gave what, throughputs, memory, and a GPU if any."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    memory.keep_freed()
    try:
        yield from _beside_plain()
        yield from _parts()
        yield from _undone()
        yield from _throughputs()
        if peak_mib() is not None:
            yield from _peak_memory()
        if torch.cuda.is_available():
            yield from _accelerated("cuda")
    finally:
        torch.set_num_threads(threads)


def medians(candidates: dict[str, Call], seconds: float) -> dict[str, float]:
    """The median seconds of each candidate, called in turns, after one call of each that is not timed."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    gc.collect()
    for call in candidates.values():
        call()
    end = time.perf_counter() + seconds
    while not all(times.values()) or time.perf_counter() < end:
        for name, call in candidates.items():
            _wait()
            start = time.perf_counter()
            call()
            _wait()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _value(case: str, value: float, ours_s: float | None = None) -> Row:
    return {"case": case, "value": value, "ratio": None, "ours_s": ours_s, "peers": {}}


def _against(case: str, mine: Call, theirs: Call) -> Row:
    found = medians({"ours": mine, "plain": theirs}, SECONDS_BESIDE)
    return {
        "case": f"{case}, batch {COLOUR.training.batch}",
        "ratio": found["plain"] / found["ours"],
        "ours_s": found["ours"],
        "peers": {"plain": found["plain"]},
    }


def _beside_plain() -> Iterator[Row]:
    mine, theirs = ours(COLOUR), plain(COLOUR)
    for case, call in CASES.items():
        yield _against(f"{case}, colour", partial(call, mine), partial(call, theirs))


def _parts() -> Iterator[Row]:
    """The shares of a training step's time."""
    work, losses = ours(COLOUR), []
    parts: dict[str, Call] = {
        "forward": lambda: losses.append(work.loss()),
        "backward": lambda: losses.pop().backward(),
        "optimiser": work.update,
    }
    found = medians(parts, SECONDS_ALONE)
    for name, seconds in found.items():
        yield _value(f"training step, colour: {name}, %", 100 * seconds / sum(found.values()), seconds)


def _undone() -> Iterator[Row]:
    """The training step with one thing undone, over the step as it is."""
    work, unfused = ours(COLOUR), Work(COLOUR, HVAE(COLOUR.model), fused=False)
    with _contiguous():
        contiguous = ours(COLOUR)

    def contiguous_step() -> None:
        with _contiguous():
            contiguous.train()

    steps: dict[str, Call] = {"whole": work.train, "contiguous layout": contiguous_step, "optimiser not fused": unfused.train}
    found = medians(steps, SECONDS_BESIDE)
    whole = found.pop("whole")
    for name, seconds in found.items():
        yield _value(f"training step, colour: {name} / as it is", seconds / whole, seconds)


def _contiguous() -> Any:
    """The library asks torch for the name of its layout at each use: here it gets the other."""
    return mock.patch.object(torch, "channels_last", torch.contiguous_format)


def _throughputs() -> Iterator[Row]:
    for name, run in RUNS.items():
        work = ours(run)
        for case, call in CASES.items():
            seconds = medians({case: partial(call, work)}, SECONDS_ALONE)[case]
            yield _value(f"{name}: {case}, images/s, batch {len(work.images)}", len(work.images) / seconds, seconds)


def _peak_memory() -> Iterator[Row]:
    """Each case in a process of its own."""
    for case in CASES:
        for name in NETWORKS:
            yield _value(f"peak memory, colour: {case}, MiB above the built network, {name}", _alone(COLOUR, name, case))


def peak_of_training(run: HVAERun) -> float | None:
    """The most memory that training steps of a run take above its built network, in MiB; None where the system does not say."""
    return _alone(run, "ours", "training step") if peak_mib() is not None else None


def _alone(run: HVAERun, name: str, case: str) -> float:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_growth, run, name, case, THREADS).result()


def _growth(run: HVAERun, name: str, case: str, threads: int) -> float:
    torch.set_num_threads(threads)
    if name == "ours" and case == "training step":
        memory.keep_freed()  # as in our training, and nowhere else
    work = NETWORKS[name](run)
    before = peak_mib() or 0.0
    for _ in range(STEPS_IN_MEMORY):
        CASES[case](work)
    return (peak_mib() or 0.0) - before


def _accelerated(device: str) -> Iterator[Row]:
    """Training steps on a GPU: in float32, in bfloat16, and in bfloat16 with our cells compiled."""
    mine, theirs = ours(COLOUR, device), plain(COLOUR, device)

    def bfloat16(call: Call) -> Call:
        return torch.autocast(device, torch.bfloat16)(call)  # type: ignore[no-any-return]

    yield _against(f"training step, colour, {device}", mine.train, theirs.train)
    yield _against(f"training step, colour, {device}, bfloat16", bfloat16(mine.train), bfloat16(theirs.train))
    assert isinstance(mine.net, HVAE)
    with torch._dynamo.config.patch(recompile_limit=256):  # all cells are one piece of code to it
        for cell in mine.net.cells:
            cell.compile()
        yield _against(f"training step, colour, {device}, bfloat16, compiled cells", bfloat16(mine.train), bfloat16(theirs.train))

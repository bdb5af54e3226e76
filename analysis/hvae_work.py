"""HVAEs at work on one batch: a training step, an evaluation, a sampling, and what each takes in time and memory."""

import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from analysis.peak import peak_mib
from analysis.plain_vdvae import PlainVDVAE
from multires import bounds, memory
from multires.flat import flatten
from multires.hvae import HVAE
from multires.hvae_configs import HVAERun

THREADS = 2
SECONDS_ALONE = 3.0  # for a case
LEARNING_RATE = 1e-4
Call = Callable[[], object]


class Work:
    """A network with an optimiser and one batch: what there is to time."""

    def __init__(self, run: HVAERun, net: HVAE | PlainVDVAE, flat: bool, device: str = "cpu") -> None:
        n = run.model.resolutions[0].size
        grey = torch.rand(run.training.batch, run.model.channels, n, n)
        self.images = bounds.prepared(grey, run.binarise, torch.Generator().manual_seed(0)).to(device)
        self.net, self.clip, self.flat = net.to(device), run.training.clip, flat
        self.parameters = flatten(self.net) if flat else list(net.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, LEARNING_RATE, fused=flat or None)

    def compile(self, **options: bool) -> None:
        """Compile all of it by Inductor with these options; noise stays torch's own, which Inductor draws slowly on a CPU."""
        chosen: dict[str, Any] = {"fallback_random": True, **options}
        self.net.compile(options=chosen)
        self.net.sample = torch.compile(self.net.sample, options=chosen)  # type: ignore[method-assign]

    def loss(self) -> Tensor:
        """The forward pass."""
        return bounds.negative_elbo(self.net, (self.images,), self.net.dimensions)[0]

    def update(self) -> None:
        """What follows the backward pass."""
        nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=not self.flat)

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
    return Work(run, HVAE(run.model), flat=True, device=device)


def plain(run: HVAERun, device: str = "cpu") -> Work:
    """The plain reading with torch's default optimiser."""
    return Work(run, PlainVDVAE(run.model), flat=False, device=device)


NETWORKS = {"ours": ours, "plain": plain}


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
    if torch.cuda.is_initialized():  # asking for more would start it, which takes memory
        torch.cuda.synchronize()


def in_turns(runs: dict[str, HVAERun], case: str, device: str = "cpu") -> dict[str, float]:
    """The median seconds of a case for each run's network, in one process on `THREADS` threads, one call of each after another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        calls: dict[str, Call] = {name: partial(CASES[case], ours(run, device)) for name, run in runs.items()}
        return medians(calls, SECONDS_ALONE * len(calls)) if calls else {}
    finally:
        torch.set_num_threads(threads)


def alone(run: HVAERun, case: str, name: str = "ours", device: str = "cpu") -> tuple[float, float | None]:
    """The median seconds of a case in a process of its own, and the most memory in MiB that it takes above the built network.

    On `THREADS` threads; the memory is that of the GPU where the network is on one, and None where the system does not tell it.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measured, run, case, name, THREADS, SECONDS_ALONE, device).result()


def _measured(run: HVAERun, case: str, name: str, threads: int, seconds: float, device: str) -> tuple[float, float | None]:
    torch.set_num_threads(threads)
    if name == "ours" and case == "training step":
        memory.keep_freed()  # as in our training, and nowhere else
    work = NETWORKS[name](run, device)
    before = _peak_mib(device)
    median = medians({case: partial(CASES[case], work)}, seconds)[case]
    after = _peak_mib(device)
    return median, None if before is None or after is None else after - before


def _peak_mib(device: str) -> float | None:
    return torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else peak_mib()

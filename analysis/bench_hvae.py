"""`multires bench hvae`: training, evaluating and sampling HVAEs, the one of small colour images beside the plain reading of it.

Candidates take turns in one process, call by call, so that a machine whose speed drifts drifts for all of them; times are
medians and `ratio` is plain / ours. There the allocator keeps what is freed, as in our training, for all candidates; for networks
in a process of their own it does so in training alone.
"""

import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

import torch

from analysis.hvae_work import CASES, NETWORKS, SECONDS_ALONE, THREADS, Call, Work, alone, medians, ours, plain
from analysis.undone import BY_TENSOR, IN_SAMPLING, UNDONE, within
from multires import memory, vdvae
from multires.configs import TrainingConfig
from multires.hvae import HVAE
from multires.hvae_configs import HVAE_PRESETS, HVAERun

COLOUR = HVAE_PRESETS["cifar10"]
RUNS = HVAE_PRESETS
PUBLISHED = {f"vdvae {name}": HVAERun(config, TrainingConfig(batch=1)) for name, config in vdvae.PRESETS.items()}
COMPILED = {"": None, ", compiled": {}, ", CUDA graphs": {"triton.cudagraphs": True}}
"""How a GPU runs ours: as it is, or compiled with options of Inductor."""
SECONDS_BESIDE = 12.0  # for a case with all its candidates
Row = dict[str, Any]


def hvae_rows() -> Iterator[Row]:
    """Yield the rows: beside the plain reading, the parts of a step, what gave what, throughputs, memory, and a GPU if any."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    memory.keep_freed()
    try:
        yield from _beside_plain()
        yield from _compiled()
        yield from _parts()
        yield from _undone()
        yield from _memory_beside_plain()
        yield from _presets("cpu")
        if torch.cuda.is_available():
            yield from _presets("cuda")
            yield from _accelerated("cuda")
    finally:
        torch.set_num_threads(threads)


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


def _compiled() -> Iterator[Row]:
    """The same with our network compiled whole, which takes a C++ compiler, and what compiling takes where nothing is cached."""
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        return
    from torch._inductor.utils import fresh_cache  # with all of Inductor

    mine, theirs = ours(COLOUR), plain(COLOUR)
    mine.compile()
    with fresh_cache():
        for case, call in CASES.items():
            start = time.perf_counter()
            call(mine)
            yield _value(f"compiling, colour: {case}, s", time.perf_counter() - start)
            yield _against(f"{case}, colour, compiled", partial(call, mine), partial(call, theirs))


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
    """Training and sampling with one thing undone, over both as they are."""
    for case, names in (("training step", tuple(UNDONE)), ("sampling", IN_SAMPLING)):
        calls: dict[str, Call] = {"whole": partial(CASES[case], ours(COLOUR))}
        for name in names:
            with UNDONE[name]():
                work = ours(COLOUR)
            calls[name] = within(UNDONE[name], partial(CASES[case], work))
        if case == "training step":
            calls[BY_TENSOR] = Work(COLOUR, HVAE(COLOUR.model), flat=False).train
        found = medians(calls, SECONDS_BESIDE)
        whole = found.pop("whole")
        for name, seconds in found.items():
            yield _value(f"{case}, colour: {name} / as it is", seconds / whole, seconds)


def _memory_beside_plain() -> Iterator[Row]:
    for case in CASES:
        for name in NETWORKS:
            _, mib = alone(COLOUR, case, name)
            if mib is not None:
                yield _value(f"peak memory, colour: {case}, MiB above the built network, {name}", mib)


def _presets(device: str) -> Iterator[Row]:
    """Throughput and peak memory of all that can be trained by name, and of the published networks, one image at a time.

    What the system ends for want of memory has no row.
    """
    where = "" if device == "cpu" else f" on {device}"
    for name, run in (RUNS | PUBLISHED).items():
        for each in CASES:
            case = each + where
            try:
                seconds, mib = alone(run, each, device=device)
            except BrokenProcessPool:
                continue
            yield _value(f"{name}: {case}, images/s, batch {run.training.batch}", run.training.batch / seconds, seconds)
            if mib is not None:
                yield _value(f"{name}: {case}, MiB above the built network", mib)


def _accelerated(device: str) -> Iterator[Row]:
    """On a GPU: ours in float32 and bfloat16, as it is and compiled, over the plain reading in eager float32."""
    theirs = plain(COLOUR, device)
    bfloat16 = torch.autocast(device, torch.bfloat16)
    for how, options in COMPILED.items():
        mine = ours(COLOUR, device)
        if options is not None:
            mine.compile(**options)
        for case, call in CASES.items():
            yield _against(f"{case}, colour, {device}{how}", partial(call, mine), partial(call, theirs))
            yield _against(f"{case}, colour, {device}, bfloat16{how}", bfloat16(partial(call, mine)), partial(call, theirs))

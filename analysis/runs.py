"""A training run in a folder: run.json says what it is, then come its log, its checkpoints, and the weights with their card."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState

from analysis import hvae_runs, sheets, unet_runs
from analysis.provenance import commit, versions
from analysis.trainee import Trainee
from multires import checkpoints, files, plain, pretrained, training
from multires.configs import UNetRun
from multires.errors import MultiresError
from multires.hvae_configs import HVAERun

CONFIG, WEIGHTS, SOURCES = "run.json", "weights.safetensors", "sources.jsonl"
FILES = (CONFIG, SOURCES, training.LOG, WEIGHTS, str(Path(WEIGHTS).with_suffix(".json")))
"""What a run consists of, besides its checkpoints; a sheet may be drawn again."""
Run = UNetRun | HVAERun
KINDS: dict[str, type[Run]] = {"unet": UNetRun, "hvae": HVAERun}


def kind(run: Run) -> str:
    """What the run trains: 'unet' or 'hvae'."""
    return next(name for name, of in KINDS.items() if isinstance(run, of))


def begin(run: Run, directory: Path) -> Run:
    """Put run.json into a folder that holds nothing of a run yet; the number of channels comes from the data."""
    if (directory / CONFIG).exists():
        raise MultiresError(f"{directory}: holds a run already; go on with --resume {directory}, or name another --out")
    # what does not fit has to fail before anything is written
    settled: Run = unet_runs.settle(run) if isinstance(run, UNetRun) else hvae_runs.settle(run)
    _require_writable(directory)
    for name in (*FILES, training.CHECKPOINTS, sheets.NAME):
        if (directory / name).exists():
            raise MultiresError(f"{directory}: holds {name} of something else already; name another --out")
    files.write_json(directory / CONFIG, {"kind": kind(run), **plain.to_json(settled)})
    return settled


def _require_writable(directory: Path) -> None:
    """Raise MultiresError where anything that a run writes would be in something's way, now and not hours later."""
    for name in (*FILES, sheets.NAME):
        files.require_writable(directory / name)
    if (directory / training.CHECKPOINTS).is_file():
        raise MultiresError(
            f"{directory / training.CHECKPOINTS}: is a file; remove it, a folder of that name is to hold checkpoints"
        )


def require_apart(targets: Sequence[Path], weights: str, others: Sequence[Path] = ()) -> None:
    """Raise MultiresError for a file that cannot be written, is named twice, or is one of others or of what `weights` are."""
    path = pretrained.path_of(weights).resolve()
    theirs = {path, path.with_suffix(".json"), *(path.parent / name for name in FILES)}
    taken = {each.resolve() for each in others}
    for target in targets:
        files.require_writable(target)
        if target.resolve() in theirs:
            raise MultiresError(f"{target}: belongs to the weights that are read; name another file")
        if target.resolve() in taken:
            raise MultiresError(f"{target}: is to be written twice; name another file")
        taken.add(target.resolve())


def read(directory: Path) -> Run:
    """The run that a folder holds."""
    values = files.read_json(directory / CONFIG)
    of = KINDS.get(str(values.pop("kind", None))) if isinstance(values, dict) else None
    if of is None:
        raise MultiresError(f"{directory / CONFIG}: not a run of {' or '.join(KINDS)}")
    return plain.from_json(of, values, str(directory / CONFIG))


def trainee(run: Run, directory: Path) -> Trainee:
    """What the loop needs to train a run."""
    return unet_runs.trainee(run, directory) if isinstance(run, UNetRun) else hvae_runs.trainee(run, directory)


def go(run: Run, directory: Path, tensorboard: bool = False) -> Iterator[training.Record]:
    """Train the run of a folder from where it is, and write the averaged weights and their card at its end."""
    _require_writable(directory)
    first = training.processes().is_main_process
    alone = files.held(directory / CONFIG, "another process trains there; wait for it, or stop it first")
    with alone if first else contextlib.nullcontext():
        yield from _trained(run, directory, tensorboard, first)


def _trained(run: Run, directory: Path, tensorboard: bool, first: bool) -> Iterator[training.Record]:
    it = trainee(run, directory)
    told = files.read_json(directory / CONFIG)  # as it was written: a field that was added later, with a default, changes nothing
    identity = json.dumps({name: value for name, value in told.items() if name != "kind"}, sort_keys=True)
    for record in training.fit(it.model, it.loss, it.batches, run.training, directory, it.evaluate, tensorboard, identity):
        if isinstance(record, training.Started) and first and record.step < run.training.steps:
            files.append_json(directory / SOURCES, {"step": record.step, "commit": commit()})
        if isinstance(record, training.Finished) and first:
            about = card(run, record, sources(directory)) | it.describe(record.model)
            checkpoints.write_weights(directory / WEIGHTS, record.model, about)
        yield record


def sources(directory: Path) -> dict[str, int]:
    """The commits that a run was trained with, and the step that each first took up the training at."""
    found: dict[str, int] = {}
    path = directory / SOURCES
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError, TypeError, KeyError):  # a line cut short when the machine stopped
            source = json.loads(line)
            found.setdefault(source["commit"], source["step"])
    return found


def card(run: Run, finished: training.Finished, commits: dict[str, int]) -> dict[str, Any]:
    """What shipped weights are and where they come from."""
    device, mixed = next(finished.model.parameters()).device, AcceleratorState().mixed_precision
    return {
        "kind": kind(run),
        "run": plain.to_json(run),
        "data": run.data,
        "seed": run.training.seed,
        "parameters": sum(parameter.numel() for parameter in finished.model.parameters()),
        "steps": finished.step,
        "seconds": round(finished.seconds, 1),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "threads": torch.get_num_threads(),
        "precision": "float32" if mixed == "no" else mixed,
        "commit": next(iter(commits)) if len(commits) == 1 else commits,
        "versions": versions("multires-toolkit", "torch"),
    }

"""A training run in a folder: run.json says what it is, then come its log, its checkpoints, and the weights with their card."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from analysis import filters
from multires import checkpoints, data, files, plain, tasks, training
from multires.configs import UNetRun
from multires.errors import MultiresError
from multires.patches import Patches, split
from multires.unet import Block, UNet

CONFIG, WEIGHTS = "run.json", "weights.safetensors"
TEST_TILES, TEST_BATCH, TEST_SEED = 384, 64, 1_000_003


def begin(run: UNetRun, directory: Path) -> UNetRun:
    """Put run.json into a folder that holds no run yet; the number of channels comes from the data."""
    if (directory / CONFIG).exists():
        raise MultiresError(f"{directory}: holds a run already; go on with --resume {directory}, or name another --out")
    if isinstance(run.model.pooling, str):
        run = replace(run, model=replace(run.model, pooling=filters.pooling(run.model.pooling)))
    train, _ = split(data.load(run.data), run.side)
    run = replace(run, model=replace(run.model, channels=train.channels))
    blank = torch.zeros(1, train.channels, run.side, run.side)  # what does not fit has to fail before anything is written
    UNet(run.model)(tasks.pair(run.task, blank, torch.Generator())[0])
    files.require_writable(directory / CONFIG)
    files.write_json(directory / CONFIG, {"kind": "unet", **plain.to_json(run)})
    return run


def read(directory: Path) -> UNetRun:
    """The run that a folder holds."""
    values = files.read_json(directory / CONFIG)
    if not isinstance(values, dict) or values.pop("kind", None) != "unet":
        raise MultiresError(f"{directory / CONFIG}: not the run of a U-Net")
    return plain.from_json(UNetRun, values, str(directory / CONFIG))


def fresh(run: UNetRun, random_blocks: bool = False) -> UNet:
    """The network of a run before its first step, when blocks are the identity; or with all of its weights drawn at random."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.training.seed)
        net = UNet(run.model)
        for block in net.modules():
            if random_blocks and isinstance(block, Block):
                block.last.reset_parameters()
        return net


def loss_on(net: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """The mean squared error of a network over all inputs, batch by batch."""
    with torch.inference_mode():
        device = next(net.parameters()).device
        pairs = zip(inputs.split(TEST_BATCH), targets.split(TEST_BATCH), strict=True)
        total = sum(float((net(x.to(device)).cpu() - y).double().square().sum()) for x, y in pairs)
    return total / targets.numel()


def batch_of(step: int, run: UNetRun, patches: Patches) -> tuple[Tensor, Tensor]:
    """The global batch of a step: it depends on the run's seed and the step alone."""
    images = patches.batch(run.training.batch, run.training.seed, step)
    generator = torch.Generator().manual_seed((run.training.seed + 1) * 1_000_000_007 + step)
    return tasks.pair(run.task, images, generator)


def go(run: UNetRun, directory: Path, tensorboard: bool = False) -> Iterator[training.Record]:
    """Train the run of a folder from where it is, and write the averaged weights and their card at its end."""
    train, test = split(data.load(run.data), run.side)
    inputs, targets = tasks.pair(run.task, test.tiles(TEST_TILES), torch.Generator().manual_seed(TEST_SEED))
    evaluate = partial(loss_on, inputs=inputs, targets=targets)
    net = fresh(run)
    batches = partial(batch_of, run=run, patches=train)
    for record in training.fit(net, tasks.squared_distance, batches, run.training, directory, evaluate, tensorboard):
        if isinstance(record, training.Finished) and training.processes().is_main_process:
            checkpoints.write_weights(directory / WEIGHTS, record.model, card(run, record, evaluate(record.model)))
        yield record


def card(run: UNetRun, finished: training.Finished, test_loss: float) -> dict[str, Any]:
    """What shipped weights are and where they come from."""
    device = next(finished.model.parameters()).device
    return {
        "kind": "unet",
        "run": plain.to_json(run),
        "pooling": filters.label(run.model.pooling),
        "data": run.data,
        "seed": run.training.seed,
        "parameters": sum(parameter.numel() for parameter in finished.model.parameters()),
        "steps": finished.step,
        "seconds": round(finished.seconds, 1),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "test_loss": test_loss,
        "commit": commit(),
        "versions": {name: version(name) for name in ("multires-toolkit", "torch")},
    }


def commit() -> str:
    """The commit of the source that runs, with '-dirty' where files differ from it; 'unknown' outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"

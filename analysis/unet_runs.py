"""What a U-Net's training run consists of: its network, batches of its task, and its loss on held-out patches."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from analysis import filters
from analysis.trainee import COPIES, Trainee
from multires import data, memory, tasks
from multires.configs import UNetRun
from multires.errors import MultiresError
from multires.patches import Patches, split
from multires.unet import Block, UNet, require_room

TEST_TILES, TEST_BATCH, TEST_SEED = 384, 64, 1_000_003


def settle(run: UNetRun) -> UNetRun:
    """The run with the taps of its pooling and the channels of its data; raises MultiresError for what does not fit."""
    if run.model.dimension != 2:
        raise MultiresError(f"dimension = {run.model.dimension}: trainings are on images, which have 2 spatial axes")
    if isinstance(run.model.pooling, str):
        run = replace(run, model=replace(run.model, pooling=filters.pooling(run.model.pooling)))
    train, _ = split(data.load(run.data), run.side)
    run = replace(run, model=replace(run.model, channels=train.channels))
    require_room(run.model, COPIES)
    blank = torch.zeros(1, train.channels, run.side, run.side)
    with torch.device("meta"):  # shapes alone
        net = UNet(run.model)
    net(tasks.pair(run.task, blank, torch.Generator())[0].to("meta"))
    memory.require(f"batch = {run.training.batch}", 2 * run.training.batch * blank.numel())  # inputs and targets
    return run


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


def trainee(run: UNetRun, directory: Path) -> Trainee:
    """What the loop needs to train a run."""
    train, test = split(data.load(run.data), run.side)
    inputs, targets = tasks.pair(run.task, test.tiles(TEST_TILES), torch.Generator().manual_seed(TEST_SEED))
    evaluate = partial(loss_on, inputs=inputs, targets=targets)

    def describe(net: nn.Module) -> dict[str, Any]:
        return {"pooling": filters.label(run.model.pooling), "test_loss": evaluate(net)}

    return Trainee(fresh(run), tasks.squared_distance, partial(batch_of, run=run, patches=train), evaluate, describe)

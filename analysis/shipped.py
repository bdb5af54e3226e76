"""What the claims about trained networks are measured on: the shipped weights, and patches of the images asked for."""

from functools import cache

import torch
from torch import Tensor

from analysis import unet_runs
from analysis.evidence import Context, Skipped
from multires import pretrained, tasks
from multires.configs import UNetRun
from multires.errors import MultiresError
from multires.patches import Patches, split
from multires.unet import UNet

FIT, HELD = 384, 192
FEWEST = 16  # an interval over fewer images says nothing


@cache
def network(pooling: str) -> tuple[UNet, UNetRun]:
    """The shipped U-Net with this pooling, and its run."""
    name = f"unet-{pooling}"
    if name not in pretrained.names():
        raise Skipped(f"no shipped weights {name}; multires study unet-basis --ship multires/weights trains them")
    return pretrained.load_unet(name)


def untrained(pooling: str) -> UNet:
    """The same U-Net as it was before training."""
    return unet_runs.fresh(network(pooling)[1])


def samples(patches: tuple[Patches, Patches], seed: int, fit_on: int = FIT, score_on: int = HELD) -> tuple[Tensor, Tensor]:
    """Clean patches to fit read-outs on, and others, which share no pixel with them, to score on: (image, 1, side, side).

    Colour channels count as images of their own.
    """
    train, held_out = patches
    tiles = train.tiles(wanted := -(-fit_on // train.channels))
    if len(tiles) < wanted:
        tiles = torch.cat([tiles, train.batch(wanted - len(tiles), seed, 0)])
    fit, held = (x.flatten(0, 1)[:, None] for x in (tiles, held_out.tiles(-(-score_on // train.channels))))
    return fit[:fit_on], held[:score_on]


Pair = tuple[Tensor, Tensor]


def pairs(context: Context, run: UNetRun, fit_on: int = FIT, score_on: int = HELD) -> tuple[Pair, Pair]:
    """(inputs, targets) of the network's task, to fit on and to score on."""
    try:
        patches = split(context.images, run.side)
    except MultiresError as error:
        raise Skipped(str(error)) from None
    fit, held = samples(patches, context.seed, fit_on, score_on)
    varying = min(len(x[x.flatten(1).amax(1) > x.flatten(1).amin(1)]) for x in (fit, held))
    if varying < FEWEST:  # where nothing varies, only the noise of the task would be measured
        raise Skipped(
            f"{context.images.name}: {varying} patches of {run.side} x {run.side} to fit or test on that are not constant;"
            f" {FEWEST} are the least"
        )
    generator = torch.Generator().manual_seed(context.seed)
    return tasks.pair(run.task, fit, generator), tasks.pair(run.task, held, generator)

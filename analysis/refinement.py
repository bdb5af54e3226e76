r"""Time refined: a cell that takes its r steps at a resolution as r' steps of length r / r', over the same time.

The drift of a step is as long as the step, its noise as the root of that, and so is the prior that the KL is taken to. A cell that
has learned a law of motion in time, rather than r moves, gives nearly the same likelihood for r' near r. The ELBOs that are
compared share their noise, but for the steps that only one of them takes: what is left is what the steps do.

There is no limit of ever more steps: where prior and posterior differ in sigma, a part of each step's KL does not shrink with its
length, and as r' grows the ELBO falls without end.

Source: arXiv 2301.08187, section 4 (HVAEs with shared weights as discretised diffusions).
"""

import copy
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from analysis import reference
from analysis.inference import BATCH, Arrays, mean
from multires.hvae import HVAE, Moment
from multires.hvae_configs import Resolution


def refined(hvae: HVAE, resolution: int, count: int, h: float | None = None) -> HVAE:
    """The same network with `count` steps at a resolution, of length r / count, or of length h where it is given.

    Step k is taken by the cell of step floor(k r / count); `resolution` is an index among those of the configuration.
    """
    taken = [moment for moment in hvae.timetable if moment.resolution == resolution]
    length = len(taken) / count if h is None else h
    new = [
        Moment(
            taken[0].time + k * length / hvae.config.steps,
            resolution,
            taken[k * len(taken) // count].cell,
            length,
        )
        for k in range(count)
    ]
    before = [moment for moment in hvae.timetable if moment.resolution > resolution]
    after = [moment for moment in hvae.timetable if moment.resolution < resolution]
    other = copy.copy(hvae)
    other.timetable = [*before, *new, *after]
    return other


@torch.no_grad()
def elbo(hvae: HVAE, images: Tensor, seed: int) -> Tensor:
    """The ELBO of each image in nats, shape (images,), on noise that refined networks share."""
    found, weight = [], next(hvae.parameters())
    for number, part in enumerate(images.split(BATCH)):
        x = part.to(weight.device)
        noise = [eps.to(weight.device) for eps in reference.noises(hvae, len(x), seed + number, weight.dtype)]
        kl = torch.zeros(len(x), device=weight.device, dtype=weight.dtype)
        for step in hvae.integrate(len(x), hvae.encode(x), noise=noise):
            kl += step.kl()
        found.append(-(hvae.nll(x, step.state) + kl).cpu())
    return torch.cat(found)


def shared(hvae: HVAE) -> list[int]:
    """The resolutions, by index, where one cell takes two or more steps, from the coarsest."""
    pairs = pairwise((moment.resolution, moment.cell) for moment in hvae.timetable)
    return list(dict.fromkeys(before[0] for before, after in pairs if before == after))


def counts(steps: int) -> list[int]:
    """The numbers of steps that a curve is drawn through: one fewer, as many, one more, twice as many."""
    return [steps - 1, steps, steps + 1, 2 * steps]


def arrays(resolution: Resolution, label: str, curve: dict[int, Tensor], whole: Tensor) -> Arrays:
    """What the figure draws of ELBOs image by image: r, r', and the mean change from `whole` with its interval, paired by image."""
    size, changes = resolution.size, [mean(elbo - whole) for elbo in curve.values()]
    return {
        "elbo": mean(whole),
        f"r {size}": np.array(resolution.steps),
        f"{label} {size} counts": np.array(list(curve)),
        f"{label} {size} change": np.stack(changes),
    }

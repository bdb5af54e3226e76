r"""What a trained HVAE does with test images: one pass of inference over all of them, which many readers look at.

The first half of the images is there to fit read-outs on, the second half to score them on. Readers keep sums, and a few numbers
an image, so that memory does not grow with states.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional

from multires.cells import Step
from multires.hvae import HVAE

BATCH = 128
LEVEL = 0.95
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Inferred:
    """A batch of images, what the decoder did with latents from their posterior, and the image it came to."""

    images: Tensor
    steps: list[Step]
    decoded: Tensor
    """The mean image of the likelihood at the last state, framed as `framed` does."""
    nll: Tensor
    """Minus the log likelihood at the last state in nats, of shape (batch,)."""
    held_out: bool
    """Whether the images are of the second half, on which read-outs are scored."""


class Reader(Protocol):
    """What looks at every batch and says in the end what it found."""

    def update(self, batch: Inferred) -> None:
        """Look at a batch; those to fit on come before those to score on."""

    def found(self) -> Arrays:
        """What all batches together come to; an estimate with its interval is (estimate, low, high)."""


def framed(hvae: HVAE, images: Tensor) -> Tensor:
    """Images with zeros where the data have only padding: what a decoder puts there is not scored, so it is arbitrary."""
    return functional.pad(hvae.crop(images), [hvae.config.border] * 4)


@torch.no_grad()
def read(hvae: HVAE, images: Tensor, seed: int, readers: Sequence[Reader]) -> Iterator[int]:
    """Show the inference of all images, batch after batch, to readers; yields how many images were shown."""
    generator = torch.Generator().manual_seed(seed)
    device = next(hvae.parameters()).device
    halves = images.tensor_split(2)
    for held_out, half in enumerate(halves):
        for part in half.split(BATCH):
            x = part.to(device)
            steps = list(hvae.integrate(len(x), hvae.encode(x), generator=generator))
            last = steps[-1].state
            decoded = framed(hvae, hvae.likelihood.mean(hvae.decode(last)))
            batch = Inferred(x, steps, decoded, hvae.nll(x, last), bool(held_out))
            for reader in readers:
                reader.update(batch)
            yield len(x)


def mean(values: Tensor, level: float = LEVEL) -> np.ndarray:
    """(Mean, low, high): the mean of values of shape (images,), two or more, and its t-interval."""
    x = values.double()
    half = float(stats.t.ppf((1 + level) / 2, len(x) - 1) * x.std() / math.sqrt(len(x)))
    return float(x.mean()) + np.array([0, -half, half])


def ratio(x: Tensor, y: Tensor, level: float = LEVEL, *, paired: bool = True) -> np.ndarray:
    r"""(Ratio, low, high): $\bar x / \bar y$ of values of shape (images,), of the same images where paired; to first order."""
    x, unit = x.double(), float(y.double().mean())
    value = float(x.mean()) / unit
    if paired:
        return value + mean((x - value * y.double()) / unit, level)
    ends = [mean(x / unit, level), mean(value * y / unit, level)]
    half = math.hypot(*(end[2] - end[0] for end in ends))
    return value + np.array([0, -half, half])


class Nats:
    """The ELBO, and the KL of each step and of each resolution, in nats."""

    def __init__(self, hvae: HVAE) -> None:
        self._sides = np.array(sides(hvae))
        self._kl: list[Tensor] = []
        self._nll: list[Tensor] = []

    def update(self, batch: Inferred) -> None:
        """Take the KL of each step."""
        self._kl.append(torch.stack([step.kl() for step in batch.steps], 1).cpu())
        self._nll.append(batch.nll.cpu())

    @property
    def elbo(self) -> Tensor:
        """Image by image, in their order."""
        return -torch.cat(self._nll) - torch.cat(self._kl).sum(1)

    def found(self) -> Arrays:
        """The ELBO with its interval; the KL of each step and of all steps at each resolution, means over images."""
        kl = torch.cat(self._kl).double().mean(0).numpy()
        by_resolution = [kl[self._sides == side].sum() for side in dict.fromkeys(self._sides.tolist())]
        return {"elbo": mean(self.elbo), "kl": kl, "kl by resolution": np.array(by_resolution)}


def sides(hvae: HVAE) -> list[int]:
    """Cells a side at each step."""
    return [hvae.config.resolutions[moment.resolution].size for moment in hvae.timetable]

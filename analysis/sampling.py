r"""Sampling in parts: the first K latents from an image, the others drawn; at a temperature; and how likely samples are.

With K = 0 a sample, with all latents a reconstruction. One seed gives all K the same noise, so what differs is what the image told.
The ELBO of samples is that of drawn pixels, as the ELBO of images is.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from analysis.inference import BATCH, framed
from multires import bounds
from multires.hvae import HVAE

MOST = 12
DRAWS = 10
TEMPERATURES = np.round(np.arange(0.1, 1.05, 0.1), 1)


def counts(hvae: HVAE) -> list[int]:
    """K from 0 to all steps: every one, or MOST + 1 of them spread evenly."""
    n = hvae.config.steps
    return sorted({round(k) for k in np.linspace(0, n, min(n, MOST) + 1)})


@torch.no_grad()
def given_first(hvae: HVAE, images: Tensor, seed: int) -> Iterator[Tensor]:
    """The mean image decoded with the first K latents inferred from images, for each K of `counts`: (batch, channel, n, n)."""
    x = images.to(next(hvae.parameters()).device)
    generator = torch.Generator().manual_seed(seed)
    inferred = [step.latent for step in hvae.integrate(len(x), hvae.encode(x), generator=generator)]
    for count in counts(hvae):
        generator = torch.Generator().manual_seed(seed + 1)
        *_, last = hvae.integrate(len(images), latents=inferred[:count], generator=generator)
        yield framed(hvae, hvae.likelihood.mean(hvae.decode(last.state)))


def errors(hvae: HVAE, images: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    r"""$\|x_K - x\|$ and, as the control, $\|x_K - y\|$ in $L^2$ over the scored pixels, each of shape (images, K).

    x_K is decoded with the first K latents of x, and y is the image after x.
    """
    found = []
    for part, other, of_part in _with_next(images, seed):
        given = _stacked(hvae, given_first(hvae, part, of_part))
        found.append([_distances(hvae, given, x) for x in (part, other)])
    own, of_others = (torch.cat(parts) for parts in zip(*found, strict=True))
    return own, of_others


def _with_next(images: Tensor, seed: int) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Batches of images, those after each of them, and a seed of their own: two draws take it and the next one."""
    for number, (part, other) in enumerate(zip(images.split(BATCH), images.roll(-1, 0).split(BATCH), strict=True)):
        yield part, other, seed + 2 * number


def _stacked(hvae: HVAE, given: Iterator[Tensor]) -> Tensor:
    return torch.stack([hvae.crop(x).cpu() for x in given], 1)


def _distances(hvae: HVAE, given: Tensor, images: Tensor) -> Tensor:
    return (given - hvae.crop(images)[:, None]).square().flatten(2).mean(2).sqrt()


@torch.no_grad()
def drawn(hvae: HVAE, count: int, temperature: float, seed: int) -> Tensor:
    """Samples, pixels drawn, with zeros where the data have only padding: (count, channel, n, n)."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [min(BATCH, count - start) for start in range(0, count, BATCH)]
    return torch.cat([framed(hvae, hvae.sample(size, temperature=temperature, generator=generator)).cpu() for size in sizes])


@torch.no_grad()
def redrawn(hvae: HVAE, images: Tensor, seed: int) -> Tensor:
    """Images as samples are, pixels drawn, but decoded from their own latents, framed as they are: (images, channel, n, n)."""
    generator, found = torch.Generator().manual_seed(seed), []
    for part in images.split(BATCH):
        x = part.to(next(hvae.parameters()).device)
        *_, last = hvae.integrate(len(x), hvae.encode(x), generator=generator)
        found.append(framed(hvae, hvae.likelihood.sample(hvae.decode(last.state), generator)).cpu())
    return torch.cat(found)


@torch.no_grad()
def at_temperatures(hvae: HVAE, columns: int, seed: int) -> Tensor:
    """Mean images of samples at each of TEMPERATURES on the same noise: (temperature, column, channel, n, n)."""
    rows = []
    for temperature in TEMPERATURES:
        *_, last = hvae.integrate(columns, temperature=float(temperature), generator=torch.Generator().manual_seed(seed))
        rows.append(framed(hvae, hvae.likelihood.mean(hvae.decode(last.state))).cpu())
    return torch.stack(rows)


def sheets(hvae: HVAE, images: Tensor, columns: int, seed: int) -> dict[str, np.ndarray]:
    """What the figure of sampling shows: images, what their first K latents give, samples at each temperature."""
    given = _stacked(hvae, given_first(hvae, images, seed))
    samples = at_temperatures(hvae, columns, seed)
    return {
        "sheet images": hvae.crop(images).cpu().numpy(),
        "sheet given": given.numpy(),
        "sheet temperatures": hvae.crop(samples).numpy(),
    }


def elbo(hvae: HVAE, images: Tensor, seed: int) -> Tensor:
    """The ELBO of each image in nats, shape (images,)."""
    return torch.cat([part.elbo for part in bounds.bounds(hvae, images, 0, seed)])


def looseness(hvae: HVAE, images: Tensor, seed: int) -> Tensor:
    r"""$L_K - \mathrm{ELBO}$ of each image in nats, K = DRAWS, shape (images,): by how much more draws raise the bound."""
    return torch.cat(
        [part.importance - part.elbo for part in bounds.bounds(hvae, images, DRAWS, seed) if part.importance is not None]
    )


def elbo_of_samples(hvae: HVAE, count: int, temperature: float, seed: int) -> Tensor:
    """The ELBO of each of so many samples in nats, inferred with noise that is not the one they were drawn with."""
    return elbo(hvae, drawn(hvae, count, temperature, seed), seed + 1)


def elbo_of_redrawn(hvae: HVAE, images: Tensor, rounds: int, seed: int) -> Tensor:
    """The ELBO of `redrawn` in nats, of each image the mean over so many rounds, shape (images,)."""
    seeds = range(seed, seed + 2 * rounds, 2)
    return torch.stack([elbo(hvae, redrawn(hvae, images, each + 1), each) for each in seeds]).mean(0)

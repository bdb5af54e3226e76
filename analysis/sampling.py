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
TEMPERATURES = np.round(np.arange(0.1, 1.05, 0.1), 1)


def counts(hvae: HVAE) -> list[int]:
    """K from 0 to all steps: every one, or MOST + 1 of them spread evenly."""
    n = hvae.config.steps
    return sorted({round(k) for k in np.linspace(0, n, min(n, MOST) + 1)})


@torch.no_grad()
def given_first(hvae: HVAE, images: Tensor, seed: int) -> Iterator[Tensor]:
    """The mean image decoded with the first K latents inferred from images, for each K of `counts`: (batch, channel, n, n)."""
    x = images.to(next(hvae.parameters()).device)
    inferred = [step.latent for step in hvae.integrate(len(x), hvae.encode(x), generator=torch.Generator().manual_seed(seed))]
    for count in counts(hvae):
        generator = torch.Generator().manual_seed(seed + 1)
        *_, last = hvae.integrate(len(x), latents=inferred[:count], generator=generator)
        yield framed(hvae, hvae.likelihood.mean(hvae.decode(last.state)))


def errors(hvae: HVAE, images: Tensor, seed: int, permuted: bool = False) -> Tensor:
    r"""$\|x_K - x\|$ in $L^2$ over the scored pixels, of shape (images, K), x_K decoded with the first K latents of x.

    Permuted, as the control: with those of the image before it.
    """
    found = []
    told = images.roll(1, 0) if permuted else images
    for number, (part, source) in enumerate(zip(images.split(BATCH), told.split(BATCH), strict=True)):
        x = hvae.crop(part)
        given = given_first(hvae, source, seed + 2 * number)
        found.append(torch.stack([(hvae.crop(y).cpu() - x).square().flatten(1).mean(1).sqrt() for y in given], 1))
    return torch.cat(found)


@torch.no_grad()
def drawn(hvae: HVAE, count: int, temperature: float, seed: int) -> Tensor:
    """Samples, pixels drawn, with zeros where the data have only padding: (count, channel, n, n)."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [min(BATCH, count - start) for start in range(0, count, BATCH)]
    return torch.cat([framed(hvae, hvae.sample(size, temperature=temperature, generator=generator)).cpu() for size in sizes])


@torch.no_grad()
def at_temperatures(hvae: HVAE, columns: int, seed: int) -> Tensor:
    """Mean images of samples at each of TEMPERATURES on the same noise: (temperature, column, channel, n, n)."""
    rows = []
    for temperature in TEMPERATURES:
        *_, last = hvae.integrate(columns, temperature=float(temperature), generator=torch.Generator().manual_seed(seed))
        rows.append(framed(hvae, hvae.likelihood.mean(hvae.decode(last.state))).cpu())
    return torch.stack(rows)


def elbo(hvae: HVAE, images: Tensor, seed: int) -> Tensor:
    """The ELBO of each image in nats, shape (images,)."""
    return torch.cat([part.elbo for part in bounds.bounds(hvae, images, 0, seed)])

r"""Bounds on the log likelihood of images under an HVAE: the ELBO, and the importance-weighted bound.

With K draws of all latents z from the posterior,
$$ \mathrm{ELBO} = E \log p(x|z) - \mathrm{KL} \;\le\; L_K = E \log \frac1K \sum_{i=1}^K \frac{p(x, z_i)}{q(z_i | x)}
\;\le\; \log p(x). $$

Sources: arXiv 1312.6114 (the ELBO), arXiv 1509.00519 (the importance-weighted bound).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from multires.errors import MultiresError
from multires.hvae import HVAE

BATCH = 256
Binarise = Literal["no", "dynamic", "threshold"]


def prepared(images: Tensor, protocol: Binarise, generator: torch.Generator) -> Tensor:
    """Images in [0, 1] as the protocol wants them: rounded to 256 grey values, drawn as zeros and ones, or cut at 1/2."""
    if protocol == "no":
        return (images * 255).round() / 255
    return torch.bernoulli(images, generator=generator) if protocol == "dynamic" else (images > 0.5).to(images)


def negative_elbo(model: nn.Module, batch: tuple[Tensor, ...], dimensions: int) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of an HVAE, minus the ELBO in nats per dimension; and its parts in nats per image, KLs step by step.

    With images of shape (batch, channels, n, n) may come free nats of shape (batch,): below them no step's KL has a gradient,
    and the loss counts them in its place, so that it is no ELBO then (free bits, arXiv 1606.04934, image by image).
    """
    images, *free = batch
    nll, kl = model(images)
    parts = {"nll": nll.mean(), "kl": kl.mean(1)}
    counted = torch.maximum(kl, free[0]).mean(1) if free else parts["kl"]
    return (parts["nll"] + counted.sum()) / dimensions, parts


@dataclass(frozen=True)
class Bounds:
    """Bounds image by image, in nats; each of shape (images,), `kl` of shape (images, steps)."""

    elbo: Tensor
    kl: Tensor
    importance: Tensor | None
    """L_K, where draws were asked for."""


@torch.no_grad()
def bounds(hvae: HVAE, images: Tensor, draws: int, seed: int, batch: int = BATCH) -> Iterator[Bounds]:
    """The bounds for images, batch after batch, none left out: ELBO with one draw, and L_K with `draws`, none where 0.

    The draws for an image are streamed, so that memory does not grow with their number. One seed, one result on one device.
    Raises MultiresError for less than one image, a batch of less than one, or less than no draw.
    """
    if draws < 0 or batch < 1:
        raise MultiresError(
            f"draws = {draws}, batch = {batch}: the draws from the posterior for each image are 0 or more, images at once 1 or more"
        )
    generator, drawn = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1)
    device = next(hvae.parameters()).device
    for part in images.split(batch):
        x = part.to(device)
        nll, kl = hvae(x, generator)
        importance = _importance(hvae, x, draws, drawn, batch) if draws else None
        yield Bounds(-(nll + kl.sum(0)).cpu(), kl.T.cpu(), None if importance is None else importance.cpu())


def _importance(hvae: HVAE, x: Tensor, draws: int, generator: torch.Generator, batch: int) -> Tensor:
    """L_K of each image: the encoder looks once, and as many draws as fit a batch are taken at once."""
    once = hvae.encode(x)
    total, left = torch.full((len(x),), -math.inf, device=x.device, dtype=torch.float64), draws
    while left:
        copies = min(left, max(1, batch // len(x)))
        activations = [activation.repeat(copies, 1, 1, 1) for activation in once]
        log_weights = torch.zeros(copies * len(x), device=x.device, dtype=torch.float64)
        for step in hvae.integrate(len(log_weights), activations, generator=generator):
            log_weights += step.log_ratio()
        log_weights -= hvae.nll(x.repeat(copies, 1, 1, 1), step.state)
        total = torch.logaddexp(total, log_weights.view(copies, -1).logsumexp(0))
        left -= copies
    return total - math.log(draws)


def bits_per_dimension(nats: float, dimensions: int) -> float:
    """Nats of a whole image as bits per pixel and channel."""
    return nats / (dimensions * math.log(2))

r"""The closed-form twin of an HVAE: one step with linear parts, whose evidence is a Gaussian.

At each cell $z \sim N(0, I)$, the state is $A z$ for the projection $A$, and the pixel is $x \sim N(A z, s^2 I)$, so
$$ x \sim N(0, A A^T + s^2 I), \qquad z | x \sim N(S A^T x / s^2, S), \quad S = (I + A^T A / s^2)^{-1}. $$
The columns of A are orthogonal, so that S is diagonal and the posterior can be exact; it can also be made narrower or wider.
Source: probabilistic PCA, Tipping and Bishop (1999), equations 3 and 6.
"""

import math

import torch
from torch import Tensor, nn

from multires.hvae import HVAE
from multires.hvae_configs import HVAEConfig, Resolution


class _Affine(nn.Module):
    """x -> W x + b in every cell, in place of a block."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, *x: Tensor) -> Tensor:
        return nn.functional.conv2d(torch.cat(x, 1), self.weight[:, :, None, None], self.bias)


class _Images(nn.Module):
    """An encoder whose activation is the image."""

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images]


class _GaussianPixels:
    """x ~ N(the parameters, s^2)."""

    def __init__(self, channels: int, s: float) -> None:
        self.parameters, self.s = channels, s

    def nll(self, images: Tensor, parameters: Tensor) -> Tensor:
        return (0.5 * ((images - parameters) / self.s).square() + math.log(self.s * math.sqrt(2 * math.pi))).sum(1)

    def sample(self, parameters: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return parameters + self.s * torch.randn(parameters.shape, generator=generator, dtype=parameters.dtype)

    def mean(self, parameters: Tensor) -> Tensor:
        return parameters


def linear_hvae(size: int, channels: int, gains: Tensor, s: float, widening: float = 1.0) -> HVAE:
    """An HVAE of one linear step on images of (channels, size, size), in float64.

    `gains` are the norms of A's columns, as many as latents, at most as many as channels; the deviation of the posterior is
    the exact one times `widening`.
    """
    latents = len(gains)
    config = HVAEConfig((Resolution(size, 0, 1, channels),), channels=channels, latents=latents, bottleneck=1.0)
    hvae = HVAE(config).double()
    a = torch.linalg.qr(torch.randn(channels, latents, dtype=torch.float64))[0] * gains
    variance = 1 / (1 + gains.double().square() / s**2)
    log_deviation = variance.log() / 2 + math.log(widening)
    zero = torch.zeros(channels, channels, dtype=torch.float64)
    hvae.encoder, hvae.likelihood = _Images(), _GaussianPixels(channels, s)  # type: ignore[assignment]
    (cell,) = hvae.cells
    cell.prior = _Affine(a.new_zeros(2 * latents + channels, channels), a.new_zeros(2 * latents + channels))
    inferred = torch.cat([zero.new_zeros(2 * latents, channels), torch.cat([variance[:, None] * a.T / s**2, a.T * 0])], 1)
    cell.posterior = _Affine(inferred, torch.cat([torch.zeros_like(variance), log_deviation]))
    cell.residual = _Affine(zero, zero[0])
    hvae.head = _Affine(torch.eye(channels, dtype=torch.float64), zero[0])  # type: ignore[assignment]
    cell.projection.weight.data.copy_(a[:, :, None, None])  # type: ignore[union-attr, operator]
    return hvae


def log_evidence(hvae: HVAE, images: Tensor) -> Tensor:
    r"""$\log p(x)$ in nats, exactly, of shape (batch,)."""
    (cell,) = hvae.cells
    a = cell.projection.weight[:, :, 0, 0]  # type: ignore[union-attr, index]
    covariance = a @ a.T + hvae.likelihood.s**2 * torch.eye(len(a), dtype=a.dtype)  # type: ignore[attr-defined]
    pixels = torch.distributions.MultivariateNormal(a.new_zeros(len(a)), covariance)
    log_prob: Tensor = pixels.log_prob(images.movedim(1, -1))
    return log_prob.flatten(1).sum(1)

r"""One step in time of a hierarchical VAE: first drift and diffusion, then second drift.

A `Cell` reads from the state $Z$ a Gaussian with mean $\mu$ and deviation $\sigma$, and an update $\delta$, and moves on by
$$ m_1 = \delta + A \mu + c, \qquad s\,dW = A\, \sigma\, dW, \qquad m_2 = r, $$
$A$ a learned projection of the latents to the state's channels, $c$ its bias, and $r$ a residual block. The prior reads $Z$
alone; the posterior reads $Z$ and the encoder's activation at that resolution, and replaces $\mu$ and $\sigma$.

Source: arXiv 2301.08187, section 4 (HVAEs as two-step forward Euler); arXiv 2011.10650 (the blocks, VDVAE).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from multires.diffusion import euler, euler_maruyama
from multires.gaussians import Gaussian
from multires.hvae_configs import HVAEConfig

FREQUENCIES = 4
MANY = 4096  # cells of a batch, from which on convolutions of width 1 are faster than matrix products
LARGE = 2**17  # numbers, from which on oneDNN's GELU is faster than torch's own


class Pointwise(nn.Conv2d):
    """A convolution of width 1: one linear map of the channels, in every cell."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)

    def forward(self, x: Tensor, beside: Tensor | None = None, h: float = 1.0) -> Tensor:
        """W x + b h: map (batch, inputs, n, n), whose last channels may come beside, to (batch, outputs, n, n)."""
        bias = self.bias if h == 1 or self.bias is None else self.bias * h
        if beside is None:
            return _mapped(x, self.weight, bias)
        first, last = self.weight.split([x.shape[1], beside.shape[1]], 1)
        return _mapped(x, first, bias) + _mapped(beside, last, None)


def _mapped(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if x.numel() >= MANY * x.shape[1]:
        return functional.conv2d(x, weight, bias)
    # a matrix product: where cells are few, its overhead and that of its gradients are half of a convolution's
    return functional.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)


def gelu(x: Tensor) -> Tensor:
    r"""$x\,\Phi(x)$, exactly, $\Phi$ the distribution function of a standard normal, of maps (batch, channels, n, n)."""
    if x.numel() < LARGE:
        return functional.gelu(x)
    return functional.gelu(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # torch asks oneDNN only where the last axis is contiguous


class Bottleneck(nn.Module):
    """Four convolutions of width 1, 3, 3, 1, each after an exact GELU; the inner two have width 1 where only 2 cells are left.

    The first GELU is the caller's: a state that several blocks read needs it once.
    """

    def __init__(self, inputs: int, inner: int, outputs: int, size: int) -> None:
        super().__init__()
        self.c1 = Pointwise(inputs, inner)
        self.c2, self.c3 = (nn.Conv2d(inner, inner, 3, padding=1) if size > 2 else Pointwise(inner, inner) for _ in range(2))
        self.c4 = Pointwise(inner, outputs)

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        """Map (batch, inputs, n, n), after GELU, whose last channels may come beside, to (batch, outputs, n, n)."""
        x = self.c1(x, beside)
        for convolution in (self.c2, self.c3, self.c4):
            x = convolution(gelu(x))
        return x


def _gaussian(mean: Tensor, log_deviation: Tensor) -> Gaussian:
    # each by itself in memory: exponentials of a few of the channels that lie last take several times as long
    return Gaussian(*(x.contiguous(memory_format=torch.channels_last) for x in (mean, log_deviation)))


@dataclass(frozen=True)
class Step:
    """What one cell did: everything that its step of the scheme is made of, each of shape (batch, channel, n, n)."""

    cell: "Cell"
    time: float
    """In [0, 1), when the step begins."""
    h: float
    """The length of the step, in units of the one that the cell was trained with."""
    before: Tensor
    update: Tensor
    r"""$\delta$."""
    mean: Tensor
    r"""$\mu$, of what the latent was drawn from; a latent that was given, over h."""
    scaled: Tensor
    r"""$\sigma\,dW$; zero where the latent was given."""
    middle: Tensor
    """The state after Euler-Maruyama."""
    second_drift: Tensor
    """m_2 at the middle state."""
    state: Tensor
    """The state after the step."""
    latent: Tensor
    prior: Gaussian
    posterior: Gaussian | None
    """None where there was no activation to infer from."""

    @property
    def drift(self) -> Tensor:
        """m_1 at the state before, with the cell's weights as they are now."""
        return self.cell.first_drift(self.update, self.mean)

    @property
    def noise(self) -> Tensor:
        """s dW, with the cell's weights as they are now."""
        return self.cell.diffusion(self.scaled)

    def kl(self) -> Tensor:
        """KL from posterior to prior in nats, of shape (batch,); zero where nothing was inferred."""
        if self.posterior is None:
            return self.latent.new_zeros(len(self.latent))
        kl: Tensor = self.posterior.kl(self.prior)
        return kl

    def log_ratio(self) -> Tensor:
        """log p(z) - log q(z) at the latent in nats, of shape (batch,); zero where nothing was inferred."""
        if self.posterior is None:
            return self.latent.new_zeros(len(self.latent))
        return self.prior.log_density(self.latent) - self.posterior.log_density(self.latent)


class Cell(nn.Module):
    """One step in time, in three parts: first drift, diffusion, second drift."""

    def __init__(self, config: HVAEConfig, width: int, size: int) -> None:
        super().__init__()
        share = config.bottleneck if config.cell_bottleneck is None else config.cell_bottleneck
        self.config, inner = config, int(width * share)
        self.posterior = Bottleneck(2 * width, inner, 2 * config.latents, size)
        self.prior = Bottleneck(width, inner, 2 * config.latents + width, size)
        self.projection = Pointwise(config.latents, width)
        self.residual = Bottleneck(width, inner, width, size)
        self.clock = nn.Linear(2 * FREQUENCIES, width) if config.time_input else None

    def first_drift(self, update: Tensor, mean: Tensor) -> Tensor:
        r"""$m_1 = \delta + A \mu + c$."""
        drift: Tensor = update + self.projection(mean)
        return drift

    def diffusion(self, scaled: Tensor) -> Tensor:
        r"""$s\,dW = A\,\sigma\,dW$."""
        noise: Tensor = self.projection(scaled, h=0.0)
        return noise

    def second_drift(self, state: Tensor, time: float) -> Tensor:
        r"""$m_2 = r(Z)$."""
        drift: Tensor = self.residual(self.seen(state, time))
        return drift

    def seen(self, state: Tensor, time: float) -> Tensor:
        """What the blocks read: the state, with the time where they are told it, after GELU."""
        if self.clock is not None:
            angles = math.pi * time * 2.0 ** torch.arange(FREQUENCIES, device=state.device, dtype=state.dtype)
            told: Tensor = self.clock(torch.cat([angles.sin(), angles.cos()]))
            state = state + told[:, None, None]
        return gelu(state)

    def forward(
        self,
        state: Tensor,
        activation: Tensor | None,
        noise: Tensor,
        time: float,
        h: float = 1.0,
        temperature: float = 1.0,
        latent: Tensor | None = None,
    ) -> Step:
        """Take one step of length h from the state; noise is standard normal, of shape (batch, latents, n, n).

        With an activation, after GELU, the posterior gives the latent, without one the prior; a latent that is given takes its
        place, and with an activation the step tells its densities under both all the same.
        """
        seen = self.seen(state, time)
        *parameters, update = self.prior(seen).split([self.config.latents, self.config.latents, seen.shape[1]], 1)
        taken = prior = _gaussian(*parameters)
        posterior = None
        if activation is not None:
            taken = posterior = _gaussian(*self.posterior(seen, activation).chunk(2, 1))
        if latent is None:
            mean, scaled = taken.mean, taken.deviation * noise
            if (scale := temperature * math.sqrt(h)) != 1:
                scaled = scaled * scale
            latent = scaled.add(mean, alpha=h)
        else:
            mean, scaled = latent / h, torch.zeros_like(latent)
        # A is linear: m_1 h + s dW = delta h + A z + c h, with the latent z = mu h + sigma dW, one product for drift and noise
        middle = euler_maruyama(state, update, self.projection(latent, h=h), h)
        second = self.second_drift(middle, time)
        after = euler(middle, second, h)
        if self.config.normalise:
            size = torch.linalg.vector_norm(after, dim=(1, 2, 3), keepdim=True) / math.sqrt(after[0].numel())
            after = after / size.clamp_min(torch.finfo(after.dtype).tiny)  # a state of zero stays zero
        told = (prior.over(h), posterior and posterior.over(h))
        return Step(self, time, h, state, update, mean, scaled, middle, second, after, latent, *told)

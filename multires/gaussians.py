r"""Gaussians with independent entries, the noise of a step: $N(\mu, \sigma^2)$ at every channel and cell."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def full(x: Tensor) -> Tensor:
    """x in float32, or as it is where it is finer: what sums over many cells are taken in."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _total(x: Tensor) -> Tensor:
    """The sum over all axes but the first; unlike flattened ones, channels that lie last in memory need no copy."""
    return x.sum(tuple(range(1, x.ndim)))


@dataclass(frozen=True)
class Gaussian:
    r"""Mean and $\log \sigma$, both of shape (batch, channel, *spatial)."""

    mean: Tensor
    log_deviation: Tensor

    @property
    def deviation(self) -> Tensor:
        r"""$\sigma$."""
        return self.log_deviation.exp()

    def over(self, h: float) -> "Gaussian":
        r"""$N(\mu h, \sigma^2 h)$: what drift and noise of unit strength add up to over a time h."""
        return self if h == 1 else Gaussian(self.mean * h, self.log_deviation + 0.5 * math.log(h))

    def kl(self, other: "Gaussian") -> Tensor:
        r"""$\mathrm{KL}(N_1 \| N_2) = \sum \log\frac{\sigma_2}{\sigma_1} + \frac{\sigma_1^2 + (\mu_1 - \mu_2)^2}{2 \sigma_2^2}
        - \frac12$ in nats, of shape (batch,), at least in float32."""
        mean, log_ratio = full(self.mean) - full(other.mean), full(self.log_deviation) - full(other.log_deviation)
        scaled = mean * (-full(other.log_deviation)).exp()
        # expm1: where both Gaussians agree, nothing is left of the difference of two large numbers
        return _total(0.5 * (torch.expm1(2 * log_ratio) + scaled.square()) - log_ratio)

    def log_density(self, x: Tensor) -> Tensor:
        r"""$\log N(x)$ in nats, of shape (batch,), at least in float32."""
        standard = (full(x) - full(self.mean)) * (-full(self.log_deviation)).exp()
        return _total(-0.5 * (standard.square() + math.log(2 * math.pi)) - full(self.log_deviation))

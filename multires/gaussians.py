r"""Gaussians with independent entries, the noise of a step: $N(\mu, \sigma^2)$ at every channel and cell."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


def full(x: Tensor) -> Tensor:
    """x in float32, or as it is where it is finer: what sums over many cells are taken in."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _total(x: Tensor) -> Tensor:
    """The sum over all axes but the first; unlike flattened ones, channels that lie last in memory need no copy."""
    return x.sum(tuple(range(1, x.ndim)))


class _KL(torch.autograd.Function):
    """The divergence with its gradient written out: a third of the operations that autograd would take, all of them pointwise."""

    @staticmethod
    def forward(ctx: Any, m1: Tensor, s1: Tensor, m2: Tensor, s2: Tensor) -> Tensor:
        ctx.save_for_backward(m1, s1, m2, s2)
        scaled, log_ratio = (m1 - m2) * (-s2).exp(), s1 - s2
        # expm1: where both Gaussians agree, nothing is left of the difference of two large numbers
        return _total(0.5 * (torch.expm1(2 * log_ratio) + scaled.square()) - log_ratio)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        m1, s1, m2, s2 = ctx.saved_tensors
        inverse, excess = (-s2).exp(), torch.expm1(2 * (s1 - s2))
        scaled = (m1 - m2) * inverse
        each = gradient.reshape(-1, *[1] * (m1.ndim - 1))
        by_mean = each * scaled * inverse
        return by_mean, each * excess, -by_mean, -each * (excess + scaled.square())


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
        kl: Tensor = _KL.apply(  # type: ignore[no-untyped-call]
            full(self.mean), full(self.log_deviation), full(other.mean), full(other.log_deviation)
        )
        return kl

    def log_density(self, x: Tensor) -> Tensor:
        r"""$\log N(x)$ in nats, of shape (batch,), at least in float32."""
        standard = (full(x) - full(self.mean)) * (-full(self.log_deviation)).exp()
        return _total(-0.5 * (standard.square() + math.log(2 * math.pi)) - full(self.log_deviation))

r"""Likelihoods of pixels given the parameters that a decoder puts out at each of them.

Images hold values in [0, 1]; parameters have shape (batch, count, n, n). Each likelihood has `nll`, minus the log probability
of a whole pixel in nats, of shape (batch, n, n), and `sample`, which draws images of shape (batch, channels, n, n).

Sources: arXiv 1701.05517 (PixelCNN++, the discretised mixture of logistics, eq. 2 and 3).
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from multires.errors import MultiresError
from multires.gaussians import full

HALF_BIN = 1 / 255  # grey values are 2/255 apart in [-1, 1]
LOG_SCALES = (-7.0, 40.0)


class Likelihood(Protocol):
    """What a decoder needs of a likelihood."""

    parameters: int
    """How many numbers it takes a pixel."""

    def nll(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Minus the log probability of each pixel."""

    def sample(self, parameters: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw images."""

    def mean(self, parameters: Tensor) -> Tensor:
        """The expected image."""


class Bernoulli:
    r"""Pixels of two values: $p(x) = q^x (1 - q)^{1 - x}$, $q = 1 / (1 + e^{-l})$, l the only parameter a channel."""

    def __init__(self, channels: int) -> None:
        self.parameters = channels

    def nll(self, images: Tensor, parameters: Tensor) -> Tensor:
        """In nats, the sum over channels, of shape (batch, n, n); images hold zeros and ones."""
        logits = full(parameters)
        return functional.binary_cross_entropy_with_logits(logits, images.to(logits), reduction="none").sum(1)

    def sample(self, parameters: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Zeros and ones, of the parameters' shape."""
        probability = full(parameters).sigmoid()
        drawn = (_uniform(probability, generator) < probability).to(probability)
        return drawn + 0 * probability  # NaN where that is NaN, which is below nothing

    def mean(self, parameters: Tensor) -> Tensor:
        """The probability of one, of the parameters' shape."""
        return full(parameters).sigmoid()


class LogisticMixture:
    r"""Pixels of 256 values a channel: a mixture of logistics, each integrated over the bin of a grey value.

    With $y = 2x - 1$, a component of mean m and scale s gives a value inside
    $$ \sigma(a) - \sigma(b) = \sigma(a)\,\sigma(-b)\,(1 - e^{b - a}), \quad a, b = (y - m \pm 1/255) / s, $$
    the lowest value $\sigma(a)$ and the highest $\sigma(-b)$, so that all 256 sum to 1. This product form has no difference of
    nearly equal numbers and needs no second branch. Log scales are cut to [-7, 40]: at -7 up to 97 % of the mass fall on one grey
    value, at 40 all but $e^{-40}$ on the two edges, and gradients, which pass through the inverse of half a bin, $255\,s$, stay
    finite in float32, which they do not from 83 on. In colour the means of green and blue depend linearly on the channels
    before them. Parameters a pixel: the weights of the components; then for each channel means, log scales and, in colour,
    coefficients of which the tanh is taken: 10 numbers a component in colour, 3 in grey.
    """

    def __init__(self, channels: int, mixtures: int) -> None:
        if channels not in (1, 3):
            raise MultiresError(f"{channels} channels: the mixture of logistics is for 1, grey, or 3, colour")
        self.channels, self.mixtures = channels, mixtures
        self.parameters = mixtures * (3 if channels == 1 else 10)

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Log weights, the largest 0, (batch, mixture, n, n); means, log scales, coefficients (batch, channel, mixture, n, n)."""
        parameters = full(parameters).contiguous()  # slices of channels that lie last in memory would be strided everywhere below
        weights, rest = parameters.split([self.mixtures, self.parameters - self.mixtures], 1)
        weights = weights - weights.detach().amax(1, keepdim=True)  # what all have in common means nothing, but costs digits
        kinds = rest.unflatten(1, (self.channels, -1, self.mixtures)).unbind(2)
        return weights, kinds[0], kinds[1].clamp(*LOG_SCALES), kinds[2].tanh() if self.channels == 3 else None

    def nll(self, images: Tensor, parameters: Tensor) -> Tensor:
        """In nats, of all channels of a pixel together, of shape (batch, n, n); images hold multiples of 1/255."""
        weights, means, log_scales, coefficients = self._split(parameters)
        y = (2 * images.to(means) - 1)[:, :, None]
        if coefficients is not None:
            red, green = y[:, :1], y[:, 1:2]
            c = coefficients.split(1, 1)
            means = torch.cat([means[:, :1], means[:, 1:2] + c[0] * red, means[:, 2:] + c[1] * red + c[2] * green], 1)
        inverse = (-log_scales).exp()
        middle, half = (y - means) * inverse, HALF_BIN * inverse
        below = functional.softplus(-middle - half)  # -log sigma(a)
        above = functional.softplus(middle - half)  # -log sigma(-b)
        width = -torch.log(-torch.expm1(-2 * half))
        lowest, highest = y < HALF_BIN - 1, y > 1 - HALF_BIN
        cost = torch.where(highest, above, torch.where(lowest, below, below + above + width)).sum(1)
        return weights.logsumexp(1) - (weights - cost).logsumexp(1)

    def sample(self, parameters: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Multiples of 1/255 in [0, 1], of shape (batch, channels, n, n)."""
        each = full(parameters).movedim(1, -1).unflatten(-1, (-1, self.mixtures))  # (batch, n, n, number, component)
        weights = each[..., 0, :]
        weights = weights - weights.amax(-1, keepdim=True)  # what all have in common would cost the noise its digits
        minus_gumbel = _uniform(weights.movedim(-1, 1), generator).log_().neg_().log_().movedim(1, -1)
        chosen = (weights - minus_gumbel).argmax(-1, keepdim=True)  # the Gumbel-max trick
        one = each.gather(-1, chosen[..., None, :].expand(*each.shape[:-1], 1))[..., 0].movedim(-1, 1)
        _, m, log_scales, coefficients = LogisticMixture(self.channels, mixtures=1)._split(one)
        m, scale = m[:, :, 0], log_scales[:, :, 0].exp()
        uniform = _uniform(m, generator)
        y = m + scale * torch.logit(uniform, eps=torch.finfo(m.dtype).tiny)
        if coefficients is None:
            return _rounded(y)
        c = coefficients[:, :, 0]
        red = _rounded(y[:, 0])
        green = _rounded(y[:, 1] + c[:, 0] * (2 * red - 1))
        blue = _rounded(y[:, 2] + c[:, 1] * (2 * red - 1) + c[:, 2] * (2 * green - 1))
        return torch.stack([red, green, blue], 1)

    def mean(self, parameters: Tensor) -> Tensor:
        """The mean of the mixture of logistics, cut to [0, 1], of shape (batch, channels, n, n)."""
        weights, means, _, coefficients = self._split(parameters)
        if coefficients is not None:
            c, red = coefficients.unbind(1), means[:, 0]
            green = means[:, 1] + c[0] * red
            means = torch.stack([red, green, means[:, 2] + c[1] * red + c[2] * green], 1)
        return (((weights.softmax(1)[:, None] * means).sum(2) + 1) / 2).clamp(0, 1)


def _uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform numbers of a tensor's shape; a generator draws on the CPU and serves every device alike."""
    if generator is None:
        return torch.rand_like(like)
    return torch.rand(like.shape, generator=generator, dtype=like.dtype).to(like.device)


def _rounded(y: Tensor) -> Tensor:
    """The grey value in whose bin y lies, as a multiple of 1/255 in [0, 1]."""
    return ((y + 1) * 127.5).round().clamp(0, 255) / 255

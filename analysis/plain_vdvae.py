"""The network of `multires.hvae.HVAE` written the usual way: the peer that its speed is measured against, and a second reading.

Contiguous tensors, a GELU before every convolution, one operation after another, gradients by autograd; the mixture of logistics
with every branch of PixelCNN++'s code. It holds an HVAE for its weights alone. Sources: arXiv 2011.10650, arXiv 1701.05517.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from multires.cells import Bottleneck, Cell
from multires.errors import MultiresError
from multires.hvae import HVAE, fit_channels
from multires.hvae_configs import HVAEConfig


def _convolve(layer: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(layer, nn.Conv2d)
    return functional.conv2d(x, layer.weight, layer.bias, padding=layer.kernel_size[0] // 2)


def _block(block: nn.Module, x: Tensor) -> Tensor:
    assert isinstance(block, Bottleneck)
    for layer in (block.c1, block.c2, block.c3, block.c4):
        x = _convolve(layer, functional.gelu(x))
    return x


def _kl(m1: Tensor, s1: Tensor, m2: Tensor, s2: Tensor) -> Tensor:
    each = s2 - s1 + 0.5 * (s1.exp() ** 2 + (m1 - m2) ** 2) / s2.exp() ** 2 - 0.5
    return each.flatten(1).sum(1)


class PlainVDVAE(nn.Module):
    """An HVAE with a mixture of logistics, without time input and normalisation."""

    def __init__(self, config: HVAEConfig) -> None:
        super().__init__()
        if config.likelihood != "logistic-mixture" or config.time_input or config.normalise:
            raise MultiresError("the plain VDVAE has a mixture of logistics, no time input and no normalisation")
        self.config, self.hvae = config, HVAE(config)
        self.hvae.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.dimensions = self.hvae.dimensions

    def forward(self, images: Tensor, noise: list[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Return the parts of minus the ELBO in nats: the likelihood's of shape (batch,), and the KLs, (steps, batch)."""
        state, kls = self._decode(len(images), self._encode(images), noise)
        nll = _mixture_nll(images, self._head(state), self.config.mixtures)
        return self.hvae.crop(nll).flatten(1).sum(1), torch.stack(kls)

    def sample(self, count: int) -> Tensor:
        """Draw images, of shape (count, channels, size, size)."""
        return _mixture_sample(self._head(self._decode(count, None, None)[0]), self.config.channels, self.config.mixtures)

    def _head(self, state: Tensor) -> Tensor:
        return _convolve(self.hvae.head, state * self.hvae.gain + self.hvae.bias)

    def _encode(self, images: Tensor) -> list[Tensor]:
        config, blocks, activations = self.config, iter(self.hvae.encoder.blocks), []
        x = _convolve(self.hvae.encoder.stem, (images - config.mean) / config.std)
        for r, coarser in zip(config.resolutions, (*config.resolutions[1:], None), strict=True):
            for _ in range(r.encoder_blocks):
                x = x + _block(next(blocks), x)
            activations.append(x)
            if coarser is not None:
                x = x + _block(next(blocks), x)
                x = fit_channels(functional.avg_pool2d(x, r.size // coarser.size), config.width_at(coarser))
        return activations

    def _decode(self, count: int, activations: list[Tensor] | None, noise: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        config, kls, before, x = self.config, [], None, torch.empty(0)
        for number, moment in enumerate(self.hvae.timetable):
            if moment.resolution != before:
                x, before = self._start(moment.resolution, x, count), moment.resolution
            cell = self.hvae.cells[moment.cell]
            assert isinstance(cell, Cell)
            mean, log_deviation, update = _block(cell.prior, x).split([config.latents, config.latents, x.shape[1]], 1)
            if activations is not None:
                prior = (mean, log_deviation)
                mean, log_deviation = _block(cell.posterior, torch.cat([x, activations[moment.resolution]], 1)).chunk(2, 1)
                kls.append(_kl(mean, log_deviation, *prior))
            z = mean + log_deviation.exp() * (torch.randn_like(mean) if noise is None else noise[number])
            x = x + update
            x = x + _convolve(cell.projection, z)
            x = x + _block(cell.residual, x)
        return x, kls

    def _start(self, index: int, x: Tensor, count: int) -> Tensor:
        r, below = self.config.resolutions[index], len(self.config.resolutions) - 1 - index
        width = self.config.width_at(r)
        known = r.size <= self.config.no_bias_above
        start = self.hvae.starts[below] if known else self.hvae.gain.new_zeros(1, width, r.size, r.size)
        if below:
            return start + functional.interpolate(fit_channels(x, width), size=r.size, mode="nearest")
        return start.repeat(count, 1, 1, 1)


def _split(parameters: Tensor, channels: int, mixtures: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits (batch, mixture, n, n); means, log scales, coefficients (batch, channel, mixture, n, n), those of grey empty."""
    logits, rest = parameters[:, :mixtures], parameters[:, mixtures:].unflatten(1, (channels, -1))
    means, log_scales, coefficients = rest[:, :, :mixtures], rest[:, :, mixtures : 2 * mixtures], rest[:, :, 2 * mixtures :]
    return logits, means, log_scales.clamp(min=-7.0), coefficients.tanh()


def _mixture_nll(images: Tensor, parameters: Tensor, mixtures: int) -> Tensor:
    """Minus the log probability of each pixel, of shape (batch, n, n)."""
    logits, means, log_scales, c = _split(parameters, images.shape[1], mixtures)
    x = (2 * images - 1)[:, :, None].expand_as(means)
    if images.shape[1] == 3:
        green = means[:, 1] + c[:, 0] * x[:, 0]
        blue = means[:, 2] + c[:, 1] * x[:, 0] + c[:, 2] * x[:, 1]
        means = torch.stack([means[:, 0], green, blue], 1)
    centred, inverse = x - means, torch.exp(-log_scales)
    plus, minus, middle = inverse * (centred + 1 / 255), inverse * (centred - 1 / 255), inverse * centred
    difference = plus.sigmoid() - minus.sigmoid()
    log_pdf = middle - log_scales - 2 * functional.softplus(middle) - math.log(127.5)
    inside = torch.where(difference > 1e-5, difference.clamp(min=1e-12).log(), log_pdf)
    highest = torch.where(x > 0.999, -functional.softplus(minus), inside)
    log_probability = torch.where(x < -0.999, plus - functional.softplus(plus), highest)
    return -torch.logsumexp(log_probability.sum(1) + functional.log_softmax(logits, 1), 1)


def _mixture_sample(parameters: Tensor, channels: int, mixtures: int) -> Tensor:
    """Multiples of 1/255, of shape (batch, channels, n, n)."""
    logits, means, log_scales, c = _split(parameters, channels, mixtures)
    gumbel = -torch.log(-torch.log(torch.rand_like(logits).clamp(1e-5, 1 - 1e-5)))
    chosen = (logits + gumbel).argmax(1)[:, None, None].expand(-1, channels, -1, -1, -1)
    means, scales = means.gather(2, chosen)[:, :, 0], log_scales.gather(2, chosen)[:, :, 0].exp()
    uniform = torch.rand_like(means).clamp(1e-5, 1 - 1e-5)
    x = means + scales * (uniform.log() - (1 - uniform).log())
    if channels == 3:
        c = c.gather(2, chosen)[:, :, 0]
        red = x[:, 0].clamp(-1, 1)
        green = (x[:, 1] + c[:, 0] * red).clamp(-1, 1)
        x = torch.stack([red, green, x[:, 2] + c[:, 1] * red + c[:, 2] * green], 1)
    return ((x.clamp(-1, 1) + 1) * 127.5).round() / 255

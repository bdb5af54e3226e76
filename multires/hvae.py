r"""Hierarchical VAEs: a decoder that integrates a multi-resolution diffusion from a point mass to an image, and its encoder.

At each resolution, from the coarsest, the decoder starts from a learned function plus the embedded state of the resolution
below, and takes steps in time, each by a `Cell` of `multires.cells`. The encoder is the way down of a U-Net with average
pooling. With $z_k$ the latent of step k,
$$ \log p(x) \ge E_q \log p(x | z) - \sum_k E_q\, \mathrm{KL}(q(z_k | z_{<k}, x) \,\|\, p(z_k | z_{<k})). $$

Source: arXiv 2301.08187, section 4 (HVAEs as two-step forward Euler); arXiv 2011.10650 (VDVAE).
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from multires import memory
from multires.cells import Bottleneck, Cell, Pointwise, Step, gelu
from multires.errors import MultiresError
from multires.hvae_configs import HVAEConfig, Resolution
from multires.likelihoods import Bernoulli, Likelihood, LogisticMixture
from multires.pooling import average
from multires.spaces import embed

Temperature = float | Sequence[float] | Tensor
"""What deviations are multiplied by: one number for all steps, or one for each."""


def fit_channels(x: Tensor, width: int) -> Tensor:
    """Append channels of zeros, or drop the last ones, so that there are `width`."""
    return x if x.shape[1] == width else functional.pad(x, (0, 0, 0, 0, 0, width - x.shape[1]))


class Encoder(nn.Module):
    """The way down: residual blocks at each resolution, and one whose sum is average-pooled to the next."""

    def __init__(self, config: HVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Conv2d(config.channels, config.width_at(config.resolutions[0]), 3, padding=1)
        self.blocks = nn.ModuleList()
        for r in config.resolutions:
            width, pools = config.width_at(r), r is not config.resolutions[-1]
            for _ in range(r.encoder_blocks + pools):
                self.blocks.append(Bottleneck(width, int(width * config.bottleneck), width, r.size))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the activations that the decoder reads, after GELU, from the finest resolution to the coarsest."""
        resolutions, blocks = self.config.resolutions, iter(self.blocks)
        state, activations = self.stem((x - self.config.mean) / self.config.std), []
        for r, coarser in zip(resolutions, (*resolutions[1:], None), strict=True):
            for block in islice(blocks, r.encoder_blocks):
                state = state + block(gelu(state))
            activations.append(gelu(state))
            if coarser is not None:
                state = average(state + next(blocks)(activations[-1]), _levels(r, coarser))
                state = fit_channels(state, self.config.width_at(coarser))
        return activations


def _levels(fine: Resolution, coarse: Resolution) -> int:
    return (fine.size // coarse.size).bit_length() - 1


@dataclass(frozen=True)
class Moment:
    """When and where a step is taken, and by which cell."""

    time: float
    """In [0, 1)."""
    resolution: int
    """Index among the resolutions of the configuration."""
    cell: int
    h: float = 1.0
    """The length of the step, in units of the one that the cell was trained with."""


def timetable(config: HVAEConfig) -> list[Moment]:
    """The steps of the decoder in time, from the coarsest resolution to the finest; steps that share a cell name the same."""
    moments: list[Moment] = []
    cells: dict[object, int] = {}
    for index, r in reversed(list(enumerate(config.resolutions))):
        for number in range(r.steps):
            owner = r.group if r.group is not None else (index,) if r.shared else (index, number)
            moments.append(Moment(len(moments) / config.steps, index, cells.setdefault(owner, len(cells))))
    return moments


def require_room(config: HVAEConfig, batch: int = 1, copies: int = 1) -> None:
    """Raise MultiresError where the states of all steps for a batch, or so many copies of the weights, do not fit this machine."""
    states = sum((r.steps + r.encoder_blocks) * max(config.width_at(r) * r.size**2, memory.OBJECTS) for r in config.resolutions)
    memory.require(f"batch = {batch} at {config.steps:,} steps", batch * states)
    with torch.device("meta"):  # shapes alone
        weights = sum(parameter.numel() for parameter in HVAE(config).parameters())
    memory.require(f"{weights:,} parameters", copies * weights)


class HVAE(nn.Module):
    """The encoder, the cells, and the likelihood of a pixel given the last state."""

    def __init__(self, config: HVAEConfig) -> None:
        super().__init__()
        self.config, self.timetable = config, timetable(config)
        self.encoder = Encoder(config)
        self.cells = nn.ModuleList()
        for moment in self.timetable:
            r = config.resolutions[moment.resolution]
            if moment.cell == len(self.cells):
                self.cells.append(Cell(config, config.width_at(r), r.size))
        started = [r for r in reversed(config.resolutions) if r.size <= config.no_bias_above]
        self.starts = nn.ParameterList(torch.zeros(1, config.width_at(r), r.size, r.size) for r in started)
        width = config.width_at(config.resolutions[0])
        self.gain = nn.Parameter(torch.ones(1, width, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.likelihood: Likelihood = (
            Bernoulli(config.channels) if config.likelihood == "bernoulli" else LogisticMixture(config.channels, config.mixtures)
        )
        self.head = Pointwise(width, self.likelihood.parameters)
        self._initialise()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # what CPUs and GPUs alike convolve fastest

    def _initialise(self) -> None:
        """Zero biases and priors; what each step and block adds, scaled so that the sum of all stays of one size."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            for block in self.encoder.blocks:
                assert isinstance(block, Bottleneck)
                block.c4.weight.mul_(math.sqrt(1 / len(self.encoder.blocks)))
            for cell in self.cells:
                assert isinstance(cell, Cell)
                nn.init.zeros_(cell.prior.c4.weight)
                cell.projection.weight.mul_(math.sqrt(1 / self.config.steps))
                cell.residual.c4.weight.mul_(math.sqrt(1 / self.config.steps))
                if cell.clock is not None:
                    nn.init.zeros_(cell.clock.weight)
                    nn.init.zeros_(cell.clock.bias)

    @property
    def dimensions(self) -> int:
        """Numbers in an image that are scored."""
        return self.config.channels * (self.config.resolutions[0].size - 2 * self.config.border) ** 2

    def crop(self, images: Tensor) -> Tensor:
        """Images without the border that only pads them."""
        b, n = self.config.border, self.config.resolutions[0].size
        return images[..., b : n - b, b : n - b]

    def encode(self, images: Tensor) -> list[Tensor]:
        """The encoder's activations, after GELU, from the finest resolution to the coarsest, of images in [0, 1].

        Raises MultiresError for images of another shape than (batch, channels, size, size), for none, and for whole numbers.
        """
        size = self.config.resolutions[0].size
        shaped = images.ndim == 4 and tuple(images.shape[1:]) == (self.config.channels, size, size)
        if not shaped or not len(images) or not images.is_floating_point():
            raise MultiresError(
                f"images of shape {tuple(images.shape)}, {images.dtype}: this HVAE takes (batch, {self.config.channels}, {size},"
                f" {size}), one image or more, of floating-point numbers in [0, 1]"
            )
        activations: list[Tensor] = self.encoder(images.to(self.gain, memory_format=torch.channels_last))
        return activations

    def integrate(
        self,
        count: int,
        activations: Sequence[Tensor] | None = None,
        *,
        latents: Sequence[Tensor] = (),
        noise: Sequence[Tensor] | None = None,
        temperature: Temperature = 1.0,
        generator: torch.Generator | None = None,
    ) -> Iterator[Step]:
        """Take the decoder's steps one by one, for `count` images: generation, or inference where activations are given.

        `latents` stand for those of the first steps; `noise`, standard normal, for that of every step; a `temperature`, one
        for all or one a step, multiplies the deviations. The generator draws on the CPU and serves every device alike.
        Raises MultiresError where there are more latents than steps, another number of noises or temperatures, one that is
        negative or not finite, activations of other shapes than `encode` gives for `count` images, and for less than one image.
        """
        n = len(self.timetable)
        if count < 1:
            raise MultiresError(f"count = {count}: images are 1 or more")
        if activations is not None:
            shapes = [(count, self.config.width_at(r), r.size, r.size) for r in self.config.resolutions]
            if (found := [tuple(activation.shape) for activation in activations]) != shapes:
                raise MultiresError(f"activations of shapes {found}: for {count} images this HVAE's encoder gives {shapes}")
        each: Any = temperature.tolist() if isinstance(temperature, Tensor) else temperature
        temperatures = [float(t) for t in each] if isinstance(each, Iterable) else [float(each)] * n
        if len(latents) > n or len(temperatures) != n or (noise is not None and len(noise) != n):
            raise MultiresError(
                f"{len(latents)} latents, {n if noise is None else len(noise)} noises, {len(temperatures)} temperatures:"
                f" this HVAE takes {n} steps, so at most {n} latents, and one noise and one temperature for each"
            )
        if not all(0 <= t < math.inf for t in temperatures):
            raise MultiresError(f"temperature = {temperature}: deviations are multiplied by what is 0 or more, and finite")
        state, before = torch.empty(0), None
        for number, moment in enumerate(self.timetable):
            if moment.resolution != before:
                state, before = self._enter(moment.resolution, state, count), moment.resolution
            shape = (count, self.config.latents, *state.shape[2:])
            if noise is not None:
                eps = noise[number].to(state)
            elif generator is not None:
                eps = torch.randn(shape, generator=generator, dtype=state.dtype).to(state)
            else:
                eps = torch.randn(shape, device=state.device, dtype=state.dtype)
            latent = latents[number].to(state) if number < len(latents) else None
            for what, given in (("noise", eps), ("latent", latent)):
                if given is not None and given.shape != shape:
                    raise MultiresError(f"{what} of shape {tuple(given.shape)} for step {number + 1}: it takes {shape}")
            step: Step = self.cells[moment.cell](
                state,
                None if activations is None else activations[moment.resolution],
                eps.contiguous(memory_format=torch.channels_last),
                moment.time,
                moment.h,
                temperature=temperatures[number],
                latent=latent,
            )
            yield step
            state = step.state
            del step  # whoever takes the steps keeps what is needed of them; the rest is memory for the next, still in the caches

    def _enter(self, index: int, state: Tensor, count: int) -> Tensor:
        """The first state at a resolution: a learned function, or zero, plus the embedded state of the one below."""
        r, coarsest = self.config.resolutions[index], len(self.config.resolutions) - 1
        width = self.config.width_at(r)
        known = r.size <= self.config.no_bias_above
        start: Tensor = self.starts[coarsest - index] if known else self.gain.new_zeros(1, width, r.size, r.size)
        if index == coarsest:
            return start.expand(count, -1, -1, -1)
        return start + embed(fit_channels(state, width), _levels(r, self.config.resolutions[index + 1]))

    def decode(self, state: Tensor) -> Tensor:
        """The parameters of the likelihood that the last state gives, under autocast too in the precision of the weights."""
        kind = state.device.type
        with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
            scaled = torch.addcmul(self.bias, state.to(self.gain), self.gain)  # one pass over the state, not two
            parameters: Tensor = self.head(scaled)
        return parameters

    def nll(self, images: Tensor, state: Tensor) -> Tensor:
        """Minus the log likelihood of images given the last state, in nats over all scored pixels, of shape (batch,).

        Raises MultiresError where there are not as many images as states, or of another shape.
        """
        if images.shape != (shape := (len(state), self.config.channels, *state.shape[2:])):
            raise MultiresError(f"images of shape {tuple(images.shape)}: with this state go images of shape {shape}")
        nll: Tensor = self.crop(self.likelihood.nll(images, self.decode(state)))
        return nll.flatten(1).sum(1)

    def forward(
        self, images: Tensor, generator: torch.Generator | None = None, *, noise: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the two parts of minus the ELBO in nats: the likelihood's of shape (batch,), and the KLs, (steps, batch)."""
        kls, state = [], torch.empty(0)
        for step in self.integrate(len(images), self.encode(images), noise=noise, generator=generator):
            kls.append(step.kl())
            state = step.state
            del step
        return self.nll(images, state), torch.stack(kls)

    def sample(
        self,
        count: int,
        *,
        latents: Sequence[Tensor] = (),
        noise: Sequence[Tensor] | None = None,
        temperature: Temperature = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw images, of shape (count, channels, size, size): latents but those given from the prior, then pixels.

        Latents, noise and temperature are what `integrate` takes; pixels have noise of their own, from the generator. They are
        of two or of 256 values, so that they have no gradient, and none is kept track of. `torch.compile(hvae.sample)` makes
        one graph of it where no generator is given.
        """
        # compiled, parameters cannot be expanded in inference mode
        with torch.no_grad() if torch.compiler.is_compiling() else torch.inference_mode():
            for step in self.integrate(count, latents=latents, noise=noise, temperature=temperature, generator=generator):
                state = step.state
                del step
            drawn = self.likelihood.sample(self.decode(state), generator)
        return drawn.clone()  # out of that mode, so that what follows may be trained on it

r"""An HVAE read as a diffusion: its drifts and noise by their definition, integrated by code that knows nothing else of it.

With prior $(\mu, \sigma, \delta)(Z)$, projection $A z + c$ and residual block r of the cell of step k,
$$ m_1 = \delta + A\mu + c, \qquad s\,dW = A\,(\sigma\,dW), \qquad m_2 = r, \qquad h = 1, $$
in inference with $(\mu, \sigma)$ of the posterior. Nothing here calls `Cell.forward` or `HVAE.integrate`: the blocks are evaluated
one by one, and `multires.diffusion.integrate` puts the steps together.

Source: arXiv 2301.08187, section 4 (HVAEs as two-step forward Euler).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from multires.cells import Cell
from multires.diffusion import SDE, Scheme, Stage, integrate, two_step_euler
from multires.errors import MultiresError
from multires.hvae import HVAE


@dataclass(frozen=True)
class Replay:
    """The diffusion of an HVAE: of generation, or of inference where activations of its encoder are given."""

    hvae: HVAE
    activations: Sequence[Tensor] | None = None

    def __post_init__(self) -> None:
        """Raise MultiresError for an HVAE that divides its states by their norm: that is no step along a drift."""
        if self.hvae.config.normalise:
            raise MultiresError("this HVAE normalises its states: its cells are no Euler steps")

    def _blocks(self, t: float, z: Tensor) -> tuple[Cell, Tensor]:
        """The cell of the step at time t = 0, 1, 2, ..., and what its blocks read of a state."""
        moment = self.hvae.timetable[int(t)]
        cell = self.hvae.cells[moment.cell]
        assert isinstance(cell, Cell)
        return cell, cell.seen(z, moment.time)

    def prior(self, t: float, z: Tensor) -> tuple[Normal, Tensor]:
        r"""$N(\mu, \sigma^2)$ and $\delta$."""
        cell, seen = self._blocks(t, z)
        n = self.hvae.config.latents
        read = cell.prior(seen)
        return Normal(read[:, :n], read[:, n : 2 * n].exp()), read[:, 2 * n :]

    def posterior(self, t: float, z: Tensor) -> Normal:
        """The Gaussian that the latent is drawn from in inference."""
        assert self.activations is not None
        cell, seen = self._blocks(t, z)
        activation = self.activations[self.hvae.timetable[int(t)].resolution]
        mean, log_deviation = cell.posterior(torch.cat([seen, activation], 1)).chunk(2, 1)
        return Normal(mean, log_deviation.exp())

    def sde(self) -> SDE:
        """(m1, m2, s)."""

        def drawn_from(t: float, z: Tensor) -> Normal:
            return self.prior(t, z)[0] if self.activations is None else self.posterior(t, z)

        def projected(t: float, latent: Tensor) -> Tensor:
            weight = self.hvae.cells[self.hvae.timetable[int(t)].cell].projection.weight[:, :, 0, 0]  # type: ignore[union-attr, index]
            return torch.einsum("oc,bcyx->boyx", weight, latent)

        def first(t: float, z: Tensor) -> Tensor:
            bias = self._blocks(t, z)[0].projection.bias
            assert bias is not None
            return self.prior(t, z)[1] + projected(t, drawn_from(t, z).mean) + bias[:, None, None]

        def second(t: float, z: Tensor) -> Tensor:
            cell, seen = self._blocks(t, z)
            drift: Tensor = cell.residual(seen)
            return drift

        return SDE(first, second, lambda t, z, dw: projected(t, drawn_from(t, z).stddev * dw))

    def schedule(self) -> list[Stage]:
        """The resolutions over time, with steps of length 1."""
        sizes = [self.hvae.config.resolutions[moment.resolution].size for moment in self.hvae.timetable]
        return [Stage(size.bit_length() - 1, len(list(steps)), 1.0) for size, steps in groupby(sizes)]

    def enter(self, z: Tensor, to: int) -> Tensor:
        """A state at the beginning of a resolution: embedded, with the function added that the decoder has learned for it."""
        resolutions = self.hvae.config.resolutions
        index = next(i for i, r in enumerate(resolutions) if r.size == 2**to)
        width = self.hvae.config.width_at(resolutions[index])
        state = functional.pad(z, (0, 0, 0, 0, 0, width - z.shape[1]))
        for axis in (2, 3):
            state = state.repeat_interleave(2**to // z.shape[2], axis)
        number = len(resolutions) - 1 - index
        return state + self.hvae.starts[number] if 2**to <= self.hvae.config.no_bias_above else state

    def states(self, noise: Sequence[Tensor], scheme: Scheme = two_step_euler) -> list[Tensor]:
        """The state after each step, from the point mass at zero on, along a standard normal noise for each."""
        coarsest = self.hvae.config.resolutions[-1]
        zero = noise[0].new_zeros(len(noise[0]), self.hvae.config.width_at(coarsest), coarsest.size, coarsest.size)
        steps = integrate(self.sde(), zero, self.schedule(), noise, scheme=scheme, enter=self.enter)
        return [state for _, state in steps]

    def elbo(self, images: Tensor, states: Sequence[Tensor]) -> Tensor:
        """log p(x | last state) minus the KLs that were met on the way, in nats, of shape (batch,)."""
        total = -self.hvae.nll(images, states[-1])
        before = states[-1].new_zeros(len(images), states[0].shape[1], *states[0].shape[2:])
        entered = None
        for k, moment in enumerate(self.hvae.timetable):
            if moment.resolution != entered:
                entered = moment.resolution
                before = self.enter(before, self.hvae.config.resolutions[entered].size.bit_length() - 1)
            total = total - kl_divergence(self.posterior(float(k), before), self.prior(float(k), before)[0]).flatten(1).sum(1)
            before = states[k]
        return total

r"""Multi-resolution diffusions, and the forward Euler schemes that hierarchical VAEs are made of.

The state $Z_t$ lies in $V_{j(t)}$, with several channels, and the resolution $j(t)$ is piecewise constant; on each piece
$$ dZ_t = (m_1 + m_2)(t, Z_t)\,dt + s(t, Z_t)\,dW_t . $$
Where the resolution rises the state is embedded, where it falls it is projected. One step of *two-step* forward Euler takes the
first drift and the noise together, then the second drift at the state so reached:
$$ Z^+ = Z + m_1(Z)\,h + s(Z)\,dW, \qquad Z' = Z^+ + m_2(Z^+)\,h. $$

Source: arXiv 2301.08187, section 3 (multi-resolution diffusions and their discretisation).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from multires.errors import MultiresError
from multires.pooling import average
from multires.spaces import embed, resolution

Drift = Callable[[float, Tensor], Tensor]
"""m(t, Z), of Z's shape."""
Diffusion = Callable[[float, Tensor, Tensor], Tensor]
"""s(t, Z) dW, of Z's shape, linear in dW, which may have other channels."""


@dataclass(frozen=True)
class SDE:
    r"""$dZ = (m_1 + m_2)\,dt + s\,dW$."""

    first_drift: Drift
    second_drift: Drift
    diffusion: Diffusion


@dataclass(frozen=True)
class Stage:
    """A piece of time at one resolution: `steps` of length h."""

    resolution: int
    steps: int
    h: float

    def __post_init__(self) -> None:
        """Raise MultiresError for what is no piece of time."""
        if self.resolution < 0 or self.steps < 0 or not 0 < self.h < float("inf"):
            raise MultiresError(
                f"resolution {self.resolution}, {self.steps} steps of length {self.h}:"
                " resolution and steps are 0 or more, the length positive and finite"
            )


def euler(state: Tensor, drift: Tensor, h: float) -> Tensor:
    r"""$Z + m h$: one step of forward Euler along the drift m at the state; all of one shape."""
    return state.add(drift, alpha=h)


def euler_maruyama(state: Tensor, drift: Tensor, noise: Tensor, h: float) -> Tensor:
    r"""$Z + m h + s\,dW$: one step of Euler-Maruyama, with noise = $s(Z)\,dW$ for an increment dW of variance h."""
    return state.add(drift, alpha=h).add_(noise)


Scheme = Callable[[SDE, float, Tensor, float, Tensor], Tensor]
"""One step: (sde, t, Z, h, dW) to the state at t + h."""


def two_step_euler(sde: SDE, t: float, state: Tensor, h: float, dw: Tensor) -> Tensor:
    r"""$Z^+ = Z + m_1(t, Z)\,h + s(t, Z)\,dW$, then $Z' = Z^+ + m_2(t, Z^+)\,h$."""
    middle = euler_maruyama(state, sde.first_drift(t, state), sde.diffusion(t, state, dw), h)
    return euler(middle, sde.second_drift(t, middle), h)


def resample(state: Tensor, to: int) -> Tensor:
    """The state in $V_j$, j = `to`: embedded where that is finer, projected where it is coarser.

    Shape (batch, channel, n, ...) becomes (batch, channel, 2^to, ...); raises MultiresError unless n is a power of two.
    """
    rise = to - resolution(state)
    return embed(state, rise) if rise > 0 else average(state, -rise) if rise < 0 else state


def integrate(
    sde: SDE,
    state: Tensor,
    schedule: Sequence[Stage],
    increments: Sequence[Tensor],
    *,
    scheme: Scheme = two_step_euler,
    enter: Callable[[Tensor, int], Tensor] = resample,
    start: float = 0.0,
) -> Iterator[tuple[float, Tensor]]:
    r"""Yield (t, $Z_t$) after each step, from `state` at the time `start` on, through all stages of the schedule.

    `increments` are the $dW$ of the steps in order, each of variance h, in the units that the diffusion takes: a cell of a
    Brownian motion in $V_j$ has variance $2^{jd} h$ (`multires.brownian`). `enter(Z, j)` brings the state to a stage's resolution.

    Raises MultiresError unless there is one increment a step.
    """
    steps = sum(stage.steps for stage in schedule)
    if len(increments) != steps:
        raise MultiresError(f"{len(increments)} increments for {steps} steps: one each is needed")
    t, noise = start, iter(increments)
    for stage in schedule:
        state = enter(state, stage.resolution)
        for _ in range(stage.steps):
            state = scheme(sde, t, state, stage.h, next(noise))
            t += stage.h
            yield t, state

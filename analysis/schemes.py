"""Schemes that are not two-step forward Euler: the controls of claims D2 to D5, and the one-step scheme it is compared with.

Each is a `multires.diffusion.Scheme`: (sde, t, Z, h, dW) to the state at t + h.
"""

import math
from dataclasses import replace

from torch import Tensor

from multires.diffusion import SDE, euler, euler_maruyama, two_step_euler


def one_step_euler(sde: SDE, t: float, state: Tensor, h: float, dw: Tensor) -> Tensor:
    """Euler-Maruyama of the whole drift: Z + (m1 + m2)(Z) h + s(Z) dW."""
    drift = sde.first_drift(t, state) + sde.second_drift(t, state)
    return euler_maruyama(state, drift, sde.diffusion(t, state, dw), h)


def swapped(sde: SDE, t: float, state: Tensor, h: float, dw: Tensor) -> Tensor:
    """The two steps in the other order: consistent, but another scheme."""
    middle = euler(state, sde.second_drift(t, state), h)
    return euler_maruyama(middle, sde.first_drift(t, middle), sde.diffusion(t, middle, dw), h)


def at_old_state(sde: SDE, t: float, state: Tensor, h: float, dw: Tensor) -> Tensor:
    """The second drift at the state before the first step: consistent, but another scheme."""
    middle = euler_maruyama(state, sde.first_drift(t, state), sde.diffusion(t, state, dw), h)
    return euler(middle, sde.second_drift(t, state), h)


def noise_by_h(sde: SDE, t: float, state: Tensor, h: float, dw: Tensor) -> Tensor:
    """Noise of deviation h instead of its root: inconsistent."""
    return two_step_euler(sde, t, state, h, dw * math.sqrt(h))


def second_drift_twice(sde: SDE, t: float, state: Tensor, h: float, dw: Tensor) -> Tensor:
    """The drift m1 + 2 m2: inconsistent."""
    doubled = replace(sde, second_drift=lambda t, z: 2 * sde.second_drift(t, z))
    return two_step_euler(doubled, t, state, h, dw)

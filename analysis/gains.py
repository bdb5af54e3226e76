r"""How much a map amplifies: the largest singular value of its Jacobian, and gradients of the ELBO along an HVAE's states.

The gain of a cell at a state Z is $\sigma_{\max}(\partial Z' / \partial Z)$, by power iteration on $J^T J$ with products alone. For
functions on $[0, 1]^d$ this is the operator norm in $L^2$, since Z and Z' lie in one space.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from multires.hvae import HVAE

ITERATIONS = 20
LEVEL = 0.95


def largest_singular_value(
    f: Callable[[Tensor], Tensor], z: Tensor, generator: torch.Generator, iterations: int = ITERATIONS
) -> Tensor:
    """sigma_max of the Jacobian of f at each z: f maps (batch, ...) to (batch, ...), row by row. Returns (batch,)."""
    v = torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z)
    with torch.enable_grad():
        z = z.detach().clone().requires_grad_()
        y = f(z)
        u = torch.zeros_like(y, requires_grad=True)
        # J^T u is linear in u, so its derivative along v is J v: two passes backwards make one forwards
        (pulled,) = torch.autograd.grad(y, z, u, create_graph=True)
        size = z.new_zeros(len(z))
        for _ in range(iterations):
            (jv,) = torch.autograd.grad(pulled, u, v / _norms(v), retain_graph=True)
            size = _norms(jv).flatten()
            (v,) = torch.autograd.grad(y, z, jv, retain_graph=True)
    return size


def _norms(x: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(x.flatten(1), dim=1).clamp_min(torch.finfo(x.dtype).tiny)
    return norms.reshape(-1, *[1] * (x.ndim - 1))


def cell_gains(hvae: HVAE, count: int, generator: torch.Generator) -> Tensor:
    """The gain of each step in generation, at the states of `count` samples: shape (steps, count)."""
    gains = []
    with torch.no_grad():
        for step, moment in zip(hvae.integrate(count, generator=generator), hvae.timetable, strict=True):
            cell, shape = hvae.cells[moment.cell], step.latent.shape
            eps = torch.randn(shape, generator=generator, dtype=step.latent.dtype).to(step.latent)

            def after(z: Tensor, cell: torch.nn.Module = cell, eps: Tensor = eps, time: float = moment.time) -> Tensor:
                state: Tensor = cell(z, None, eps, time).state
                return state

            gains.append(largest_singular_value(after, step.before, generator))
    return torch.stack(gains)


def state_gradients(hvae: HVAE, images: Tensor, generator: torch.Generator) -> Tensor:
    r"""$\|\partial (-\mathrm{ELBO}) / \partial Z_k\|$ in $L^2$ (the gradient as a function), in nats: shape (steps, batch)."""
    states, cost = [], torch.zeros(len(images), dtype=images.dtype, device=images.device)
    with torch.enable_grad():
        for step in hvae.integrate(len(images), hvae.encode(images), generator=generator):
            step.state.retain_grad()
            states.append(step.state)
            cost = cost + step.kl()
        (cost + hvae.nll(images, states[-1])).sum().backward()
    hvae.zero_grad()
    # <gradient, v> in L2 is the mean product: the gradient as a function is the array of derivatives times the number of cells
    found = []
    for state in states:
        assert state.grad is not None
        cells = math.prod(state.shape[2:])
        found.append(torch.linalg.vector_norm(state.grad.flatten(1), dim=1) * math.sqrt(cells))
    return torch.stack(found)


@dataclass(frozen=True)
class Power:
    """The exponent p of values that go like t^p, with its interval over samples."""

    value: float
    low: float
    high: float


def power(t: Sequence[float], values: Tensor) -> Power:
    """The least-squares slope of log(values) on log t for each sample, values of shape (times, samples): mean and t-interval."""
    slopes = np.polyfit(np.log(t), values.double().log().numpy(), 1)[0]
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(slopes) - 1) * stats.sem(slopes)) if len(slopes) > 1 else math.inf
    return Power(float(slopes.mean()), float(slopes.mean()) - half, float(slopes.mean()) + half)

r"""Orders of convergence of schemes: strong and weak errors against exact solutions, and the slopes fitted to them.

With Z the solution and $\hat Z^h$ a scheme with steps of length h on the same noise, at time T,
$$ \text{strong: } \bigl(E\,\|\hat Z^h - Z\|^2\bigr)^{1/2} = O(h^p), \qquad
\text{weak: } |E\,\varphi(\hat Z^h) - E\,\varphi(Z)| = O(h^q). $$
Both sides of the weak error are taken on the same noise, which leaves its mean as it is and takes most of its variance away.
Source: P. Kloeden and E. Platen, "Numerical Solution of Stochastic Differential Equations" (1992), sections 9.6 and 9.7.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from multires.brownian import BrownianPath, draw
from multires.diffusion import SDE, Scheme, Stage, integrate
from multires.spaces import resolution

LEVEL = 0.95
GROUPS = 20  # of paths: the interval comes from as many slopes
ERRORS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "strong": lambda z, exact: (z - exact).square().flatten(1).mean(1),
    "weak, mean": lambda z, exact: (z - exact).flatten(1).mean(1),
    "weak, square": lambda z, exact: (z.square() - exact.square()).flatten(1).mean(1),
}
"""What is averaged over paths, of shape (paths,)."""


class Solved(Protocol):
    """A diffusion with its solution: those of `multires.exact`."""

    def sde(self) -> SDE:
        """The equation."""

    def solution(self, start: Tensor, path: BrownianPath, generator: torch.Generator) -> Tensor:
        """Its solution at the end of a path."""


@dataclass(frozen=True)
class Slope:
    """A fitted order, with its confidence interval over groups of paths."""

    value: float
    low: float
    high: float

    def off(self, order: float) -> float:
        """How far from an order the interval reaches, at its further end."""
        return max(abs(self.low - order), abs(self.high - order))


@dataclass(frozen=True)
class Errors:
    """Errors by step size, one row a group of paths; of squares where `root`."""

    h: np.ndarray
    groups: np.ndarray
    root: bool

    @property
    def values(self) -> np.ndarray:
        """The error at each step size, over all paths."""
        mean = np.abs(self.groups.mean(0))
        return np.asarray(np.sqrt(mean) if self.root else mean)

    def slope(self) -> Slope:
        """The least-squares slope of log error on log h in each group: their mean, and its t-interval."""
        power = 0.5 if self.root else 1.0
        slopes = power * np.polyfit(np.log2(self.h), np.log2(np.abs(self.groups)).T, 1)[0]
        half = float(stats.t.ppf((1 + LEVEL) / 2, len(slopes) - 1) * stats.sem(slopes))
        return Slope(float(slopes.mean()), float(slopes.mean()) - half, float(slopes.mean()) + half)


def measure(
    solved: Solved, start: Tensor, horizon: float, steps: list[int], schemes: Mapping[str, Scheme], generator: torch.Generator
) -> dict[tuple[str, str], Errors]:
    """Errors of each scheme (scheme, kind of error), with each number of steps, from `start` of shape (paths, channel, ...).

    The largest number of steps is a multiple of each, and the paths' number one of `GROUPS`.
    """
    finest = draw(tuple(start.shape), max(steps), horizon, generator)
    exact = solved.solution(start, finest, generator)
    found: dict[tuple[str, str], list[np.ndarray]] = {(name, kind): [] for name in schemes for kind in ERRORS}
    for count in steps:
        path = finest.coarsened(max(steps) // count)
        for name, scheme in schemes.items():
            stage = Stage(resolution(start), count, path.h)
            for _, state in integrate(solved.sde(), start, [stage], list(path.increments), scheme=scheme):
                last = state
            for kind, error in ERRORS.items():
                found[name, kind].append(error(last, exact).unflatten(0, (GROUPS, -1)).mean(1).numpy())
    h = horizon / np.array(steps)
    return {key: Errors(h, np.stack(columns, 1), key[1] == "strong") for key, columns in found.items()}

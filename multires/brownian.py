r"""Brownian motion truncated to $V_j$, and its refinement in time and in space on the same noise.

$W^{(j)}_t = \sum_k B^k_t\,\psi_k$ over the $2^{jd}$ Haar functions $\psi_k$ of $V_j$, each with a Brownian motion $B^k$ of its own.
So a cell of $W^{(j)}_t$ has variance $2^{jd} t$, cells are independent, and pooling gives $W^{(j-1)}$: the truncations are one
process, seen at several resolutions.

Sources: arXiv 2301.08187, section 3; P. Levy's construction of Brownian motion by midpoints.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from multires.errors import MultiresError
from multires.pooling import average, project
from multires.spaces import embed


def increments(normals: Tensor, h: float) -> Tensor:
    r"""$dW = \sqrt{2^{jd} h}\,\epsilon$: increments over a time h, from standard normals of shape (batch, channel, *spatial)."""
    return normals * math.sqrt(math.prod(normals.shape[2:]) * h)


def halves(increment: Tensor, normals: Tensor, h: float) -> tuple[Tensor, Tensor]:
    r"""The increments over both halves of a time h, given the one over all of it: $dW/2 \pm \sqrt{2^{jd} h}\,\epsilon / 2$."""
    first = increment / 2 + increments(normals, h) / 2
    return first, increment - first


def finer(increment: Tensor, normals: Tensor, h: float) -> Tensor:
    r"""An increment in $V_{j+1}$ whose pooling is the given one in $V_j$: $\text{embed}\,dW + (1 - P)\,dW'$, with $dW'$ from
    standard normals of the finer shape."""
    fresh = increments(normals, h)
    return embed(increment) + fresh - project(fresh)


@dataclass(frozen=True)
class BrownianPath:
    """A path by its increments over consecutive times h: shape (steps, batch, channel, *spatial)."""

    increments: Tensor
    h: float

    def __len__(self) -> int:
        """The number of steps."""
        return len(self.increments)

    def values(self) -> Tensor:
        """W at the end of each step, of the increments' shape; W starts at 0."""
        return self.increments.cumsum(0)

    def refined(self, generator: torch.Generator) -> "BrownianPath":
        """The same path with twice the steps of half the length."""
        normals = _normals(self.increments.shape, generator, self.increments)
        pairs = [halves(dw, each, self.h) for dw, each in zip(self.increments, normals, strict=True)]
        return BrownianPath(torch.stack([half for pair in pairs for half in pair]), self.h / 2)

    def coarsened(self, times: int = 2) -> "BrownianPath":
        """The same path with steps that are `times` as long; raises MultiresError unless their number is a multiple of it."""
        if times < 1 or len(self) % times:
            raise MultiresError(f"{len(self)} steps cannot be taken {times} at a time")
        return BrownianPath(self.increments.unflatten(0, (-1, times)).sum(1), self.h * times)

    def lifted(self, generator: torch.Generator) -> "BrownianPath":
        """A path one resolution finer, of which this one is the pooling."""
        steps, batch, channels, *spatial = self.increments.shape
        normals = _normals((steps, batch, channels, *(2 * n for n in spatial)), generator, self.increments)
        pairs = zip(self.increments, normals, strict=True)
        return BrownianPath(torch.stack([finer(dw, each, self.h) for dw, each in pairs]), self.h)

    def pooled(self, levels: int = 1) -> "BrownianPath":
        """The same path truncated to a space `levels` coarser."""
        return BrownianPath(torch.stack([average(dw, levels) for dw in self.increments]), self.h)


def draw(
    shape: tuple[int, ...], steps: int, horizon: float, generator: torch.Generator, dtype: torch.dtype = torch.float64
) -> BrownianPath:
    """A path of states of `shape`, (batch, channel, *spatial), over [0, horizon] in equal steps.

    The generator draws on the CPU. Raises MultiresError unless steps and horizon are positive.
    """
    if steps < 1 or not 0 < horizon < math.inf:
        raise MultiresError(f"{steps} steps over a time of {horizon}: both must be positive")
    normals = _normals((steps, *shape), generator, torch.empty(0, dtype=dtype))
    h = horizon / steps
    return BrownianPath(torch.stack([increments(each, h) for each in normals]), h)


def _normals(shape: tuple[int, ...] | torch.Size, generator: torch.Generator, like: Tensor) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=like.dtype).to(like.device)

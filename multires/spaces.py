r"""The spaces $V_j$ of functions on $[0, 1]^d$ that are constant on dyadic cells, and their $L^2$ geometry.

At **resolution** $j$ the domain has $n = 2^j$ cells a side. A tensor of shape (batch, channel, n, ..., n) holds the
cell values of one function for each batch entry and channel, and $d$ is its number of spatial axes. The inner product
of $L^2([0, 1]^d)$ is then the mean product of cell values, so a norm is the root mean square of the pixels.

Source: arXiv 2301.08187, section 2 (which writes $V_{-j}$ for this $V_j$).
"""

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from multires.errors import MultiresError


def dimension(x: Tensor) -> int:
    """Return d, the number of spatial axes of x with shape (batch, channel, *spatial).

    Raises MultiresError unless x is a non-empty floating-point tensor with one to three spatial axes.
    """
    if not isinstance(x, Tensor):
        raise MultiresError(f"{type(x).__name__}: expected a torch tensor; torch.from_numpy makes one of an array")
    shape = tuple(x.shape)
    if not x.is_floating_point():
        raise MultiresError(f"{x.dtype} tensor of shape {shape}: cell values are floating point, convert with x.double()")
    if not 3 <= x.ndim <= 5:
        raise MultiresError(
            f"shape {shape} is not (batch, channel, *spatial) with 1 to 3 spatial axes: add axes with x[None, None]"
        )
    if x.numel() == 0:
        raise MultiresError(f"shape {shape} holds no cells: every axis must be at least 1")
    return x.ndim - 2


def sides(x: Tensor) -> str:
    """Return the spatial shape as people write it, for example '30 x 31'."""
    return " x ".join(str(n) for n in x.shape[2:])


def resolution(x: Tensor) -> int:
    """Return j such that x holds cell values of V_j: 2^j cells on every side.

    Raises MultiresError, naming the nearest size that works, unless all sides are the same power of two.
    """
    d = dimension(x)
    n = x.shape[-1]
    if n & (n - 1) or any(side != n for side in x.shape[2:]):
        powers = (2**j for j in range(max(x.shape[2:]).bit_length() + 1))
        best = min(powers, key=lambda p: (sum(abs(side - p) for side in x.shape[2:]), -p))
        nearest = " x ".join([str(best)] * d)
        raise MultiresError(f"{sides(x)} cells: all sides must be the same power of two, the nearest that works is {nearest}")
    return n.bit_length() - 1


def require_levels(x: Tensor, levels: int) -> int:
    """Return d if x can go down `levels` resolutions, that is if 2^levels divides every side.

    Raises MultiresError, naming the nearest size that works, otherwise.
    """
    dimension(x)
    if levels < 0:
        raise MultiresError(f"levels = {levels}: must be 0 or more")
    block = 2**levels
    if any(side % block for side in x.shape[2:]):
        nearest = " x ".join(str(max(block, (side + block // 2) // block * block)) for side in x.shape[2:])
        raise MultiresError(
            f"{sides(x)} cells, {levels} levels: every side must be a multiple of {block}, the nearest that works is {nearest}"
        )
    return x.ndim - 2


def inner(f: Tensor, g: Tensor) -> Tensor:
    r"""$\langle f, g \rangle = \int f g = 2^{-jd} \sum_k f_k g_k$, for each batch entry and channel.

    f and g have shape (batch, channel, *spatial); returns shape (batch, channel).
    """
    return (f * g).flatten(2).mean(-1)


def norm(f: Tensor) -> Tensor:
    r"""$\|f\| = \langle f, f \rangle^{1/2}$, the root mean square of the cell values; shape (batch, channel)."""
    return inner(f, f).sqrt()


def embed(x: Tensor, levels: int = 1) -> Tensor:
    r"""The inclusion $V_j \hookrightarrow V_{j + \text{levels}}$: each cell value fills its $2^{d\,\text{levels}}$ subcells.

    This is nearest upsampling. It is an isometry of $L^2$, and the adjoint of average pooling.
    Shape (batch, channel, n, ...) becomes (batch, channel, 2^levels n, ...).
    """
    dimension(x)
    return functional.interpolate(x, [side * 2**levels for side in x.shape[2:]], mode="nearest")


def evaluate(f: Tensor, points: Tensor) -> Tensor:
    r"""$f(x) = f_k$ for $x$ in the cell $k$: the values of $f \in V_j$ at points of $[0, 1)^d$.

    f has shape (batch, channel, *spatial), points (count, d); returns (batch, channel, count).
    """
    d = dimension(f)
    if points.ndim != 2 or points.shape[1] != d:
        raise MultiresError(f"points of shape {tuple(points.shape)}: functions of {d} variables need shape (count, {d})")
    if not bool(((points >= 0) & (points < 1)).all()):
        raise MultiresError("points outside the domain: every coordinate must lie in [0, 1)")
    where: tuple[slice | Tensor, ...] = (slice(None), slice(None))
    for axis, side in enumerate(f.shape[2:]):
        where += ((points[:, axis] * side).long(),)
    return f[where]


Function = Callable[[Tensor], Tensor]
"""A function on [0, 1]^d: takes points of shape (..., d), returns values of shape (...)."""


def _at_gauss_nodes(f: Function, resolution: int, d: int, nodes: int) -> tuple[Tensor, Tensor]:
    """Values of f at the Gauss-Legendre nodes of every cell, and the weights: shapes (n^d, nodes^d) and (nodes^d,)."""
    t, w = np.polynomial.legendre.leggauss(nodes)
    n = 2**resolution
    axis = (torch.arange(n, dtype=torch.float64)[:, None] + torch.from_numpy((t + 1) / 2)) / n
    grid = torch.stack(torch.meshgrid([axis.flatten()] * d, indexing="ij"), -1)
    values = f(grid)
    for k in range(d):
        values = values.unflatten(2 * k, (n, nodes))
    values = values.permute(*range(0, 2 * d, 2), *range(1, 2 * d, 2)).reshape(n**d, nodes**d)
    weights = torch.tensor([float(np.prod(p)) for p in itertools.product(w / 2, repeat=d)], dtype=torch.float64)
    return values, weights


def restrict(f: Function, resolution: int, d: int, nodes: int = 8) -> Tensor:
    r"""$P_j f$, the mean of a function $f$ over each cell: $(P_j f)_k = 2^{jd} \int_{Q_k} f$.

    The integral is a tensor Gauss-Legendre rule with `nodes` points an axis and cell, exact where f is a polynomial of
    degree below 2 nodes on each cell. Returns float64 of shape (1, 1, 2^resolution, ...).
    """
    values, weights = _at_gauss_nodes(f, resolution, d, nodes)
    return (values @ weights).reshape(1, 1, *[2**resolution] * d)


def distance(f: Function, g: Tensor, nodes: int = 8) -> float:
    r"""$\|f - g\|$ in $L^2([0, 1]^d)$ between a function f and one g of $V_j$, of shape (1, 1, 2^j, ...).

    Same quadrature as `restrict`, so it is exact where f is a polynomial of degree below `nodes` on each cell.
    """
    values, weights = _at_gauss_nodes(f, resolution(g), dimension(g), nodes)
    residual = values - g.reshape(-1, 1).to(values)
    return float((residual.square() @ weights).mean().sqrt())

"""Statements B1 to B5 as defects of any pooling: how far it is from the L2 projection, measured five ways.

Each function takes a pooling that halves the resolution and a field x of shape (batch, channel, *spatial), and returns named
relative defects: zero, up to rounding, for average pooling; the margins of claim B6 for every other one.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from analysis import oracle
from analysis.measure import Defects, gap, product, relative, size, worst
from multires import haar
from multires.pooling import subsample
from multires.spaces import dimension, embed, resolution

Pool = Callable[[Tensor], Tensor]


def another(x: Tensor) -> Tensor:
    """A field of x's shape and dtype that is noise: the arbitrary y of a statement 'for all y'; a function of the shape alone."""
    rng = np.random.default_rng(x.shape)
    return torch.from_numpy(rng.standard_normal(tuple(x.shape))).to(x)


def projection(pool: Pool, x: Tensor) -> Defects:
    r"""B1: $P^2 = P$, $\langle Px, y \rangle = \langle x, Py \rangle$, range $V_{j-1}$, kernel $U_{j-1}$, $\|Px\| \le \|x\|$."""
    d, y = dimension(x), another(x)
    px = embed(pool(x))
    py = embed(pool(y))
    v = torch.from_numpy(oracle.repeat(pool(y).numpy(), d))
    u = torch.from_numpy(oracle.detail_part(y.numpy(), d)).to(x)
    siblings = torch.from_numpy(oracle.repeat(subsample(px).numpy(), d))
    outside = torch.from_numpy(oracle.split((x - px).numpy(), d)[0]) * 2 ** (-d / 2)
    return {
        "P P x = P x": gap(embed(pool(px)), px, x),
        "<P x, y> = <x, P y>": relative((product(px, y) - product(x, py)).abs(), size(x) * size(y)),
        "P x is constant on siblings": gap(px, siblings, x),
        "P v = v in V_(j-1)": gap(embed(pool(v)), v, v),
        "P u = 0 in U_(j-1)": relative(size(embed(pool(u))), size(u)),
        "x - P x in U_(j-1)": relative(size(outside), size(x)),
        "|P x| <= |x|": relative((size(px) - size(x)).clamp(min=0), size(x)),
        "P x = PyWavelets' projection": gap(px, oracle.project(x.numpy(), d), x),
    }


def conjugacy(pool: Pool, x: Tensor) -> Defects:
    r"""B2: $\pi_{j-1}(\text{pool}\, x)$ is $\pi_j x$ without its finest details; both against PyWavelets, band by band."""
    truth = oracle.decompose(x.numpy(), dimension(x))
    return {
        "pi_j x = PyWavelets": _bands_apart(haar.analysis(x, normalization="l2"), truth, x),
        "pi_(j-1) pool x = its coarse part": _bands_apart(haar.analysis(pool(x), normalization="l2"), truth[:-1], x),
    }


def _bands_apart(ours: haar.Coefficients, truth: list[np.ndarray | oracle.Bands], x: Tensor) -> float:
    """The largest difference of a band, relative to |x|; PyWavelets' coefficients are scaled by 2^(-jd/2) to L2's."""
    scale = 2 ** (-resolution(x) * dimension(x) / 2)
    apart = [0.0]
    for mine, theirs in zip(ours, truth, strict=True):
        both = (
            {"": (mine, theirs)}
            if isinstance(mine, Tensor)
            else {name: (mine[name], theirs[name]) for name in mine.keys() | set(theirs)}
        )
        for a, b in both.values():
            difference = a.double() - torch.from_numpy(b) * scale
            length = difference.flatten(2).norm(dim=-1)
            apart.append(relative(length, size(x)))
    return worst(apart)


def composition(pool: Pool, x: Tensor, direct: Callable[[Tensor, int], Tensor] | None = None) -> Defects:
    r"""B3: $\text{pool}_{j \to i} = \text{pool}_{k \to i} \circ \text{pool}_{j \to k}$ for all $i < k < j$.

    The left side is PyWavelets' approximation of that level and, where given, `direct(x, levels)`.
    """
    d, j = dimension(x), resolution(x)
    defects = {}
    truth, step = x.numpy(), x
    chain = [x]
    for level in range(1, j + 1):
        truth, step = oracle.approximation(truth, d), pool(step)
        chain.append(direct(x, level) if direct else step)
        defects[f"pool_(j->j-{level}) = PyWavelets"] = gap(chain[-1], truth, x)
        defects[f"pool_(j->j-{level}) = its steps"] = gap(step, truth, x)
    if direct:
        for k in range(1, j):
            defects[f"through j-{k}"] = worst(gap(direct(chain[k], i - k), chain[i], x) for i in range(k + 1, j + 1))
    return {"pool_(k->i) pool_(j->k) x = pool_(j->i) x": worst(defects.values()) if j else 0.0}


def best_approximation(pool: Pool, x: Tensor) -> Defects:
    r"""B4: $\|x - v\|^2 = \|x - Px\|^2 + \|Px - v\|^2$ for all $v \in V_{j-1}$; and $\|x - Px\|^2$ is PyWavelets' detail energy."""
    d, px = dimension(x), embed(pool(x))
    v = torch.from_numpy(oracle.repeat(another(pool(x)).numpy(), d))
    _, details = oracle.split(x.numpy(), d)
    energy = sum(torch.from_numpy(band**2).flatten(2).sum(-1) for band in details.values()) / x[0, 0].numel()
    whole = size(x - v).square()
    return {
        "|x - v|^2 = |x - P x|^2 + |P x - v|^2": relative((whole - size(x - px).square() - size(px - v).square()).abs(), whole),
        "|x - P x|^2 = PyWavelets' details": relative((size(x - px).square() - energy).abs(), size(x).square()),
    }


def adjointness(pool: Pool, x: Tensor) -> Defects:
    r"""B5: $\langle \text{pool}\, x, y \rangle = \langle x, \text{embed}\, y \rangle$ for all $y \in V_{j-1}$."""
    coarse = pool(x)
    y = another(coarse)
    up = torch.from_numpy(oracle.repeat(y.numpy(), dimension(x)))
    return {
        "<pool x, y> = <x, embed y>": relative((product(coarse, y) - product(x, embed(y))).abs(), size(x) * size(y)),
        "embed y = PyWavelets' inverse": gap(embed(y), up, y),
    }


STATEMENTS: dict[str, Callable[[Pool, Tensor], Defects]] = {
    "B1": projection,
    "B2": conjugacy,
    "B3": composition,
    "B4": best_approximation,
    "B5": adjointness,
}

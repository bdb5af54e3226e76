"""Statements B1 to B5 as defects of any pooling: how far it is from the L2 projection, measured five ways.

Each function takes a pooling and a field x of shape (batch, channel, *spatial), and returns named relative defects: zero, up
to rounding, for average pooling; the margins of claim B6 for every other one. Names with 'PyWavelets' compare with its result.
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
Transform = Callable[[Tensor], haar.Coefficients]


def another(x: Tensor) -> Tensor:
    """A field of x's shape and dtype that is noise: the arbitrary y of a statement 'for all y'; a function of the shape alone."""
    rng = np.random.default_rng(x.shape)
    return torch.from_numpy(rng.standard_normal(tuple(x.shape))).to(x)


def in_l2(x: Tensor) -> haar.Coefficients:
    """The change of basis pi_j."""
    return haar.analysis(x, normalization="l2")


def projection(p: Pool, x: Tensor) -> Defects:
    r"""B1: $P^2 = P$, $\langle Px, y \rangle = \langle x, Py \rangle$, range $V_{j-1}$, kernel $U_{j-1}$, $\|Px\| \le \|x\|$.

    p keeps the field's shape: a pooling followed by embedding.
    """
    d, y = dimension(x), another(x)
    px, py = p(x), p(y)
    v = torch.from_numpy(oracle.repeat(subsample(y).numpy(), d))
    u = torch.from_numpy(oracle.detail_part(y.numpy(), d)).to(x)
    siblings = torch.from_numpy(oracle.repeat(subsample(px).numpy(), d))
    outside = torch.from_numpy(oracle.split((x - px).numpy(), d)[0]) * 2 ** (-d / 2)
    return {
        "P P x = P x": gap(p(px), px, x),
        "<P x, y> = <x, P y>": relative((product(px, y) - product(x, py)).abs(), size(x) * size(y)),
        "P x is constant on siblings": gap(px, siblings, x),
        "P v = v in V_(j-1)": gap(p(v), v, v),
        "P u = 0 in U_(j-1)": relative(size(p(u)), size(u)),
        "x - P x in U_(j-1)": relative(size(outside), size(x)),
        "|P x| <= |x|": relative((size(px) - size(x)).clamp(min=0), size(x)),
        "P x = PyWavelets' projection": gap(px, oracle.project(x.numpy(), d), x),
    }


def conjugacy(pool: Pool, x: Tensor, transform: Transform = in_l2) -> Defects:
    r"""B2: $\pi_{j-1}(\text{pool}\, x)$ is $\pi_j x$ without its finest details; both against PyWavelets, band by band."""
    truth = oracle.decompose(x.numpy(), dimension(x))
    return {
        "pi_j x = PyWavelets": _bands_apart(transform(x), truth, x),
        "pi_(j-1) pool x = its coarse part": _bands_apart(transform(pool(x)), truth[:-1], x),
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


def composition(down: Callable[[Tensor, int], Tensor], x: Tensor) -> Defects:
    r"""B3: $\text{pool}_{j \to i} = \text{pool}_{k \to i} \circ \text{pool}_{j \to k}$; down(x, levels) goes at once."""
    d, j = dimension(x), resolution(x)
    truth, at_once = x.numpy(), [x]
    composed, same = [0.0], [0.0]
    for level in range(1, j + 1):
        truth = oracle.approximation(truth, d)
        at_once.append(down(x, level))
        same.append(gap(at_once[-1], truth, x))
    for k in range(1, j):
        composed += [gap(down(at_once[k], i - k), at_once[i], x) for i in range(k + 1, j + 1)]
    return {"pool_(k->i) pool_(j->k) x = pool_(j->i) x": worst(composed), "pool_(j->i) x = PyWavelets": worst(same)}


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


def adjointness(pool: Pool, x: Tensor, up: Pool = embed) -> Defects:
    r"""B5: $\langle \text{pool}\, x, y \rangle = \langle x, \text{embed}\, y \rangle$ for all $y \in V_{j-1}$."""
    coarse = pool(x)
    y = another(coarse)
    repeated = oracle.repeat(y.numpy(), dimension(x))
    return {
        "<pool x, y> = <x, embed y>": relative((product(coarse, y) - product(x, up(y))).abs(), size(x) * size(y)),
        "embed y = NumPy's repeat": gap(up(y), repeated, y),
    }


def statements(pool: Pool, x: Tensor, down: Callable[[Tensor, int], Tensor] | None = None) -> dict[str, float]:
    """The largest defect of each of B1 to B5 itself, without comparisons of the pooling with average pooling's result.

    `down(x, levels)` is the same pooling over several levels at once; without one B3 is NaN: there is nothing to compare.
    """
    found = {
        "B1": projection(lambda y: embed(pool(y)), x),
        "B2": conjugacy(pool, x),
        "B3": composition(down, x) if down else {"": np.nan},
        "B4": best_approximation(pool, x),
        "B5": adjointness(pool, x),
    }
    return {id: worst(value for name, value in values.items() if "PyWavelets" not in name) for id, values in found.items()}

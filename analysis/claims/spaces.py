"""Claims A1 to A3 and A7: the spaces V_j, their Haar basis, Parseval, and the martingale of approximations."""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise, product

import numpy as np
import pywt
import torch
from torch import Tensor

from analysis import controls, oracle
from analysis.evidence import Check, Context, Control, Evidence, claim
from analysis.measure import (
    FLOOR,
    NOISE_SHAPES,
    SAMPLE,
    Defects,
    checks_over_fields,
    controls_over_fields,
    gap,
    keep_worst,
    relative,
    size,
    worst,
)
from multires import _kernel, haar, pooling
from multires.pooling import average
from multires.spaces import dimension, embed, evaluate, resolution

POINTS = 512
LARGE = ((1, 1, 65536), (1, 1, 64, 64, 64))  # past what the compiled transform does in one round, for d = 1 and 3 (images do for 2)
LARGEST_BASIS = {1: 8, 2: 4, 3: 3}  # the finest resolution whose whole basis is built, for each d
Analysis = Callable[..., haar.Coefficients]
Synthesis = Callable[..., Tensor]


def nesting(up: Callable[[Tensor], Tensor], x: Tensor, factor: int = 2) -> Defects:
    """A1's defects of an upsampling from V_j to V_(j+1), and of dilation by a factor, f(factor .) continued periodically.

    A v of V_(j-1) must land in V_j. A u of U_(j-1), orthogonal to V_(j-1), must land as far from V_j as its norm.
    """
    d, n = dimension(x), x.shape[-1]
    rng = np.random.default_rng(n)
    t = torch.from_numpy(np.concatenate([rng.random((POINTS, d)), rng.integers(0, n, (POINTS, d)) / n]))  # cells' corners too
    values = torch.from_numpy(x.numpy()[(..., *(t.numpy() * n).astype(int).T)])
    finer = up(x)
    few = x[:SAMPLE]
    v, u = (torch.from_numpy(part(few.numpy(), d)).to(x) for part in (oracle.project, oracle.detail_part))
    outside = [size(y - torch.from_numpy(oracle.project(y.numpy(), d))) for y in (dilate(v, factor), dilate(u, factor))]
    return {
        "pool(embed f) = f": gap(average(finer), x, x),
        "|embed f| = |f|": relative((size(finer) - size(x)).abs(), size(x)),
        "(embed f)(t) = f(t)": relative((evaluate(finer, t) - values).abs().amax(-1), x.abs().flatten(2).amax(-1)),
        "v in V_(j-1) gives v(2 .) in V_j": relative(outside[0], size(few)),
        "u in U_(j-1) gives |u(2 .) - V_j| = |u|": relative((outside[1] - size(u)).abs(), size(few)),
    }


def dilate(f: Tensor, factor: int) -> Tensor:
    """The values of f(factor t mod 1) at the midpoints of the cells one resolution finer."""
    d, n = dimension(f), f.shape[-1]
    axis = (torch.arange(2 * n, dtype=torch.float64) + 0.5) / (2 * n)
    points = torch.stack(torch.meshgrid([axis * factor % 1] * d, indexing="ij"), -1).reshape(-1, d)
    return evaluate(f, points).reshape(*f.shape[:2], *[2 * n] * d)


@claim(
    "A1",
    "The spaces are nested, and dilation by two moves each one resolution up.",
    formula=r"V_0 \subset V_1 \subset \dots,\qquad f \in V_j \iff f(2\,\cdot) \in V_{j+1}",
    kind="exact",
    control="linear upsampling instead of embedding; dilation by 3",
    functions=["multires.spaces.embed", "multires.spaces.evaluate"],
)
def a1(context: Context) -> Evidence:
    """Measure embed and dilation over all fields."""
    held_against = {"linear upsampling": partial(nesting, controls.interpolate), "dilation by 3": partial(nesting, embed, factor=3)}
    return Evidence(checks_over_fields(context, partial(nesting, embed)), controls_over_fields(context, held_against))


def _ways() -> dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]]:
    """Every way the transform can be computed on this machine: each is code of its own, so each is checked."""

    def sliced(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        with _kernel.disabled():
            return f(x)

    def traced(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return torch.func.vmap(f)(x[None])[0]

    compiled = {"compiled": lambda f, x: f(x)} if _kernel.LIBRARY else {}
    return compiled | {"slicing": sliced, "traced": traced}


def _functions(units: Tensor) -> Tensor:
    """L2-normalised Haar functions by synthesis of unit coefficients."""
    return haar.synthesis(haar.from_array(units), normalization="l2")


def _coefficients(x: Tensor) -> Tensor:
    return haar.to_array(haar.analysis(x, normalization="l2"))


def _by_definition(j: int, d: int) -> Tensor:
    """The same functions in the same order, from their formula."""
    n = 2**j
    out = torch.empty(n**d, 1, *[n] * d, dtype=torch.float64)
    for (i, name, cell), values in oracle.haar_functions(j, d).items():
        place = tuple(k + (2**i if letter == "d" else 0) for letter, k in zip(name, cell, strict=True))
        out[np.ravel_multi_index(place, [n] * d), 0] = torch.from_numpy(values)
    return out


def basis_defects(functions: Tensor, j: int, d: int) -> Defects:
    """How far functions are from an orthonormal basis of V_j: their Gram matrix, and the dimensions their span lacks."""
    flat = functions.flatten(1)
    gram = flat @ flat.T / flat.shape[1]
    rank = int(np.linalg.matrix_rank(flat.numpy()))
    return {"Gram matrix - I": float((gram - torch.eye(len(flat))).abs().max()), "dimensions missing": 2 ** (j * d) - rank}


@claim(
    "A2",
    "The Haar functions are orthonormal and span V_J.",
    formula=r"\langle \psi_a, \psi_b\rangle = \delta_{ab},\qquad \operatorname{rank} = 2^{Jd}",
    kind="exact",
    control="the synthesis functions of bior2.2; the Haar functions with one taken twice",
    functions=["multires.haar.synthesis", "multires.haar.analysis", "multires.haar.from_array"],
)
def a2(context: Context) -> Evidence:
    """Build every basis up to 256, 16 x 16 and 8 x 8 x 8 cells."""
    del context  # the statement is about the functions alone
    tally: Defects = {}
    for (d, finest), (way, through) in product(LARGEST_BASIS.items(), _ways().items()):
        for j in range(finest + 1):
            units = torch.eye(2 ** (j * d), dtype=torch.float64).reshape(-1, 1, *[2**j] * d)
            truth, functions = _by_definition(j, d), through(_functions, units)
            found = {
                **basis_defects(functions, j, d),
                "functions - definition": float((functions - truth).abs().max() / truth.abs().max()),
                "coefficients of the definition - units": float((through(_coefficients, truth) - units).abs().max()),
            }
            for name, value in found.items():
                keep_worst(tally, f"{name}, d = {d}, j to {finest}, {way}", value)
    checks = [Check(name, value, 0 if name.startswith("dimensions") else 1e-13) for name, value in tally.items()]
    j, n = 6, 64
    truth = _by_definition(j, 1)
    place = pywt.coeffs_to_array(pywt.wavedec(np.zeros(n), "bior2.2", "periodization", 3))[1]
    rows = [pywt.waverec(pywt.array_to_coeffs(unit, place, "wavedec"), "bior2.2", "periodization") for unit in np.eye(n)]
    biorthogonal = basis_defects(torch.from_numpy(np.stack(rows)[:, None] * np.sqrt(n)), j, 1)
    incomplete = basis_defects(torch.cat([truth[:-1], truth[:1]]), j, 1)
    return Evidence(
        checks,
        [
            Control("bior2.2: Gram matrix - I", biorthogonal["Gram matrix - I"], FLOOR),
            Control("one function twice, one not at all: dimensions missing", incomplete["dimensions missing"], 0),
        ],
    )


def parseval(x: Tensor, analysis: Analysis = haar.analysis, synthesis: Synthesis = haar.synthesis) -> Defects:
    """A3's defects: norms kept, images restored, at full and partial depth, and PyWavelets' layouts read and written."""
    d, j = dimension(x), resolution(x)
    cells = math.sqrt(x[0, 0].numel())  # the Euclidean norm of n^d values is n^(d/2) times their L2 norm
    orthonormal, in_l2 = analysis(x), analysis(x, normalization="l2")
    array = haar.to_array(orthonormal)
    truth = oracle.decompose(x.numpy(), d)
    defects = {
        "|coefficients| = |x|, orthonormal": relative((size(array) - size(x)).abs(), size(x)),
        "|coefficients| = |x|, L2": relative((cells * size(haar.to_array(in_l2)) - size(x)).abs(), size(x)),
        "synthesis(analysis x) = x, orthonormal": gap(synthesis(orthonormal), x, x),
        "synthesis(analysis x) = x, L2": gap(synthesis(in_l2, normalization="l2"), x, x),
        "synthesis(PyWavelets' coefficients) = x": gap(synthesis(_to_torch(truth, x)), x, x),
        "synthesis(from_array(to_array)) = x": gap(synthesis(haar.from_array(array)), x, x),
    }
    for level in sorted({0, 1, j // 2, j}):
        theirs = oracle.decompose(x.numpy(), d, level=level)
        expected = oracle.to_array(theirs, d)
        part, part_in_l2 = analysis(x, level), analysis(x, level, normalization="l2")
        again = haar.from_array(haar.to_array(part), level)
        apart = [
            gap(haar.to_array(part), expected, x),
            gap(cells * haar.to_array(part_in_l2), expected, x),
            gap(synthesis(again), x, x),
            gap(synthesis(part_in_l2, normalization="l2"), x, x),
        ]
        keep_worst(defects, "one-array form = PyWavelets', all depths", worst(apart[:2]))
        keep_worst(defects, "synthesis(analysis x) = x, all depths", worst(apart[2:]))
    return defects


def _to_torch(bands: list[np.ndarray | oracle.Bands], like: Tensor) -> haar.Coefficients:
    return [
        torch.from_numpy(level).to(like)
        if isinstance(level, np.ndarray)
        else {name: torch.from_numpy(values).to(like) for name, values in level.items()}
        for level in bands
    ]


def _without_finest(
    x: Tensor, levels: int | None = None, *, normalization: haar.Normalization = "orthonormal"
) -> haar.Coefficients:
    """A transform that drops the finest details."""
    *rest, finest = haar.analysis(x, levels, normalization=normalization)
    return [*rest, {name: 0 * band for name, band in finest.items()} if isinstance(finest, dict) else finest]


def _doubled(coefficients: haar.Coefficients, *, normalization: haar.Normalization = "orthonormal") -> Tensor:
    """An inverse off by a factor."""
    return 2 * haar.synthesis(coefficients, normalization=normalization)


@claim(
    "A3",
    "Parseval and perfect reconstruction: the Haar coefficients keep the norm and give the image back.",
    formula=r"\|x\|_{L^2}^2 = \sum_a |\langle x, \psi_a\rangle|^2,\qquad x = \sum_a \langle x, \psi_a\rangle\, \psi_a",
    kind="exact",
    control="a transform without the finest details; an inverse off by 2; the norm of bior2.2 coefficients",
    functions=["multires.haar.analysis", "multires.haar.synthesis", "multires.haar.to_array", "multires.haar.from_array"],
)
def a3(context: Context) -> Evidence:
    """Measure norms and round trips over all fields."""
    held_against = {
        "a transform without the finest details": partial(parseval, analysis=_without_finest),
        "an inverse off by 2": partial(parseval, synthesis=_doubled),
    }
    checks = checks_over_fields(context, parseval, NOISE_SHAPES + LARGE)
    norms = controls_over_fields(context, {"of bior2.2 coefficients": _biorthogonal_energy})
    return Evidence(checks, controls_over_fields(context, held_against) + norms)


def _biorthogonal_energy(x: Tensor) -> Defects:
    approximation, details = oracle.split(x.numpy(), dimension(x), "bior2.2")
    energy = sum(size(torch.from_numpy(band)).square() for band in (approximation, *details.values())) / 2 ** dimension(x)
    return {"norm": relative((energy.sqrt() - size(x)).abs(), size(x))}


def martingale(p: Callable[[Tensor, int], Tensor], x: Tensor) -> Defects:
    """A7's defects of maps p(f, levels) from V_j onto V_(j - levels), embedded in V_j again."""
    d, j = dimension(x), resolution(x)
    path = [p(x, level) for level in range(j + 1)]
    tower = [gap(p(path[a], b), path[max(a, b)], x) for a in range(1, j + 1) for b in (a - 1, a, a + 1) if 1 <= b <= j]
    increments = sum(size(a - b).square() for a, b in pairwise(path))
    highest = torch.stack([f.abs() for f in path]).amax(0)
    growth = [relative((size(b) - size(a)).clamp(min=0), size(x)) for a, b in pairwise(path)]
    expectation = [gap(f, oracle.conditional_expectation(x.numpy(), d, level), x) for level, f in enumerate(path)]
    return {
        "P_j f = E[f | cells]": worst(expectation),
        "P_i P_j = P_min(i,j)": worst(tower),  # neighbours only: the other pairs follow by composing these
        "increments are orthogonal": relative((size(x).square() - size(path[j]).square() - increments).abs(), size(x).square()),
        "|P_j f| grows with j": worst(growth),
        "Doob: |max_j |P_j f|| <= 2 |f|": relative((size(highest) - 2 * size(x)).clamp(min=0), size(x)),
    }


def _repeated(pool: Callable[[Tensor], Tensor]) -> Callable[[Tensor, int], Tensor]:
    def p(x: Tensor, levels: int) -> Tensor:
        for _ in range(levels):
            x = pool(x)
        return embed(x, levels)

    return p


@claim(
    "A7",
    "The approximations form a martingale: each is the conditional expectation of the image given the dyadic cells.",
    formula=r"P_j f = \mathbb{E}[f \mid \mathcal{F}_j],\quad P_i P_j = P_{\min(i,j)},\quad \|\max_j |P_j f|\| \le 2\,\|f\|",
    kind="exact",
    control="max pooling; [1 2 1] blur",
    functions=["multires.pooling.project"],
)
def a7(context: Context) -> Evidence:
    """Measure the tower property, orthogonal increments and Doob's inequality over all fields."""
    held_against = {"max pooling": _repeated(pooling.maximum), "[1 2 1] blur": _repeated(pooling.blur)}
    return Evidence(
        checks_over_fields(context, partial(martingale, pooling.project)),
        controls_over_fields(context, {name: partial(martingale, p) for name, p in held_against.items()}),
    )

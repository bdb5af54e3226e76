"""Claims A1 to A3 and A7: the spaces V_j, their Haar basis, Parseval, and the martingale of approximations."""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise, product

import numpy as np
import pywt
import torch
from torch import Tensor
from torch.nn import functional

from analysis import oracle
from analysis.evidence import Check, Context, Control, Evidence, claim
from analysis.measure import FLOOR, Defects, checks_over_fields, control_over_fields, gap, keep_worst, relative, size, worst
from multires import _kernel, haar, pooling
from multires.pooling import average, project
from multires.spaces import dimension, embed, evaluate, resolution

POINTS = 512
LARGEST_BASIS = {1: 8, 2: 4, 3: 3}  # the finest resolution whose whole basis is built, for each d
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def nesting(up: Callable[[Tensor], Tensor], x: Tensor) -> Defects:
    """A1's defects of an upsampling from V_j to V_(j+1), and of dilation."""
    d, n = dimension(x), x.shape[-1]
    t = torch.from_numpy(np.random.default_rng(n).random((POINTS, d)))
    cells = (t.numpy() * n).astype(int)
    values = torch.from_numpy(x.numpy()[(..., *cells.T)])
    finer = up(x)
    defects = {
        "pool(embed f) = f": gap(average(finer), x, x),
        "|embed f| = |f|": relative((size(finer) - size(x)).abs(), size(x)),
        "(embed f)(t) = f(t)": relative((evaluate(finer, t) - values).abs().amax(-1), x.abs().flatten(2).amax(-1)),
    }
    # f(2 .), continued periodically, has f's cell values twice along each axis: it is as far from V_j as f is from V_(j-1)
    dilated = x.repeat(1, 1, *[2] * d)
    defects["f(2 .) in V_(j+1)"] = relative((evaluate(dilated, t / 2) - values).abs().amax(-1), x.abs().flatten(2).amax(-1))
    there, here = size(dilated - project(dilated)), size(x - project(x))
    defects["f in V_(j-1) iff f(2 .) in V_j"] = relative((there - here).abs(), size(x))
    return defects


def _interpolate(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode=LINEAR[dimension(x)])


@claim(
    "A1",
    "The spaces are nested, and dilation by two moves each one resolution up.",
    formula=r"V_0 \subset V_1 \subset \dots,\qquad f \in V_j \iff f(2\,\cdot) \in V_{j+1}",
    kind="exact",
    control="linear interpolation instead of nearest upsampling",
    functions=["multires.spaces.embed", "multires.spaces.evaluate"],
)
def a1(context: Context) -> Evidence:
    """Measure embed and dilation over all fields."""
    return Evidence(
        checks_over_fields(context, partial(nesting, embed)),
        [control_over_fields(context, "linear interpolation", partial(nesting, _interpolate))],
    )


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
    control="the synthesis functions of bior2.2; the Haar functions without the finest",
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
    incomplete = basis_defects(truth[: n // 2], j, 1)
    return Evidence(
        checks,
        [
            Control("bior2.2: Gram matrix - I", biorthogonal["Gram matrix - I"], FLOOR),
            Control("without the finest details: dimensions missing", incomplete["dimensions missing"], 0),
        ],
    )


def parseval(x: Tensor) -> Defects:
    """A3's defects: norms kept, images restored, coefficients read from and written to PyWavelets' layouts."""
    d, j = dimension(x), resolution(x)
    coefficients = haar.analysis(x)
    array, in_l2 = haar.to_array(coefficients), haar.to_array(haar.analysis(x, normalization="l2"))
    cells = math.sqrt(x[0, 0].numel())  # the Euclidean norm of n^d values is n^(d/2) times their L2 norm
    truth = oracle.decompose(x.numpy(), d)
    theirs: haar.Coefficients = [
        torch.from_numpy(band).to(x) if isinstance(band, np.ndarray) else _to_torch(band, x) for band in truth
    ]
    return {
        "|coefficients| = |x|, orthonormal": relative((size(array) - size(x)).abs(), size(x)),
        "|coefficients| = |x|, L2": relative((cells * size(in_l2) - size(x)).abs(), size(x)),
        "synthesis(analysis x) = x, full depth": gap(haar.synthesis(coefficients), x, x),
        "synthesis(analysis x) = x, half depth": gap(
            haar.synthesis(haar.analysis(x, j // 2, normalization="l2"), normalization="l2"), x, x
        ),
        "synthesis(PyWavelets' coefficients) = x": gap(haar.synthesis(theirs), x, x),
        "one-array form = PyWavelets'": gap(array, pywt.coeffs_to_array(truth, axes=oracle.axes(d))[0], x),
        "synthesis(from_array(to_array)) = x": gap(haar.synthesis(haar.from_array(array)), x, x),
    }


def _to_torch(bands: oracle.Bands, like: Tensor) -> haar.Details:
    return {name: torch.from_numpy(values).to(like) for name, values in bands.items()}


def _biorthogonal_energy(x: Tensor) -> Defects:
    approximation, details = oracle.split(x.numpy(), dimension(x), "bior2.2")
    energy = sum(size(torch.from_numpy(band)).square() for band in (approximation, *details.values())) / 2 ** dimension(x)
    return {"energy": relative((energy.sqrt() - size(x)).abs(), size(x))}


def _one_band_flipped(x: Tensor) -> Defects:
    approximation, *details = haar.analysis(x, 1)
    (bands,) = details
    assert isinstance(bands, dict)
    last = max(bands)
    return {"round trip": gap(haar.synthesis([approximation, {**bands, last: -bands[last]}]), x, x)}


@claim(
    "A3",
    "Parseval and perfect reconstruction: the Haar coefficients keep the norm and give the image back.",
    formula=r"\|x\|_{L^2}^2 = \sum_a |\langle x, \psi_a\rangle|^2,\qquad x = \sum_a \langle x, \psi_a\rangle\, \psi_a",
    kind="exact",
    control="bior2.2 does not keep the norm; one band with its sign flipped does not give the image back",
    functions=["multires.haar.analysis", "multires.haar.synthesis", "multires.haar.to_array", "multires.haar.from_array"],
)
def a3(context: Context) -> Evidence:
    """Measure norms and round trips over all fields."""
    return Evidence(
        checks_over_fields(context, parseval),
        [
            control_over_fields(context, "norm of bior2.2 coefficients", _biorthogonal_energy),
            control_over_fields(context, "round trip with one band flipped", _one_band_flipped),
        ],
    )


def martingale(down: Callable[[Tensor, int], Tensor], x: Tensor) -> Defects:
    """A7's defects of maps P_j = embed o down, with `down(x, levels)` going that many resolutions down."""
    d, j = dimension(x), resolution(x)

    def p(f: Tensor, level: int) -> Tensor:
        return embed(down(f, level), level) if level else f

    path = [p(x, level) for level in range(j + 1)]
    tower = [gap(p(path[a], b), path[max(a, b)], x) for a in range(1, j + 1) for b in (a - 1, a, a + 1) if 1 <= b <= j]
    increments = sum(size(a - b).square() for a, b in pairwise(path))
    highest = torch.stack([f.abs() for f in path]).amax(0)
    growth = worst(relative((size(b) - size(a)).clamp(min=0), size(x)) for a, b in pairwise(path))
    return {
        "P_j f = E[f | cells]": worst(
            gap(f, oracle.conditional_expectation(x.numpy(), d, level), x) for level, f in enumerate(path)
        ),
        "P_i P_j = P_min(i,j)": worst(tower),  # neighbours only: the other pairs follow by composing these
        "increments are orthogonal": relative((size(x).square() - size(path[j]).square() - increments).abs(), size(x).square()),
        "|P_j f| grows with j": growth,
        "Doob: |max_j |P_j f|| <= 2 |f|": relative((size(highest) - 2 * size(x)).clamp(min=0), size(x)),
    }


def _repeated(pool: Callable[[Tensor], Tensor]) -> Callable[[Tensor, int], Tensor]:
    def down(x: Tensor, levels: int) -> Tensor:
        for _ in range(levels):
            x = pool(x)
        return x

    return down


@claim(
    "A7",
    "The approximations form a martingale: each is the conditional expectation of the image given the dyadic cells.",
    formula=r"P_j f = \mathbb{E}[f \mid \mathcal{F}_j],\quad P_i P_j = P_{\min(i,j)},\quad \|\max_j |P_j f|\| \le 2\,\|f\|",
    kind="exact",
    control="max pooling; [1 2 1] blur",
    functions=["multires.pooling.average", "multires.pooling.project"],
)
def a7(context: Context) -> Evidence:
    """Measure the tower property, orthogonal increments and Doob's inequality over all fields."""
    return Evidence(
        checks_over_fields(context, partial(martingale, average)),
        [
            control_over_fields(context, "max pooling", partial(martingale, _repeated(pooling.maximum))),
            control_over_fields(context, "[1 2 1] blur", partial(martingale, _repeated(pooling.blur))),
        ],
    )

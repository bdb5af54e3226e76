"""Claims A4 to A6: how fast P_j f tends to f, for smooth functions, for a jump, and for Brownian paths."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from scipy import special
from torch import Tensor

from analysis import oracle
from analysis.evidence import Check, Context, Control, Evidence, claim
from analysis.measure import gap, worst
from multires import haar
from multires.pooling import average, project, subsample
from multires.spaces import Function, distance, embed, norm, resolution, restrict

RESOLUTIONS = {1: (2, 10), 2: (2, 7), 3: (2, 5)}  # coarsest and finest for each d
NODES = {1: 8, 2: 8, 3: 4}  # Gauss-Legendre points an axis and cell, at the finest resolution; coarser cells get up to MOST_NODES
MOST_NODES = 8
QUADRATURE = 1e-12  # rounding: what these rules miss of a cosine or exponential is less; docs/conventions.md
CANCELLATION = 1e-9  # what the closed form's own 1 - sinc loses to rounding, 2e-10 at the most; docs/conventions.md
FITTED = 3  # the slope is fitted to the finest resolutions only: the law is asymptotic
BIAS = 0.01  # what the next term of the expansion may still amount to there; docs/conventions.md has it below 0.7 %


@dataclass(frozen=True)
class Smooth:
    """A C^1 function on [0, 1]^d and the norm of its gradient, known in closed form."""

    name: str
    f: Function
    gradient: float


def smooth_functions(d: int) -> list[Smooth]:
    """A product, a sum in the exponent, and a function that is C^1 but not C^2."""
    rates = 1 / torch.arange(1, d + 1, dtype=torch.float64)  # a different one along each axis: no two axes may be confused
    return [
        Smooth("prod cos pi x", lambda x: (math.pi * x).cos().prod(-1), math.pi * math.sqrt(d * 2.0**-d)),
        Smooth(
            "exp(sum x_i / i)",
            lambda x: (x @ rates).exp(),
            math.sqrt(float((rates**2).sum() * ((2 * rates).expm1() / (2 * rates)).prod())),
        ),
        Smooth("sum |x - 1/3|^1.5", lambda x: (x - 1 / 3).abs().pow(1.5).sum(-1), math.sqrt(d * 9 / 4 * 5 / 18)),
    ]


def exponential_means(j: int, d: int) -> Tensor:
    """The cell means of exp(sum x_i / i): along each axis exp(left / i) times (exp(h / i) - 1) / (h / i)."""
    h, means = 2.0**-j, torch.ones(1, 1, dtype=torch.float64)
    for i in range(1, d + 1):
        along = (torch.arange(2**j, dtype=torch.float64) * h / i).exp() * math.expm1(h / i) / (h / i)
        means = means[..., None] * along
    return means


def fitted_slope(j: np.ndarray, errors: np.ndarray) -> float:
    """The least-squares slope of log2(error) against j."""
    return float(np.polyfit(j, np.log2(errors), 1)[0])


def _at_corners(f: Function, j: int, d: int) -> Tensor:
    axis = torch.arange(2**j, dtype=torch.float64) / 2**j
    return f(torch.stack(torch.meshgrid([axis] * d, indexing="ij"), -1))[None, None]


@claim(
    "A4",
    "The union of the V_j is dense: for f in C^1 the error falls like 2^(-j), its constant the gradient's norm over sqrt 12.",
    formula=r"2^j\,\|f - P_j f\| \to \|\nabla f\| / \sqrt{12}\qquad (f \in C^1)",
    kind="convergence",
    control="values at the cells' corners instead of means; a function with a jump",
    functions=["multires.spaces.restrict", "multires.spaces.distance", "multires.pooling.average"],
)
def a4(context: Context) -> Evidence:
    """Fit the slope, compare the constant, and compare every error of the cosine with its closed form."""
    checks, controls = [], []
    arrays: dict[str, np.ndarray] = {}
    for d, (coarsest, finest) in RESOLUTIONS.items():
        js = np.arange(coarsest, finest + 1)
        for number, smooth in enumerate(smooth_functions(d)):
            nodes = [min(MOST_NODES, NODES[d] << (finest - int(j))) for j in js]
            means = [restrict(smooth.f, int(j), d, q) for j, q in zip(js, nodes, strict=True)]
            errors = np.array([distance(smooth.f, mean, q) for mean, q in zip(means, nodes, strict=True)])
            slope = fitted_slope(js[-FITTED:], errors[-FITTED:])
            constant = errors[-1] * 2.0**finest * math.sqrt(12) / smooth.gradient
            label = f"{smooth.name}, d = {d}"
            checks += [
                Check(f"|slope + 1| of {label}", abs(slope + 1), BIAS),
                Check(f"|constant - 1| of {label}", abs(constant - 1), BIAS),
            ]
            if number < 2:
                pooled = worst(gap(average(means[-1], int(finest - j)), mean, mean) for j, mean in zip(js, means, strict=True))
                checks.append(Check(f"pool P_J f = P_j f, {label}", pooled, QUADRATURE))
            if number == 0:  # |f - P_j f|^2 = 2^-d (1 - sinc(2^-j / 2)^(2d)), from the means of a cosine over an interval
                exact = np.sqrt(2.0**-d * (1 - np.sinc(2.0**-js / 2) ** (2 * d)))
                checks.append(Check(f"closed form, {label}", float(np.abs(errors / exact - 1).max()), CANCELLATION))
                corners = distance(smooth.f, _at_corners(smooth.f, finest, d), NODES[d])
                constant = corners * 2.0**finest * math.sqrt(12) / smooth.gradient
                controls.append(Control(f"corner values: |constant - 1| of {label}", abs(constant - 1), BIAS))
            if number == 1:
                checks.append(
                    Check(f"means in closed form, {label}", gap(means[-1], exponential_means(finest, d), means[-1]), QUADRATURE)
                )
            arrays |= {f"d{d}_{number}_errors": errors, f"d{d}_{number}_limit": np.array(smooth.gradient / math.sqrt(12))}
        arrays[f"d{d}_j"] = js
    js = np.arange(8, 11)
    controls.append(Control("a jump: |slope + 1|", abs(fitted_slope(js, jump_errors(js, 12)) + 1), BIAS))
    arrays |= _photograph(context)
    return Evidence(checks, controls, arrays)


def _photograph(context: Context) -> dict[str, np.ndarray]:
    """The same error for the first image, for the figure: how far a real image is from C^1."""
    image = context.images.batches[0][:1].double()
    js = np.arange(resolution(image))
    errors = [float(norm(image - project(image, int(resolution(image) - j))).mean()) for j in js]
    return {"image_j": js, "image_errors": np.array(errors)}


THIRD = Fraction(1, 3)


def jump_errors(js: np.ndarray, finest: int, down: Callable[[Tensor, int], Tensor] = average, at: Fraction = THIRD) -> np.ndarray:
    """|f - P_j f| for f = 1[x < at], from the exact cell means at a finer resolution, pooled by multires.

    |f - P_j f|^2 = |f - P_J f|^2 + |P_J f - P_j f|^2, where the first term is p (1 - p) 2^-J for the one cell that the jump
    divides p : 1 - p, a fraction.
    """
    cells = oracle.jump_cells(finest, at)
    beyond = float(sum(p * (1 - p) for p in cells) / 2**finest)
    x = torch.tensor([float(p) for p in cells], dtype=torch.float64)[None, None]
    below = [float(norm(x - embed(down(x, int(finest - j)), int(finest - j)))) ** 2 for j in js]
    return np.sqrt(np.array(below) + beyond)


def first_sibling(x: Tensor, levels: int) -> Tensor:
    """Subsampling in place of averaging, level by level."""
    for _ in range(levels):
        x = subsample(x)
    return x


@claim(
    "A5",
    "A jump converges at half the rate: for f = 1[x < 1/3] the error is sqrt(2)/3 times 2^(-j/2), exactly, at every j.",
    formula=r"\|f - P_j f\| = 2^{-j/2}\,\sqrt 2/3\qquad (f = 1_{[0, 1/3)})",
    kind="exact",
    control="values at the cells' left ends instead of means; the same law for a smooth function",
    functions=["multires.pooling.average", "multires.pooling.project", "multires.spaces.norm"],
)
def a5(context: Context) -> Evidence:
    """Compare with the closed form at every j from 0 to 16."""
    del context  # the function is fixed
    finest = 16
    js = np.arange(finest + 1)
    law = 2.0 ** (-js / 2) * math.sqrt(2) / 3
    errors, corners = jump_errors(js, finest), jump_errors(js[:-1], finest, first_sibling)
    ramp = np.array([distance(lambda x: x[..., 0], restrict(lambda x: x[..., 0], int(j), 1)) for j in js])
    return Evidence(
        [
            Check("|error / law - 1|, j = 0 to 16", float(np.abs(errors / law - 1).max()), 1e-13),
            Check("|slope + 1/2|", abs(fitted_slope(js, errors) + 0.5), 1e-13),
        ],
        [
            Control("left ends: smallest |error / law - 1|", float(np.abs(corners / law[:-1] - 1).min()), 1e-3),
            Control("f(x) = x: |slope + 1/2|", abs(fitted_slope(js, ramp) + 0.5), 1e-3),
        ],
        {"j": js, "errors": errors, "law": law, "corners": corners, "ramp": ramp},
    )


PATHS = 4096
FINEST = 10
ALPHA = 1e-6  # the chance that any of A6's intervals misses its true value: one false alarm in a million runs


@claim(
    "A6",
    "Brownian paths: the mean squared error is 2^(-j)/6, and each Haar coefficient at scale 2^(-j) has variance 2^(-2j)/12.",
    formula=r"\mathbb{E}\|B - P_j B\|^2 = 2^{-j}/6,\qquad \operatorname{Var}\langle B, \psi_{j,k}\rangle = 2^{-2j}/12",
    kind="statistical",
    control="the first of two siblings instead of their mean; white noise instead of Brownian motion",
    functions=["multires.haar.analysis", "multires.pooling.project", "multires.spaces.norm"],
)
def a6(context: Context) -> Evidence:
    """Monte Carlo on exactly sampled cell means, with intervals that hold at the sample size used (docs/conventions.md)."""
    js = np.arange(FINEST)
    paths = torch.from_numpy(oracle.brownian_cells(PATHS, FINEST, context.rng))[:, None]
    white = context.normal(PATHS, 1, 2**FINEST)
    errors, ends = _squared_errors(paths, js, average), _squared_errors(paths, js, first_sibling)
    variances, white_variances = _variances(paths), _variances(white)
    white_variances *= 2.0 ** (-2 * js[-1]) / 12 / white_variances[-1]  # right at the finest scale, so that only the law can fail
    law = (2.0**-js - 2.0**-FINEST) / 6  # what remains below the finest resolution is no part of the sampled P_J B
    spread = 2.0 ** (-2 * js) / 12
    tests = 2 * len(js)
    error_width, variance_width = _quadratic_width(js, law, ALPHA / tests), _chi_square_width(js, ALPHA / tests)
    checks = [Check(f"E|B - P_{j} B|^2, relative", abs(errors[j] / law[j] - 1), error_width[j]) for j in js]
    checks += [Check(f"Var<B, psi_{j}>, relative", abs(variances[j] / spread[j] - 1), variance_width[j]) for j in js]
    j = FINEST - 1
    return Evidence(
        checks,
        [
            Control(f"first sibling: E|B - P_{j} B|^2, relative", abs(ends[j] / law[j] - 1), error_width[j]),
            Control("white noise: Var<B, psi_0>, relative", abs(white_variances[0] / spread[0] - 1), variance_width[0]),
        ],
        {"j": js, "errors": errors, "law": law, "error_width": error_width, "variances": variances, "spread": spread}
        | {"variance_width": variance_width, "ends": ends, "white": white_variances, "beyond": np.array(2.0**-FINEST / 6)},
        f"{PATHS:,} paths; all {tests} intervals together at confidence 1 - {ALPHA:g}, a false alarm in {1 / ALPHA:,.0f} runs",
    )


def _squared_errors(paths: Tensor, js: np.ndarray, down: Callable[[Tensor, int], Tensor]) -> np.ndarray:
    return np.array([float(norm(paths - embed(down(paths, int(FINEST - j)), int(FINEST - j))).square().mean()) for j in js])


def _variances(paths: Tensor) -> np.ndarray:
    """The mean square of the Haar coefficients of each scale, coarsest first; their mean is known to be 0."""
    _, details = haar.unpack(haar.analysis(paths, normalization="l2"))
    return np.array([float(level["d"].square().mean()) for level in details])


def _chi_square_width(js: np.ndarray, alpha: float) -> np.ndarray:
    """Half-width of a two-sided interval for variance / truth: a scale's coefficients are independent normals."""
    degrees = PATHS * 2.0**js
    low, high = (2 * quantile(degrees / 2, alpha / 2) / degrees for quantile in (special.gammaincinv, special.gammainccinv))
    return np.asarray(np.maximum(high - 1, 1 - low))


def _quadratic_width(js: np.ndarray, law: np.ndarray, alpha: float) -> np.ndarray:
    """The same for the mean squared error, a weighted sum of chi-squares, by the tail bound of Laurent and Massart.

    On a cell of width h the process B - P_j B has covariance eigenvalues h^2 / (pi m)^2, m = 1, 2, ...; their squares sum to
    h^4 / 90. Averaged over N paths and summed over the cells this gives the two terms below (Annals of Statistics 2000, lemma 1).
    """
    t, h = math.log(2 / alpha), 2.0**-js
    deviation = 2 * np.sqrt(h**3 / 90 * t / PATHS) + 2 * (h / math.pi) ** 2 * t / PATHS
    return np.asarray(deviation / law)

"""Claim D1: Brownian motion truncated to V_j is one process at all resolutions."""

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy import special
from torch import Tensor

from analysis.evidence import Check, Context, Control, Evidence, claim
from multires import brownian, exact
from multires.diffusion import Stage, integrate
from multires.pooling import average, maximum, subsample

EQUAL = 1e-12
FLOOR = 1e-3
TIME = 0.7  # no power of two: nothing cancels by chance
GRIDS = ((1, 4), (2, 2), (3, 1))  # (d, j)
ALPHA = 1e-6  # the chance that any of the intervals misses, as in A6
SUM_OF_CELLS = 2**18


def _covariance(draw: Callable[[Tensor], Tensor], *shape: int) -> Tensor:
    """Exactly, of what a linear map makes of independent standard normals of this spatial shape: its matrix, squared."""
    basis = torch.eye(math.prod(shape), dtype=torch.float64).reshape(-1, 1, *shape)
    matrix = draw(basis).flatten(1)
    return matrix.T @ matrix


def _off(found: Tensor, law: float) -> float:
    """The largest entry of |found / law - 1|, law on the diagonal and 0 elsewhere."""
    return float((found / law - torch.eye(len(found), dtype=found.dtype)).abs().max())


def _interval(degrees: int, alpha: float) -> float:
    """Half-width of a two-sided interval for the mean of so many squares of standard normals."""
    low, high = (2 * quantile(degrees / 2, alpha / 2) / degrees for quantile in (special.gammaincinv, special.gammainccinv))
    return float(max(high - 1, 1 - low))


@claim(
    "D1",
    "Truncated Brownian motion is one process at all resolutions: cells have variance 2^(jd) t, and pooling goes down one.",
    formula=r"\operatorname{Cov} W^{(j)}_t = 2^{jd}\,t\,I,\qquad \operatorname{pool} W^{(j)} \overset{d}{=} W^{(j-1)}",
    kind="exact",
    control="max pooling, whose cells have another variance; subsampling, which keeps the finer one's",
    functions=["multires.brownian.draw", "multires.brownian.finer", "multires.brownian.halves", "multires.pooling.average"],
)
def d1(context: Context) -> Evidence:
    """Covariances from the matrices of the maps, entry by entry; then the same of paths that were drawn."""
    checks, controls = [], []
    generator = torch.Generator().manual_seed(context.seed)
    for d, j in GRIDS:
        shape, cells, where = (2**j,) * d, 2 ** (j * d), f"d = {d}"
        below = cells / 2**d

        def whole(x: Tensor) -> Tensor:
            return brownian.increments(x, TIME)

        checks += [
            Check(f"Cov W^(j) = 2^(jd) t, {where}", _off(_covariance(whole, *shape), cells * TIME), EQUAL),
            Check(
                f"Cov pool W^(j) = 2^((j-1)d) t, {where}",
                _off(_covariance(lambda x: average(whole(x)), *shape), below * TIME),
                EQUAL,
            ),
            Check(f"Cov of halves of a step, {where}", _halves_off(shape, cells), EQUAL),
            Check(f"Cov of the finer W^(j+1), {where}", _finer_off(shape, cells), EQUAL),
        ]
        controls.append(
            Control(
                f"Cov pool W^(j) = 2^((j-1)d) t, {where}: subsampling",
                _off(_covariance(lambda x: subsample(whole(x)), *shape), below * TIME),
                FLOOR,
            )
        )
        path = brownian.draw((SUM_OF_CELLS // cells, 1, *shape), 1, TIME, generator)
        fine = path.lifted(generator)
        for what, drawn, variance in (
            ("W^(j)", path, cells * TIME),
            ("pool W^(j)", path.pooled(), below * TIME),
            ("the finer W^(j+1)", fine, cells * 2**d * TIME),
            ("halves of a step", path.refined(generator), cells * TIME / 2),
        ):
            x = drawn.increments
            # fewer cells are summed after pooling: their interval is that much wider
            bound = _interval(min(x.numel(), SUM_OF_CELLS), ALPHA / (4 * len(GRIDS)))
            checks.append(
                Check(f"drawn: variance of {what}, relative, {where}", abs(float(x.square().mean()) / variance - 1), bound)
            )
        worst = maximum(path.increments[0])
        defect = abs(float(worst.square().mean()) / (below * TIME) - 1)
        controls.append(Control(f"drawn: variance of pool W^(j), relative, {where}: max pooling", defect, 0.1))
    return Evidence(checks, controls, _filmstrip(context), f"{SUM_OF_CELLS:,} cells drawn")


def _halves_off(shape: tuple[int, ...], cells: int) -> float:
    """A step's noise and the one that refines it, as one vector: the halves are independent, each of half the variance."""

    def both(x: Tensor) -> Tensor:
        step, fresh = x[:, :1], x[:, 1:]
        return torch.cat(brownian.halves(brownian.increments(step, TIME), fresh, TIME), 1)

    return _off(_covariance(lambda x: both(x.reshape(-1, 2, *shape)), 2 * cells), cells * TIME / 2)


def _finer_off(shape: tuple[int, ...], cells: int) -> float:
    """The same for a finer resolution; and its pooling gives the coarser noise back."""
    d = len(shape)
    double, fine = tuple(2 * n for n in shape), cells * 2**d

    def lifted(x: Tensor) -> Tensor:
        coarse, fresh = x[..., :cells].reshape(-1, 1, *shape), x[..., cells:].reshape(-1, 1, *double)
        return brownian.finer(brownian.increments(coarse, TIME), fresh, TIME)

    basis = torch.eye(cells + fine, dtype=torch.float64)[:, None]
    back = average(lifted(basis)).flatten(1) - math.sqrt(cells * TIME) * basis[:, 0, :cells]
    return max(_off(_covariance(lifted, cells + fine), fine * TIME), float(back.abs().max()))


FILM = (0, 1, 2, 3, 4, 5, 6)  # resolutions, coarsest first
STEPS_A_FRAME = 16


def _filmstrip(context: Context) -> dict[str, np.ndarray]:
    """A path of a Haar diffusion from a point mass, one resolution after another: the state at the end of each."""
    generator = torch.Generator().manual_seed(context.seed)
    process = exact.HaarDiffusion(rate=0.5)
    stages = [Stage(j, STEPS_A_FRAME, 0.1 * 4.0**-j) for j in FILM]
    noise = [
        brownian.increments(torch.randn(1, 1, 2**s.resolution, 2**s.resolution, generator=generator, dtype=torch.float64), s.h)
        for s in stages
        for _ in range(s.steps)
    ]
    frames = {}
    start = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    for number, (t, state) in enumerate(integrate(process.sde(), start, stages, noise)):
        if (number + 1) % STEPS_A_FRAME == 0:
            frames[f"frame_{FILM[number // STEPS_A_FRAME]}"] = state[0, 0].numpy()
            frames[f"time_{FILM[number // STEPS_A_FRAME]}"] = np.array(t)
    return frames

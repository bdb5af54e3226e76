"""Claims B1 to B6: average pooling is L2 projection, and the other poolings are not."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pywt
import torch
from torch import Tensor

from analysis import defects, oracle
from analysis.evidence import Check, Context, Control, Evidence, claim
from analysis.measure import BOUNDS, FLOOR, Defects, checks_over_fields, control_over_fields, keep_worst, sample, worst
from multires import pooling
from multires.pooling import average, blur, maximum, subsample
from multires.spaces import dimension, resolution

CONTROLS: dict[str, defects.Pool] = {"max pooling": maximum, "subsampling": subsample, "[1 2 1] blur": blur}
LOWPASS = ("db2", "db3", "sym4", "coif1", "bior2.2", "bior4.4")
KERNEL_WIDTH = 3


def lowpass(wavelet: str) -> defects.Pool:
    """Pooling with the decomposition low-pass filter of a PyWavelets wavelet."""
    return partial(pooling.lowpass, taps=pywt.Wavelet(wavelet).dec_lo)


def random_convolution(context: Context) -> defects.Pool:
    """A strided convolution with positive random weights that sum to 1: what an untrained layer that keeps the mean does."""

    def pool(x: Tensor) -> Tensor:
        kernel = torch.from_numpy(np.random.default_rng(context.seed).random([KERNEL_WIDTH] * dimension(x)))
        return pooling.strided_convolution(x, kernel / kernel.sum(), origin=KERNEL_WIDTH // 2)

    return pool


def _evidence(context: Context, measure: Callable[..., Defects], *controls: str, **for_average: Callable[..., Tensor]) -> Evidence:
    """One statement for average pooling, and for poolings of which it is false."""
    return Evidence(
        checks_over_fields(context, partial(measure, average, **for_average)),
        [control_over_fields(context, name, partial(measure, CONTROLS[name])) for name in controls],
    )


@claim(
    "B1",
    "Average pooling, then embedding, is the orthogonal projection onto V_(j-1): idempotent, self-adjoint, with kernel U_(j-1).",
    formula=r"P^2 = P,\quad \langle Px, y\rangle = \langle x, Py\rangle,\quad \operatorname{ran} P = V_{j-1},"
    r"\quad \ker P = U_{j-1},\quad \|Px\| \le \|x\|",
    kind="exact",
    control="max pooling; [1 2 1] blur",
    functions=["multires.pooling.average", "multires.pooling.project", "multires.spaces.embed"],
)
def b1(context: Context) -> Evidence:
    """Measure the projection's defects over all fields."""
    return _evidence(context, defects.projection, "max pooling", "[1 2 1] blur")


@claim(
    "B2",
    "In Haar coordinates average pooling cuts the finest details off and touches nothing else.",
    formula=r"\pi_{j-1}(\operatorname{pool} x) = \pi_j(x)\big|_{\text{without its finest details}}",
    kind="exact",
    control="max pooling; subsampling",
    functions=["multires.haar.analysis", "multires.pooling.average"],
)
def b2(context: Context) -> Evidence:
    """Compare with PyWavelets band by band; keep a pyramid for the figure."""
    pyramid = _pyramid(context.images.batches[0][:1, :1].double())
    return replace(_evidence(context, defects.conjugacy, "max pooling", "subsampling"), arrays=pyramid)


def _pyramid(image: Tensor, depth: int = 4) -> dict[str, np.ndarray]:
    arrays = {}
    for level in range(min(depth, resolution(image)) + 1):
        pooled, truth = average(image, level)[0, 0].numpy(), oracle.approximation(image[0, 0].numpy(), 2, level)
        arrays[f"pooled_{level}"], arrays[f"pywavelets_{level}"] = pooled.astype(np.float32), truth.astype(np.float32)
        arrays[f"difference_{level}"] = (pooled - truth).astype(np.float32)
    return arrays


@claim(
    "B3",
    "Average pooling composes: going down in steps and going down at once are the same.",
    formula=r"\operatorname{pool}_{j\to i} = \operatorname{pool}_{k\to i}\circ\operatorname{pool}_{j\to k},\qquad i < k < j",
    kind="exact",
    control="max pooling and [1 2 1] blur, step by step, against the projection at once",
    functions=["multires.pooling.average"],
)
def b3(context: Context) -> Evidence:
    """Compare every way down with every other, and with PyWavelets."""
    return _evidence(context, defects.composition, "max pooling", "[1 2 1] blur", direct=average)


@claim(
    "B4",
    "The pooled image is the best approximation: Pythagoras holds against every function of V_(j-1).",
    formula=r"\|x - v\|^2 = \|x - Px\|^2 + \|Px - v\|^2\qquad\text{for all } v \in V_{j-1}",
    kind="exact",
    control="max pooling; subsampling",
    functions=["multires.pooling.project", "multires.spaces.norm"],
)
def b4(context: Context) -> Evidence:
    """Measure the defect of Pythagoras' equality."""
    return _evidence(context, defects.best_approximation, "max pooling", "subsampling")


@claim(
    "B5",
    "Pooling and embedding are adjoint in L2.",
    formula=r"\langle \operatorname{pool} x, y\rangle = \langle x, \operatorname{embed} y\rangle",
    kind="exact",
    control="max pooling; subsampling",
    functions=["multires.pooling.average", "multires.spaces.embed", "multires.spaces.inner"],
)
def b5(context: Context) -> Evidence:
    """Measure the defect of the adjoint identity."""
    return _evidence(context, defects.adjointness, "max pooling", "subsampling")


@claim(
    "B6",
    "Only average pooling does this: every other pooling breaks at least one of B1 to B5, by a margin that is no rounding.",
    formula=r"\max_{B1..B5}\ \mathrm{defect}(Q)\ \gg\ 0\qquad\text{for every pooling } Q \neq \operatorname{pool}",
    kind="exact",
    control="max, subsampling, [1 2 1] blur, strided convolution, and six wavelets' low-pass filters, each by its margin",
    functions=[
        "multires.pooling.maximum",
        "multires.pooling.subsample",
        "multires.pooling.blur",
        "multires.pooling.strided_convolution",
        "multires.pooling.lowpass",
    ],
)
def b6(context: Context) -> Evidence:
    """Put every pooling through B1 to B5. Average pooling, also as PyWavelets' 'haar' filter, must pass; all others must not."""
    poolings = {"average": average, "low-pass haar": lowpass("haar")}
    others = {"max": maximum, "subsample": subsample, "blur [1 2 1]": blur, "strided convolution": random_convolution(context)}
    others |= {f"low-pass {name}": lowpass(name) for name in LOWPASS}
    margins = {}
    for name, pool in (poolings | others).items():
        for statement, measure in defects.STATEMENTS.items():
            tally: dict[str, float] = {}
            for x in sample(context, torch.float64):
                for value in measure(pool, x).values():
                    keep_worst(tally, name, value)
            margins[name, statement] = tally[name]
    largest = {name: worst(margins[name, statement] for statement in defects.STATEMENTS) for name in poolings | others}
    table = np.array([[margins[name, statement] for statement in defects.STATEMENTS] for name in poolings | others])
    return Evidence(
        [Check(f"{name}, largest defect of B1 to B5", largest[name], BOUNDS[torch.float64]) for name in poolings],
        [Control(name, largest[name], FLOOR) for name in others],
        {"margins": table, "poolings": np.array([*poolings, *others]), "statements": np.array([*defects.STATEMENTS])},
    )

"""Claims B1 to B6: average pooling is L2 projection, and the other poolings are not."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from analysis import controls, defects, oracle
from analysis.evidence import Check, Context, Control, Evidence, claim
from analysis.measure import BOUNDS, FLOOR, checks_over_fields, controls_over_fields, gap, keep_worst, sample, worst
from multires import pooling
from multires.pooling import average, blur, maximum, subsample
from multires.spaces import dimension, resolution


@claim(
    "B1",
    "Average pooling, then embedding, is the orthogonal projection onto V_(j-1): idempotent, self-adjoint, with kernel U_(j-1).",
    formula=r"P^2 = P,\quad \langle Px, y\rangle = \langle x, Py\rangle,\quad \operatorname{ran} P = V_{j-1},"
    r"\quad \ker P = U_{j-1},\quad \|Px\| \le \|x\|",
    kind="exact",
    control="max pooling; [1 2 1] blur; linear upsampling instead of embedding",
    functions=["multires.pooling.average", "multires.pooling.project", "multires.spaces.embed"],
)
def b1(context: Context) -> Evidence:
    """Measure the projection's defects over all fields."""
    held_against = {
        "max pooling": controls.embedded(maximum),
        "[1 2 1] blur": controls.embedded(blur),
        "linear upsampling": lambda x: controls.interpolate(average(x)),
    }
    return Evidence(
        checks_over_fields(context, partial(defects.projection, pooling.project)),
        controls_over_fields(context, {name: partial(defects.projection, p) for name, p in held_against.items()}),
    )


@claim(
    "B2",
    "In Haar coordinates average pooling cuts the finest details off and touches nothing else.",
    formula=r"\pi_{j-1}(\operatorname{pool} x) = \pi_j(x)\big|_{\text{without its finest details}}",
    kind="exact",
    control="max pooling; a transform with the sign of one band flipped",
    functions=["multires.haar.analysis", "multires.pooling.average"],
)
def b2(context: Context) -> Evidence:
    """Compare with PyWavelets band by band; keep a pyramid for the figure."""
    held_against = {
        "max pooling": partial(defects.conjugacy, maximum),
        "one band flipped": partial(defects.conjugacy, average, transform=controls.one_band_flipped),
    }
    return Evidence(
        checks_over_fields(context, partial(defects.conjugacy, average)),
        controls_over_fields(context, held_against),
        _pyramid(context.pictured),
    )


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
    control="the median of each block, at once and in steps",
    functions=["multires.pooling.average"],
)
def b3(context: Context) -> Evidence:
    """Compare every way down with every other, and with PyWavelets."""
    return Evidence(
        checks_over_fields(context, partial(defects.composition, average)),
        controls_over_fields(context, {"median of each block": partial(defects.composition, controls.block_median)}),
    )


@claim(
    "B4",
    "The pooled image is the best approximation: Pythagoras holds against every function of V_(j-1).",
    formula=r"\|x - v\|^2 = \|x - Px\|^2 + \|Px - v\|^2\qquad\text{for all } v \in V_{j-1}",
    kind="exact",
    control="max pooling; subsampling",
    functions=["multires.pooling.average", "multires.spaces.embed", "multires.spaces.norm"],
)
def b4(context: Context) -> Evidence:
    """Measure the defect of Pythagoras' equality."""
    held_against = {"max pooling": maximum, "subsampling": subsample}
    return Evidence(
        checks_over_fields(context, partial(defects.best_approximation, average)),
        controls_over_fields(context, {name: partial(defects.best_approximation, pool) for name, pool in held_against.items()}),
    )


@claim(
    "B5",
    "Pooling and embedding are adjoint in L2.",
    formula=r"\langle \operatorname{pool} x, y\rangle = \langle x, \operatorname{embed} y\rangle",
    kind="exact",
    control="max pooling; linear upsampling instead of embedding",
    functions=["multires.pooling.average", "multires.spaces.embed"],
)
def b5(context: Context) -> Evidence:
    """Measure the defect of the adjoint identity."""
    held_against = {
        "max pooling": partial(defects.adjointness, maximum),
        "linear upsampling": partial(defects.adjointness, average, up=controls.interpolate),
    }
    return Evidence(checks_over_fields(context, partial(defects.adjointness, average)), controls_over_fields(context, held_against))


@claim(
    "B6",
    "Only average pooling does this: ten other poolings each break at least one of B1 to B5, by a margin that is no rounding.",
    formula=r"\max_{B1..B5}\ \mathrm{defect}(Q)\ \gg\ 0\qquad\text{for ten poolings } Q \neq \operatorname{pool}",
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
    """Put every pooling through B1 to B5: average pooling, also as PyWavelets' 'haar' filter, must pass, all others must not."""
    ours: dict[str, defects.Pool] = {"average": average, "low-pass haar": controls.lowpass("haar")}
    others = {
        "max": maximum,
        "subsample": subsample,
        "blur [1 2 1]": blur,
        "strided convolution": controls.random_convolution(context),
    }
    others |= {f"low-pass {name}": controls.lowpass(name) for name in controls.LOWPASS}
    at_once = {"average": average, "max": controls.block_maximum, "subsample": controls.every}
    margins: dict[tuple[str, str], float] = {}
    agreement: dict[str, float] = {}
    for x in sample(context, torch.float64):
        for name, pool in (ours | others).items():
            for statement, value in defects.statements(pool, x, at_once.get(name)).items():
                margins[name, statement] = worst((margins.get((name, statement), -np.inf), value))
        for wavelet in ("haar", *controls.LOWPASS):  # the controls have to be what they are called
            truth = oracle.split(x.numpy(), dimension(x), wavelet)[0] * 2 ** (-dimension(x) / 2)
            keep_worst(agreement, wavelet, gap(controls.lowpass(wavelet)(x), truth, x))
    statements = sorted({statement for _, statement in margins})
    table = np.array([[margins[name, statement] for statement in statements] for name in ours | others])
    largest = dict(zip(ours | others, np.nanmax(table, 1).tolist(), strict=True))
    bound = BOUNDS[torch.float64]
    return Evidence(
        [Check(f"{name}, largest defect of B1 to B5", largest[name], bound) for name in ours]
        + [Check(f"low-pass {wavelet} = PyWavelets' approximation", value, bound) for wavelet, value in agreement.items()],
        [Control(name, largest[name], FLOOR) for name in others],
        {"margins": table, "poolings": np.array([*ours, *others]), "statements": np.array(statements)},
    )

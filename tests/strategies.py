"""Every Hypothesis strategy of the tests, and the tolerances they are compared with."""

import numpy as np
import pywt
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from multires.configs import Task, TrainingConfig, UNetConfig, UNetRun
from multires.hvae_configs import HVAEConfig, Resolution

DTYPES = [torch.float64, torch.float32]
MOST_CELLS = {1: 5, 2: 3, 3: 2}  # the finest resolution drawn, for each d


def tolerance(dtype: torch.dtype, operations: int) -> float:
    """The a-priori relative error of that many rounded operations: gamma_k = k u / (1 - k u), u the unit roundoff."""
    k = operations * torch.finfo(dtype).eps / 2
    return k / (1 - k)


def values(shape: tuple[int, ...]) -> st.SearchStrategy[np.ndarray]:
    """Arrays of floats that float32 holds exactly, of sizes whose squares neither overflow nor vanish."""
    number = st.floats(-1024, 1024, width=32, allow_subnormal=False).map(lambda v: 0.0 if abs(v) < 2**-10 else v)
    return hnp.arrays(np.float64, shape, elements=number)


@st.composite
def shapes(draw: st.DrawFn, coarsest: int = 0, dyadic: bool = True) -> tuple[int, ...]:
    """(batch, channel, *spatial): equal dyadic sides of resolution `coarsest` or finer; else any even sides."""
    d = draw(st.integers(1, 3))
    lead = (draw(st.integers(1, 3)), draw(st.integers(1, 2)))
    if dyadic:
        return (*lead, *[2 ** draw(st.integers(coarsest, max(coarsest, MOST_CELLS[d])))] * d)
    return (*lead, *(2 * draw(st.integers(1, 4)) for _ in range(d)))


@st.composite
def fields(draw: st.DrawFn, coarsest: int = 0, dyadic: bool = True, count: int = 1) -> list[Tensor]:
    """`count` fields of one shape and dtype."""
    shape = draw(shapes(coarsest, dyadic))
    dtype = draw(st.sampled_from(DTYPES))
    return [torch.from_numpy(draw(values(shape))).to(dtype) for _ in range(count)]


@st.composite
def unet_configs(draw: st.DrawFn) -> UNetConfig:
    """Small U-Nets of every kind."""
    return UNetConfig(
        channels=draw(st.sampled_from([1, 3])),
        widths=tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))),
        blocks=draw(st.integers(1, 2)),
        dimension=draw(st.integers(1, 3)),
        pooling=draw(st.sampled_from(["average", "max", "subsample", "blur", "strided", tuple(pywt.Wavelet("db2").dec_lo)])),
        skips=draw(st.sampled_from(["add", "concatenate", "none"])),
        padding=draw(st.sampled_from(["periodic", "zeros"])),
    )


@st.composite
def unet_runs(draw: st.DrawFn) -> UNetRun:
    """Runs with any values that a run may have, trainable or not."""
    count, positive = st.integers(1, 10**12), st.floats(0, exclude_min=True, allow_infinity=False)
    finite, not_negative = st.floats(allow_nan=False, allow_infinity=False), st.floats(0, allow_infinity=False)
    model = UNetConfig(
        channels=draw(count),
        widths=tuple(draw(st.lists(count, min_size=1))),
        blocks=draw(count),
        dimension=draw(st.integers(1, 3)),
        pooling=draw(st.text() | st.lists(finite).map(tuple)),
        skips=draw(st.sampled_from(["add", "concatenate", "none"])),
        padding=draw(st.sampled_from(["periodic", "zeros"])),
    )
    task = Task(draw(st.sampled_from(["denoise", "super-resolve", "autoencode"])), draw(not_negative), draw(count))
    training = TrainingConfig(
        steps=draw(count),
        batch=draw(count),
        learning_rate=draw(positive),
        weight_decay=draw(not_negative),
        warmup=draw(st.integers(0)),
        clip=draw(positive),
        ema=draw(st.floats(0, 1, exclude_max=True)),
        seed=draw(st.integers(0, 2**31 - 1)),
        log_every=draw(count),
        save_every=draw(count),
    )
    return UNetRun(model, task, training, draw(st.text()), draw(count))


def json_values() -> st.SearchStrategy[object]:
    """What JSON can hold."""
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )


@st.composite
def mixture_parameters(draw: st.DrawFn, channels: int, moderate: bool = False) -> Tensor:
    """Parameters of a mixture of logistics at one pixel, (1, count, 1, 1): means beyond both edges, scales from far below a
    grey value to far above all; moderate ones stay where differences of distribution functions keep their digits.
    """
    mixtures = draw(st.integers(1, 3))
    kinds = 2 if channels == 1 else 3
    ranges = [(-1.2, 1.2), (-3.5, 1.0), (-2.0, 2.0)] if moderate else [(-3.0, 3.0), (-9.0, 4.0), (-4.0, 4.0)]
    weights = [draw(st.floats(-5, 5)) for _ in range(mixtures)]
    rest = [draw(st.floats(*ranges[kind])) for _ in range(channels) for kind in range(kinds) for _ in range(mixtures)]
    return torch.tensor(weights + rest, dtype=torch.float64)[None, :, None, None]


@st.composite
def extreme_mixture_parameters(draw: st.DrawFn, channels: int) -> Tensor:
    """Like `mixture_parameters`, of any size that a network on the verge of diverging puts out, and weights with much in common."""
    mixtures = draw(st.integers(1, 3))
    wild = st.sampled_from([-1e30, -1e4, -88.0, -1.0, 0.0, 1.0, 81.0, 87.0, 104.0, 1e4, 1e30]) | st.floats(-120, 120)
    means = st.floats(-2, 2) | st.floats(-1e6, 1e6)
    common = draw(st.sampled_from([0.0, 1e3, -1e6, 1e6]))
    weights = [common + draw(st.floats(-5, 5)) for _ in range(mixtures)]
    kinds = [means, wild] if channels == 1 else [means, wild, wild]
    rest = [draw(kind) for _ in range(channels) for kind in kinds for _ in range(mixtures)]
    return torch.tensor(weights + rest)[None, :, None, None]


@st.composite
def hvae_configs(draw: st.DrawFn) -> HVAEConfig:
    """Small HVAEs of every kind."""
    sizes = draw(st.lists(st.sampled_from([1, 2, 4, 8]), min_size=1, max_size=3, unique=True).map(sorted))[::-1]
    grey = draw(st.booleans())
    widths = st.none() if (group := draw(st.booleans())) else st.none() | st.integers(4, 8)
    resolutions = tuple(
        Resolution(
            size,
            draw(st.integers(0, 2)),
            draw(st.integers(1, 3)),
            draw(widths),
            draw(st.booleans()),
            draw(st.none() | st.just(f"to {size > 2}")) if group else None,
        )
        for size in sizes
    )
    return HVAEConfig(
        resolutions,
        channels=draw(st.sampled_from([1, 3])),
        width=draw(st.integers(4, 8)),
        latents=draw(st.integers(1, 3)),
        bottleneck=draw(st.sampled_from([0.25, 0.5, 1.0])),
        likelihood="logistic-mixture" if grey else "bernoulli",
        mixtures=draw(st.integers(1, 3)),
        no_bias_above=draw(st.sampled_from([0, 4, 64])),
        time_input=draw(st.booleans()),
        normalise=draw(st.booleans()),
    )

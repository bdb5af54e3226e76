"""How a claim measures: fields to measure on, relative defects, and the worst of each over all of them.

A claim about operators holds for any field. So it is measured on the images asked for, on their lines (d = 1) and on films
that pan over them (d = 3), and on Gaussian noise, which no special structure of the images (a constant one, say) can excuse.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from analysis.evidence import Check, Context, Control
from multires.spaces import dimension, inner, norm

BOUNDS = {torch.float64: 1e-13, torch.float32: 1e-6}
FLOOR = 1e-3  # a control must miss by this much, relative: ten orders above the float64 bound, three above float32's
CHUNK_CELLS = 1 << 20
FILM_SIDE = 16
SAMPLE = 4
NOISE_SHAPES = ((4, 2, 256), (2, 2, 64, 64), (2, 1, 16, 16, 16))

Defects = dict[str, float]


def chunks(batch: Tensor) -> Iterator[Tensor]:
    """Split a batch along its first axis into pieces of about CHUNK_CELLS values."""
    yield from batch.split(max(1, CHUNK_CELLS // batch[0].numel()))


def lines(images: Tensor) -> Tensor:
    """The rows of images as functions on [0, 1]: (image, channel, y, x) to (image, channel y, x)."""
    return images.flatten(1, 2)


def films(images: Tensor) -> Tensor:
    """A window that pans over each image, one cell a frame: functions on [0, 1]^3 with time as their first axis."""
    side = min(FILM_SIDE, images.shape[-1] // 2)
    frames = images[..., :side, : 2 * side].unfold(-1, side, 1)[..., :side, :]
    return frames.permute(0, 1, 3, 2, 4).contiguous()


def fields(context: Context, dtype: torch.dtype, noise: Iterable[tuple[int, ...]] = NOISE_SHAPES) -> Iterator[Tensor]:
    """Noise for d = 1, 2, 3, then all images in chunks, and the lines and films of each batch's first chunk."""
    for shape in noise:
        yield context.normal(*shape, dtype=dtype)
    for batch in context.images.batches:
        for position, images in enumerate(chunks(batch)):
            x = images.to(dtype)
            if position == 0:
                yield lines(x)
                yield films(x)
            yield x


def sample(context: Context, dtype: torch.dtype) -> Iterator[Tensor]:
    """The same kinds of fields, from the first few images of each batch: enough to show that a control fails."""
    few = replace(context.images, batches=tuple(batch[:SAMPLE] for batch in context.images.batches))
    yield from fields(replace(context, images=few), dtype)


def size(x: Tensor) -> Tensor:
    """The L2 norm of each function, summed in float64: what is measured is the rounding of x, not of this sum."""
    return norm(x.double())


def product(x: Tensor, y: Tensor) -> Tensor:
    """The L2 inner product of each pair of functions, summed in float64."""
    return inner(x.double(), y.double())


def relative(error: Tensor, scale: Tensor) -> float:
    """The largest error / scale; 0/0 counts as 0, and any other error of a zero scale as infinite."""
    ratio = torch.where(error == 0, torch.zeros_like(error), error / scale)
    return float(ratio.max())


def gap(x: Tensor, reference: Tensor | np.ndarray, scale: Tensor) -> float:
    """The largest norm of x - reference, over batch and channel, relative to the norm of `scale`; taken in float64."""
    if isinstance(reference, np.ndarray):
        reference = torch.from_numpy(reference)
    return relative(size(x.double() - reference.double()), size(scale))


def worst(values: Iterable[float]) -> float:
    """The largest value; NaN is the largest of all, where Python's max would lose it."""
    return float(np.max(list(values), initial=-np.inf))


def keep_worst(tally: Defects, name: str, value: float) -> None:
    """Keep the larger value under a name; NaN is the largest."""
    tally[name] = worst((tally.get(name, -np.inf), value))


def checks_over_fields(
    context: Context, defects: Callable[[Tensor], Defects], noise: Iterable[tuple[int, ...]] = NOISE_SHAPES
) -> list[Check]:
    """Every defect at its worst over all fields, for each dimension and precision, against that precision's bound."""
    found = []
    for dtype, bound in BOUNDS.items():
        tally: Defects = {}
        for x in fields(context, dtype, noise):
            for name, value in defects(x).items():
                keep_worst(tally, f"{name}, d = {dimension(x)}", value)
        in_order = sorted(tally, key=lambda name: name.split(", d = ")[1])
        found += [Check(name, tally[name], bound, dtype_name(dtype)) for name in in_order]
    return found


def dtype_name(dtype: torch.dtype) -> str:
    """The name of a dtype as evidence gives it: float32."""
    return str(dtype).removeprefix("torch.")


def controls_over_fields(context: Context, controls: Mapping[str, Callable[[Tensor], Defects]]) -> list[Control]:
    """For each defect by name the control that shows it largest, in float64: so each check is one that can fail."""
    tally: dict[str, Control] = {}
    for x in sample(context, torch.float64):
        for control, defects in controls.items():
            for name, value in defects(x).items():
                if name not in tally or (np.isfinite(value) and value > tally[name].measured):
                    tally[name] = Control(f"{name}: {control}", value, FLOOR)
    return list(tally.values())

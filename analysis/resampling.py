r"""What a resampling does: how far it is from the $L^2$ projection, as an operator and on activations, and the nearest wavelet.

A falling $A$ makes $Q = \text{embed} \circ A$, a rising one $Q = A \circ \text{average}$; each is held against
$P = \text{embed} \circ \text{average}$ on white noise in float64, where $\|Q - P\| / \|P\|$ is the relative Hilbert-Schmidt norm.
Sides may fall by any whole factor, and by another along each axis. `analysis.kernels` has the nearest wavelet.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from analysis.kernels import LINEAR, adjoint, factors_of, filters_of, linear_part, some_images
from analysis.probes import Ridge
from analysis.sites import Found
from analysis.tape import CASTS, Operator
from multires.errors import MultiresError

EXACT = 1e-13  # as in docs/conventions.md: float64
CANDIDATE = 1e-2
ROWS = 8192
REPLAYED = (1e-4, 1e-6)  # of the output and of the input, in float32
ROUGHLY = 2e-2  # of the output, in lower precisions
COORDINATES = 2.0**-22  # a cell: of how far float32 may be from a place in an interpolation
COMPARED = 8  # images


@dataclass(frozen=True)
class Measured:
    """One site's operator; None where the question has no answer."""

    linear: bool
    channelwise: bool
    factors: tuple[int, ...] | None
    """By which the sides fall or rise, where they do so by whole ones."""
    lossless: bool
    """Whether A* A is a multiple of the identity, and cells become channels or channels cells, as in a pixel unshuffle."""
    translates: Literal["everywhere", "inside", "nowhere"]
    """Where A commutes with translations by its factors: around the border too, away from it, or not at all."""
    single: bool
    """Whether each coarse cell reads (falling), or writes (rising), one fine cell at most."""
    action: float | None
    """The relative distance of A x from P x on activations, after the best channel mixing where A mixes channels."""
    filters: dict[str, float]
    """The unexplained fraction for each wavelet of the dictionary."""
    distance: float | None = None
    """Of Q from P, as above: for linear maps that keep the channels."""
    constant: float | None = None
    """The largest number that A adds to a cell, over the root mean square of P x."""
    worst: float | None = None
    """The same in the worst cell, together with any constant that A adds; 0 only for the projection."""
    scale: float | None = None
    """The number c for which cP is nearest to Q."""
    scaled: float | None = None
    """The distance of Q from cP in the worst cell."""
    idempotence: float | None = None
    r"""$\|Q^2 - Q\| / \|Q\|$."""
    self_adjointness: float | None = None
    r"""$\|Q - Q^*\| / \|Q\|$."""


def down(x: Tensor, factors: tuple[int, ...]) -> Tensor:
    """The means of blocks of so many cells along each axis."""
    for axis, factor in enumerate(factors, start=2):
        x = x.unflatten(axis, (-1, factor)).mean(axis + 1)
    return x


def up(x: Tensor, factors: tuple[int, ...]) -> Tensor:
    """The embedding: each cell copied to the block inside it."""
    for axis, factor in enumerate(factors, start=2):
        x = x.repeat_interleave(factor, axis)
    return x


def measure(site: Found, seed: int = 0) -> Measured:
    """Measure a site as it is found, with its weights and activations of that moment."""
    operator, generator = site.operator, torch.Generator().manual_seed(seed)
    _replayed(site)
    factors, falls = factors_of(site), site.falls
    z, other = operator.noise(generator), operator.noise(generator)
    linear, f = _linear(operator, z, other)
    linear = linear and _affine(operator, site.source.detach())
    y = f(z)
    same = operator.before[0] == operator.after[0]
    channelwise = same and _channelwise(f, z, y)
    filters = filters_of(site, linear, channelwise)
    found = {}
    # a learned map of channels is no candidate unless its filter is the projection's
    if linear and same and factors and (channelwise or not site.learned or filters.get("haar", 1.0) < CANDIDATE):
        found = _against_projection(f, operator(operator.zeros()), factors, falls, z)
    return Measured(
        linear=linear,
        channelwise=channelwise,
        factors=factors,
        lossless=linear and _has_room(y.numel() / z.numel(), falls) and _lossless(f, z),
        translates=_translates(f, z, y, factors, falls) if linear and factors else "nowhere",
        single=linear and _single(f if falls else lambda v: adjoint(f, z, v), z if falls else y),
        action=_action(site, factors, channelwise),
        filters=filters,
        **found,
    )


def _replayed(site: Found) -> None:
    """Refuse calls that come to something else than they did, as random ones do: they are no function of the activation."""
    there, operator = site.output.detach(), site.operator
    if not there.isfinite().all() or _agrees(site):
        return
    operator.batch = len(site.source)  # image by image it is another function, as where images are mixed
    if not _agrees(site):
        raise MultiresError("computed again, it gives other values: it is random, or depends on more than its input")


def _agrees(site: Found) -> bool:
    """Whether the operator gives what the site gave, at each of a few images over the whole batch."""
    there, x, operator = site.output.detach(), site.source.detach(), site.operator
    rough = any(t.dtype in (torch.float16, torch.bfloat16) or t.is_cuda for t in (x, there))
    rough = rough or any(call.rough or call.name in CASTS for call in operator.value.calls())
    rough = rough or torch.get_float32_matmul_precision() != "highest"
    relative, absolute = (ROUGHLY, 0.0) if rough else REPLAYED
    relative += COORDINATES * max(*x.shape[2:], *there.shape[2:])
    few = range(0, len(x), operator.batch) if operator.batch > 1 or len(x) <= COMPARED else _spread(len(x))
    for first in few:
        part, found = (t[first : first + operator.batch].double() for t in (x, there))
        if not _rms(operator(part) - found) <= relative * _rms(found) + absolute * _rms(part):
            return False
    return True


def _spread(count: int) -> list[int]:
    return torch.linspace(0, count - 1, COMPARED).round().int().tolist()


def _rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


def _far(x: Tensor, y: Tensor) -> float:
    """The largest difference, over the root mean square; infinite where either is not finite."""
    size, far = _rms(y), float((x - y).abs().max())
    return far / size if size and math.isfinite(far) else 0.0 if far == 0 else math.inf


def _linear(operator: Operator, z: Tensor, other: Tensor) -> tuple[bool, Callable[[Tensor], Tensor]]:
    """Whether A is linear but for a constant, and A without it."""
    f, constant = linear_part(operator), float(operator(operator.zeros()).abs().max())
    size = _rms(f(z))
    if size == 0:
        raise MultiresError("it gives the same whatever it is given, as weights of zero do")

    def additive(f: Callable[[Tensor], Tensor], bound: float) -> bool:
        return _far(f(2 * z - 3 * other), 2 * f(z) - 3 * f(other)) <= bound

    linear = additive(f, LINEAR + EXACT * constant / size)
    if not linear or constant <= size:
        return linear, f
    # the rounding of a large constant drowns what it is added to: of a louder input less is lost
    louder = 2.0 ** math.ceil(math.log2(constant / size))

    def loud(x: Tensor) -> Tensor:
        return f(louder * x) / louder

    return additive(loud, LINEAR), loud


def _affine(operator: Operator, x: Tensor) -> bool:
    """Whether A is affine among activations too, where it may be cut off at sizes that noise does not reach."""
    x, y = x[: operator.batch].double(), x[-operator.batch :].double()
    if not (x.isfinite().all() and y.isfinite().all()):
        return True
    axes = tuple(range(2, x.ndim))
    y = y.roll([side // 2 + 1 for side in y.shape[2:]], axes)
    found, expected = operator((x + y) / 2), (operator(x) + operator(y)) / 2
    # of the input too: what is left of a constant that a filter takes away is rounding
    return float((found - expected).abs().max()) <= LINEAR * (_rms(expected) + 0.01 * _rms(x))


def _against_projection(
    f: Callable[[Tensor], Tensor], rest: Tensor, factors: tuple[int, ...], falls: bool, z: Tensor
) -> dict[str, float]:
    fine = (
        z
        if falls
        else up(z, factors) + torch.randn(up(z, factors).shape, dtype=z.dtype, generator=torch.Generator().manual_seed(1)).to(z)
    )

    def q(x: Tensor) -> Tensor:
        return up(f(x), factors) if falls else f(down(x, factors))

    once, projected = q(fine), up(down(fine, factors), factors)
    size = _rms(once) or 1.0
    scale = float((once * projected).sum() / projected.square().sum())
    constant = float(rest.abs().max()) / _rms(projected)
    return {
        "distance": _rms(once - projected) / _rms(projected),
        "constant": constant,
        "worst": max(_far(once, projected), constant),
        "scale": scale,
        "scaled": max(_far(once, scale * projected), constant),
        "idempotence": _rms(q(once) - once) / size,
        "self_adjointness": _rms(once - adjoint(q, fine, fine)) / size,
    }


def _channelwise(f: Callable[[Tensor], Tensor], z: Tensor, y: Tensor) -> bool:
    """Whether each channel of the output is a function of the same channel of the input alone."""
    if z.shape[1] == 1:
        return True
    generator = torch.Generator().manual_seed(2)
    for _ in range(3):
        half = torch.rand(z.shape[1], generator=generator).to(z) < 0.5
        half[0], half[1] = True, False
        mask = half.to(z).reshape(1, -1, *[1] * (z.ndim - 2))
        # what is masked out must not matter, nor be reached
        if _far(f(z * mask), y * mask) > LINEAR:
            return False
    return True


def _has_room(ratio: float, falls: bool) -> bool:
    """Whether so many times as many numbers may be the channels of cells that went, or the cells of channels."""
    # with more numbers on a finer grid, channels are spread over cells, as in an embedding, and none need become any
    return ratio >= 1 if falls else ratio == 1


def _lossless(f: Callable[[Tensor], Tensor], z: Tensor) -> bool:
    back = adjoint(f, z, f(z))
    scale = float((back * z).sum() / z.square().sum())
    return scale > 0 and _far(back, scale * z) <= LINEAR


def _single(coarse: Callable[[Tensor], Tensor], fine: Tensor) -> bool:
    """Whether each coarse cell is a multiple of one fine cell: (w u)^2 over w u^2 then is w, whatever u."""
    generator = torch.Generator().manual_seed(4)
    channels = torch.randn(fine.shape[1], generator=generator).to(fine).reshape(1, -1, *[1] * (fine.ndim - 2))
    one, two = (torch.randn(fine[:, :1].shape, generator=generator).to(fine) for _ in range(2))
    there = coarse(channels * one).square() * coarse(channels * two.square())
    return _far(there, coarse(channels * two).square() * coarse(channels * one.square())) <= LINEAR


def _translates(
    f: Callable[[Tensor], Tensor], z: Tensor, y: Tensor, factors: tuple[int, ...], falls: bool
) -> Literal["everywhere", "inside", "nowhere"]:
    axes = tuple(range(2, z.ndim))
    fine, one = list(factors), [1] * len(factors)
    there, back = f(z.roll(fine if falls else one, axes)), y.roll(one if falls else fine, axes)
    if _far(there, back) <= LINEAR:
        return "everywhere"
    for axis in axes:
        n = y.shape[axis]
        there, back = (t.narrow(axis, n // 4 + 1, max(1, n // 2 - 1)) if n > 1 else t for t in (there, back))
    return "inside" if _far(there, back) <= LINEAR else "nowhere"


def _action(site: Found, factors: tuple[int, ...] | None, channelwise: bool) -> float | None:
    if factors is None:
        return None
    x, y = some_images(site)
    projected = down(x, factors) if site.falls else up(x, factors)
    if not (x.isfinite().all() and y.isfinite().all()):
        return None
    if channelwise:
        return _rms(y - projected) / size if (size := _rms(projected)) else None
    features, targets = (t.movedim(1, -1).flatten(0, -2) for t in (projected, y))
    rows = torch.randperm(len(features), generator=torch.Generator().manual_seed(3))[:ROWS].to(x.device)
    fit_on, held = rows.chunk(2) if len(rows) > 1 else (rows, rows)
    if len(fit_on) < 2 * features.shape[1]:  # too few to fit a mixing
        return None
    fit = Ridge()
    fit.update(features[fit_on], targets[fit_on])
    missed = targets[held] - fit.solve()(features[held])
    size = _rms(targets[held] - targets[held].mean(0))
    return _rms(missed) / size if size else None

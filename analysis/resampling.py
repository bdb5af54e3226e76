r"""What a resampling does: how far it is from the $L^2$ projection, as an operator and on activations, and the nearest wavelet.

A falling $A$ makes $Q = \text{embed} \circ A$, a rising one $Q = A \circ \text{average}$; each is held against
$P = \text{embed} \circ \text{average}$ on white noise in float64, where $\|Q - P\| / \|P\|$ is the relative Hilbert-Schmidt norm.
Sides may fall by any whole factor, and by another along each axis. The filter of a linear $A$, $y_{ok} = \sum_{i, n} w_{oin}
x_{i, fk + n}$, is compared with a wavelet's low-pass $h$ by $1 - \max_s \min_M \|w - M \otimes h_s\|^2$ over $\|w\|^2$: the best
channel mixing M, and the best place s of the filter. Rising ones are compared with the wavelet's reconstruction low-pass.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pywt
import torch
from torch import Tensor

from analysis.basis import approximations
from analysis.filters import WAVELETS
from analysis.probes import Ridge
from analysis.sites import Found
from analysis.tape import Operator, Value

EXACT = 1e-13  # as in docs/conventions.md: float64
LINEAR = 1e-10
CANDIDATE = 1e-2
DEEPEST = 8  # the largest factor by which filters are told apart
PROBED = 16  # channels of a map that mixes them, where its weights are not at hand
ROWS = 8192
IMAGES = 4


@dataclass(frozen=True)
class Measured:
    """One site's operator; None where the question has no answer."""

    linear: bool
    channelwise: bool
    factors: tuple[int, ...] | None
    """By which the sides fall or rise, where they do so by whole ones."""
    lossless: bool
    """Whether A* A is a multiple of the identity: nothing is lost, as in a pixel unshuffle."""
    translates: Literal["everywhere", "inside", "nowhere"]
    """Where A commutes with translations by its factors: around the border too, away from it, or not at all."""
    taps: int | None
    """How many cells of one channel an output cell reads (falling), or a cell writes (rising)."""
    action: float | None
    """The relative distance of A x from P x on activations, after the best channel mixing where A mixes channels."""
    filters: dict[str, float]
    """The unexplained fraction for each wavelet of the dictionary."""
    distance: float | None = None
    """Of Q from P, as above: for linear maps that keep the channels."""
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


def factors_of(site: Found) -> tuple[int, ...] | None:
    """Whole factors between sides, or None."""
    pairs = list(zip(site.operator.before[1:], site.operator.after[1:], strict=True))
    if any(max(pair) % min(pair) for pair in pairs):
        return None
    return tuple(max(pair) // min(pair) for pair in pairs)


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
    factors, falls, f = factors_of(site), site.falls, linear_part(operator)
    z, other = operator.noise(generator), operator.noise(generator)
    y = f(z)
    linear = _far(f(2 * z - 3 * other), 2 * y - 3 * f(other)) <= LINEAR
    same = operator.before[0] == operator.after[0]
    channelwise = same and _channelwise(f, z, y)
    filters, taps = filters_of(site, linear, channelwise)
    found = {}
    # a learned map of channels is no candidate unless its filter is the projection's
    if linear and same and factors and (channelwise or not site.learned or filters.get("haar", 1.0) < CANDIDATE):
        found = _against_projection(f, operator(operator.zeros()), factors, falls, z)
    return Measured(
        linear=linear,
        channelwise=channelwise,
        factors=factors,
        lossless=linear and y.numel() >= z.numel() and _lossless(f, z),
        translates=_translates(f, z, y, factors, falls) if linear and factors else "nowhere",
        taps=taps,
        action=_action(site, factors, channelwise),
        filters=filters,
        **found,
    )


def linear_part(operator: Operator) -> Callable[[Tensor], Tensor]:
    """A without the constant that it adds."""
    rest = operator(operator.zeros())
    return lambda x: operator(x) - rest


def filters_of(site: Found, linear: bool, channelwise: bool) -> tuple[dict[str, float], int | None]:
    """The unexplained fraction for each wavelet, none where the question has no answer; and the taps of a linear filter."""
    factors = factors_of(site)
    if factors is None or not linear:
        asked = factors is not None and channelwise and site.falls and _dyadic(factors) and len(set(factors)) == 1
        return (_on_activations(site, factors) if asked and factors else {}), None
    f, z = linear_part(site.operator), site.operator.noise(torch.Generator().manual_seed(0))
    kernels = _kernels(site.operator, f, z, site.falls, channelwise)
    taps = int((kernels.flatten(1).abs() > LINEAR * kernels.abs().max()).sum(1).max()) if len(kernels) else 0
    return (_filters(kernels, factors, site.falls) if _dyadic(factors) else {}), taps


def _rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


def _far(x: Tensor, y: Tensor) -> float:
    """The largest difference, over the root mean square; infinite where either is not finite."""
    size, far = _rms(y), float((x - y).abs().max())
    return far / size if size and math.isfinite(far) else 0.0 if far == 0 else math.inf


def _adjoint(f: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """f* y for linear f, at inputs like x."""
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        gradient: Tensor = torch.autograd.grad(f(leaf), leaf, y)[0]
    return gradient


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
        "worst": max(_far(once, projected), constant),
        "scale": scale,
        "scaled": max(_far(once, scale * projected), constant),
        "idempotence": _rms(q(once) - once) / size,
        "self_adjointness": _rms(once - _adjoint(q, fine, fine)) / size,
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


def _lossless(f: Callable[[Tensor], Tensor], z: Tensor) -> bool:
    back = _adjoint(f, z, f(z))
    scale = float((back * z).sum() / z.square().sum())
    return scale > 0 and _far(back, scale * z) <= LINEAR


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


def _kernels(operator: Operator, f: Callable[[Tensor], Tensor], z: Tensor, falls: bool, channelwise: bool) -> Tensor:
    """Filters of shape (pair of channels, *cells), of all pairs or, where channels mix at no cost that is known, of some."""
    call = operator.value
    padded = {before.name for before in call.calls()} - {call.name} <= {"pad", "contiguous", "clone", "to", "float"}
    if call.name in ("conv", "conv_transpose") and padded and call.pick is None:
        return _weights(call)
    y = f(z)
    centre = tuple(n // 2 for n in (y if falls else z).shape[2:])
    channels = (y if falls else z).shape[1]
    chosen: list[slice | int] = [slice(None)]
    if not channelwise:
        chosen = [int(c) for c in np.unique(np.linspace(0, channels - 1, min(PROBED, channels)).round())]
    responses = []
    for channel in chosen:
        impulse = torch.zeros_like(y if falls else z)
        impulse[(0, channel, *centre)] = 1.0
        responses.append((_adjoint(f, z, impulse) if falls else f(impulse))[0])
    kernels = torch.cat(responses)
    kernels = kernels[kernels.flatten(1).any(1)]
    # around the border, so that what a periodic filter wraps comes back together
    axes = tuple(range(1, kernels.ndim))
    ratio = [n / m for n, m in zip(kernels.shape[1:], (y if falls else z).shape[2:], strict=True)]
    kernels = kernels.roll([kernels.shape[a] // 2 - int((c + 0.5) * r) for a, c, r in zip(axes, centre, ratio, strict=True)], axes)
    for axis in axes:  # only where there is something
        taps = kernels.movedim(axis, 0).flatten(1).any(1).nonzero()
        if len(taps):
            kernels = kernels.narrow(axis, int(taps[0]), int(taps[-1] - taps[0]) + 1)
    return kernels


def _weights(call: Value) -> Tensor:
    """The weights of a convolution as filters of shape (pair of channels, *cells), zeros between dilated ones."""
    weight: Tensor = call.kwargs.get("weight", call.args[1] if len(call.args) > 1 else None)
    at = 5 if call.name == "conv" else 7
    dilation = call.kwargs.get("dilation", call.args[at] if len(call.args) > at else 1)
    steps = [dilation] * (weight.ndim - 2) if isinstance(dilation, int) else list(dilation)
    spread = weight.new_zeros(*weight.shape[:2], *((n - 1) * s + 1 for n, s in zip(weight.shape[2:], steps, strict=True)))
    where: tuple[slice, ...] = (slice(None), slice(None), *(slice(None, None, step) for step in steps))
    spread[where] = weight.detach()
    return spread.double().flatten(0, 1)


def lowpass(wavelet: str, factor: int, falls: bool) -> np.ndarray:
    """The low-pass filter of log2(factor) steps along one axis, of norm 1; the reconstruction's for rising sides."""
    filters = pywt.Wavelet(wavelet)
    step = np.array(filters.dec_lo[::-1] if falls else filters.rec_lo)
    found = np.ones(1)
    for level in range(factor.bit_length() - 1):
        spread = np.zeros((len(step) - 1) * 2**level + 1)
        spread[:: 2**level] = step
        found = np.convolve(found, spread)
    return found / np.linalg.norm(found)


def _dyadic(factors: tuple[int, ...]) -> bool:
    return all(factor & (factor - 1) == 0 and factor <= DEEPEST for factor in factors)


def _filters(kernels: Tensor, factors: tuple[int, ...], falls: bool) -> dict[str, float]:
    if not len(kernels):
        return {}
    shape, rows = kernels.shape[1:], kernels.flatten(1)
    if len(rows) > rows.shape[1]:  # as many filters as there are taps, with the same inner products summed over all
        rows = torch.linalg.qr(rows, mode="r").R
    total, found = float(rows.square().sum()), {}
    axes = tuple(range(1, 1 + len(shape)))
    for wavelet in WAVELETS:
        taps = [torch.from_numpy(lowpass(wavelet, factor, falls)).to(rows) for factor in factors]
        sizes = [n + len(h) - 1 for n, h in zip(shape, taps, strict=True)]
        spectrum = torch.fft.fftn(rows.reshape(-1, *shape), sizes, axes)
        for axis, (h, size) in enumerate(zip(taps, sizes, strict=True), start=1):
            along = [size if a == axis else 1 for a in axes]
            spectrum = spectrum * torch.fft.fft(h, size).conj().reshape(1, *along)
        best = torch.fft.ifftn(spectrum, None, axes).real.square().sum(0).max()
        found[wavelet] = max(0.0, 1 - float(best) / total)
    return found


def _on_activations(site: Found, factors: tuple[int, ...]) -> dict[str, float]:
    """The same for maps that are not linear: what a multiple of the wavelet's approximation, and a constant, leave of A x."""
    x, y = _some(site)
    channels = torch.linspace(0, x.shape[1] - 1, min(PROBED, x.shape[1]), device=x.device).round().long()
    x, y = x[:, channels].flatten(0, 1)[:, None], y[:, channels].flatten(0, 1)
    targets = approximations(x, factors[0].bit_length() - 1)[-1].to(y).unflatten(1, (len(WAVELETS), -1))
    y, targets = (t.flatten(t.ndim - len(factors)) for t in (y, targets))
    y = (y - y.mean(-1, keepdim=True))[:, None, None]
    targets = targets - targets.mean(-1, keepdim=True)
    variance = targets.square().sum(-1)
    explained = torch.where(variance > 0, (targets * y).sum(-1).square() / variance, 0).sum(0).amax(1)
    total = float(y.square().sum())
    return {w: max(0.0, 1 - float(e) / total) for w, e in zip(WAVELETS, explained, strict=True)} if total else {}


def _some(site: Found) -> tuple[Tensor, Tensor]:
    """Activations of a few images, in float64, and what A makes of them."""
    batch = site.operator.batch
    x = site.source.detach()[: max(batch, IMAGES)].double()
    return x, torch.cat([site.operator(part) for part in x.split(batch)])


def _action(site: Found, factors: tuple[int, ...] | None, channelwise: bool) -> float | None:
    if factors is None:
        return None
    x, y = _some(site)
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

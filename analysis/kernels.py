r"""The filters of a resampling, and the wavelet that they are nearest to.

The filter of a linear $A$, $y_{ok} = \sum_{i, n} w_{oin} x_{i, fk + n}$, is compared with a wavelet's low-pass $h$ by
$\min_s \min_M \|w - M \otimes h_s\|^2$ over $\|w\|^2$: the best channel mixing M, and the best place s of the filter. Rising
ones are compared with the wavelet's reconstruction low-pass.
"""

from collections.abc import Callable

import numpy as np
import pywt
import torch
from torch import Tensor

from analysis.basis import approximations
from analysis.filters import WAVELETS
from analysis.sites import Found
from analysis.tape import Operator, Value

LINEAR = 1e-10
DEEPEST = 8  # the largest factor by which filters are told apart
PROBED = 16  # channels of a map that mixes them, where its weights are not at hand
IMAGES = 4


def factors_of(site: Found) -> tuple[int, ...] | None:
    """Whole factors between sides, or None."""
    pairs = list(zip(site.operator.before[1:], site.operator.after[1:], strict=True))
    if any(max(pair) % min(pair) for pair in pairs):
        return None
    return tuple(max(pair) // min(pair) for pair in pairs)


def linear_part(operator: Operator) -> Callable[[Tensor], Tensor]:
    """A without the constant that it adds."""
    rest = operator(operator.zeros())
    return lambda x: operator(x) - rest


def adjoint(f: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """f* y for linear f, at inputs like x."""
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        gradient: Tensor = torch.autograd.grad(f(leaf), leaf, y)[0]
    return gradient


def some_images(site: Found) -> tuple[Tensor, Tensor]:
    """Activations of a few images, in float64, and what A makes of them."""
    batch = site.operator.batch
    x = site.source.detach()[: max(batch, IMAGES)].double()
    return x, torch.cat([site.operator(part) for part in x.split(batch)])


def filters_of(site: Found, linear: bool, channelwise: bool) -> dict[str, float]:
    """The unexplained fraction for each wavelet, none where the question has no answer."""
    factors = factors_of(site)
    if factors is None or not linear:
        asked = factors is not None and channelwise and site.falls and _dyadic(factors) and len(set(factors)) == 1
        return _on_activations(site, factors) if asked and factors else {}
    if not _dyadic(factors):
        return {}
    f, z = linear_part(site.operator), site.operator.noise(torch.Generator().manual_seed(0))
    return _filters(_kernels(site.operator, f, z, site.falls, channelwise), factors, site.falls)


def _kernels(operator: Operator, f: Callable[[Tensor], Tensor], z: Tensor, falls: bool, channelwise: bool) -> Tensor:
    """Filters of shape (pair of channels, *cells), of all pairs or, where channels mix at no cost that is known, of some."""
    call = operator.value
    padded = {before.name for before in call.calls() if before is not call} <= {"pad", "contiguous", "clone", "to", "float"}
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
        responses.append((adjoint(f, z, impulse) if falls else f(impulse))[0])
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
    if not kernels.any():
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
    x, y = some_images(site)
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

r"""Basis identification: which wavelet's approximations do the activations of a U-Net carry?

At level l, fit one linear read-out from the channels of a cell to PyWavelets' approximation, in every basis of the dictionary, at
that cell: of the network's *input* from the encoder's activation, of its *output* from the decoder's. The score is the unexplained
fraction $1 - R^2$ on images that the read-out has not seen. A basis may also be read at a neighbouring cell: of the $3^d$ places
the best counts, so that no basis loses by where its filter happens to be centred.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor, nn

from analysis import oracle
from analysis.capture import capture
from analysis.filters import WAVELETS
from analysis.probes import Ridge, Score
from multires.errors import MultiresError
from multires.spaces import require_levels

Side = Literal["encoder", "decoder"]
Pass = tuple[Tensor, dict[str, Tensor]]
BATCH = 64
TIE = 1e-3


@dataclass(frozen=True)
class Identification:
    """Unexplained fractions with 95 % intervals over images; arrays have the axes (level 1, 2, ..., wavelet)."""

    unexplained: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @cached_property
    def best(self) -> list[str | None]:
        """The wavelet with the smallest unexplained fraction at each level; None where others are as small to rounding."""
        ties = (self.unexplained <= self.unexplained.min(1, keepdims=True) * (1 + TIE)).sum(1) > 1
        return [None if tie else WAVELETS[i] for i, tie in zip(self.unexplained.argmin(1), ties, strict=True)]


def approximations(images: Tensor, levels: int) -> list[Tensor]:
    """PyWavelets' approximations at level 1, 2, ... of images (image, 1, *spatial), over 2^(level d/2).

    Each has shape (image, wavelet * place, *spatial): every wavelet of the dictionary, read at each of 3^d places around a cell.
    The channels lie last in memory, as the fit of a read-out wants them.
    """
    d = images.ndim - 2
    current = [images.double().cpu().numpy()[:, 0]] * len(WAVELETS)
    found = []
    for _ in range(levels):
        current = [oracle.approximation(x, d, 1, wavelet) for x, wavelet in zip(current, WAVELETS, strict=True)]
        found.append(torch.from_numpy(_around(np.stack(current, 1), d)).movedim(-1, 1))
    return found


def _around(x: np.ndarray, d: int) -> np.ndarray:
    """(image, wavelet, *spatial) rolled to each of the 3^d places, the last of which is one cell back: (image, *spatial, all)."""
    wide = np.pad(x, [(0, 0)] * 2 + [(1, 1)] * d, "wrap")
    places = np.flip(sliding_window_view(wide, x.shape[2:], axis=oracle.axes(d)), tuple(range(2, 2 + d)))
    return np.ascontiguousarray(np.moveaxis(places, oracle.axes(d), range(1, 1 + d))).reshape(len(x), *x.shape[2:], -1)


def sites(levels: int) -> dict[tuple[Side, int], str]:
    """The module whose output is read at each side and level; the coarsest level is the end of one and the start of the other."""
    encoder: dict[tuple[Side, int], str] = {("encoder", level): f"encoder.{level}" for level in range(1, levels + 1)}
    decoder: dict[tuple[Side, int], str] = {("decoder", level): f"decoder.{level}" for level in range(1, levels)}
    return encoder | decoder | {("decoder", levels): f"encoder.{levels}"}


def activations(nets: Sequence[nn.Module], names: set[str], inputs: Tensor) -> Iterator[tuple[Tensor, list[Pass]]]:
    """Batch by batch: inputs, and what each network makes of them, its output and those of the named modules."""
    for x in inputs.split(BATCH):
        passes = []
        for net in nets:
            where = next(net.parameters())
            with torch.inference_mode(), capture(net, sorted(names)) as record:
                y = net(x.to(where)).cpu()
            passes.append((y, {name: record[name].tensor.cpu() for name in names}))
        yield x, passes


def identify(net: nn.Module, levels: int, fit_on: Tensor, score_on: Tensor) -> dict[Side, Identification]:
    """Fit the read-outs on the inputs `fit_on` and score them on `score_on`, both of shape (image, 1, *spatial).

    Raises MultiresError for images of another shape, for images that are not finite or do not vary, and for a network that has
    no modules `encoder.l` for l = 1, ..., levels and `decoder.l` for those but the last.
    """
    (found,) = identify_each([net], levels, fit_on, score_on)
    return found


def identify_each(nets: Sequence[nn.Module], levels: int, fit_on: Tensor, score_on: Tensor) -> list[dict[Side, Identification]]:
    """`identify` for several networks at once, which share the approximations of their inputs."""
    for net in nets:
        _require_identifiable(net, levels, fit_on, score_on)
    fits = [{key: Ridge() for key in sites(levels)} for _ in nets]
    for k, key, features, targets in _rows(nets, levels, fit_on):
        fits[k][key].update(features, targets)
    read = [{key: fit.solve() for key, fit in each.items()} for each in fits]
    scores = [{key: Score() for key in sites(levels)} for _ in nets]
    for k, key, features, targets in _rows(nets, levels, score_on):
        scores[k][key].update(read[k][key](features), targets)
    sides: tuple[Side, Side] = ("encoder", "decoder")
    return [{side: best_places([each[side, level] for level in range(1, levels + 1)]) for side in sides} for each in scores]


def _require_identifiable(net: nn.Module, levels: int, *images: Tensor) -> None:
    if levels < 1:
        raise MultiresError(f"levels = {levels}: a basis is identified at level 1 and beyond")
    names = dict(net.named_modules())
    if missing := sorted(set(sites(levels).values()) - set(names)):
        raise MultiresError(f"{type(net).__name__} has no module {missing[0]!r}: basis identification at {levels} levels reads it")
    for x in images:
        if require_levels(x, levels) and x.shape[1] != 1:
            raise MultiresError(f"images of shape {tuple(x.shape)}: basis identification takes one channel, (image, 1, *spatial)")
        if not bool(x.isfinite().all()):
            raise MultiresError(f"images of shape {tuple(x.shape)}: they hold NaN or infinity; this needs finite numbers")
        if not bool((x.flatten(1).amax(1) > x.flatten(1).amin(1)).any()):
            raise MultiresError(f"{len(x)} images, all constant: every basis has the same approximations, so none can be told")


def _rows(nets: Sequence[nn.Module], levels: int, inputs: Tensor) -> Iterator[tuple[int, tuple[Side, int], Tensor, Tensor]]:
    where = sites(levels)
    for x, passes in activations(nets, set(where.values()), inputs):
        coarser = approximations(x, levels)
        for k, (y, found) in enumerate(passes):
            targets = {"encoder": coarser, "decoder": approximations(y, levels)}
            for (side, level), name in where.items():
                yield k, (side, level), found[name], targets[side][level - 1]


def best_places(scores: list[Score]) -> Identification:
    """Each basis at the place that serves it best, from scores of the targets of `approximations`."""
    intervals = [score.interval(samples=200) for score in scores]
    table = np.array([[i.estimate.numpy(), i.low.numpy(), i.high.numpy()] for i in intervals])
    table = table.reshape(len(scores), 3, len(WAVELETS), -1)
    best = table[:, :1].argmin(-1, keepdims=True)
    estimate, low, high = np.take_along_axis(table, best, -1)[..., 0].transpose(1, 0, 2)
    return Identification(estimate, low, high)

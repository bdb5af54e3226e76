r"""Time in the states of an HVAE: does their norm grow, and can the time be read from them?

With $Z_k$ the state after step k of n, and $t_k = k / n$: **growth** is Spearman's correlation of
$\|Z_k\| = (\sum_c \|Z_{k,c}\|^2)^{1/2}$ in $L^2$ with k, image by image. A **read-out** of t is linear in the *means* $P_0 Z_c$ of
channels or in their *norms* $\|Z_c\|$, is fitted on some images and scored on others by $1 - R^2$.
Norm and read-outs of all steps use the channels that every resolution has; *within* resolutions each has a read-out of its own,
scored against the mean time there, so that nothing is won by telling one resolution from another.

Source: arXiv 2301.08187, section 5 (HVAEs learn a representation of time).
"""

from itertools import groupby

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from analysis.inference import Arrays, Inferred, mean
from analysis.probes import Readout, Ridge, Score
from multires.hvae import HVAE
from multires.spaces import norm

QUANTILES = (0.05, 0.5, 0.95)
KINDS = ("means", "norms")


def growth(values: Tensor, labels: Tensor) -> Tensor:
    """Spearman's correlation of values with labels, both of shape (images, steps), image by image: shape (images,)."""
    a, b = (stats.rankdata(x.numpy(), axis=1) - (x.shape[1] + 1) / 2 for x in (values, labels))
    size = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return torch.from_numpy((a * b).sum(1) / np.maximum(size, np.finfo(float).tiny))


class Readouts:
    """A read-out of time for each group of steps, and one score for all of them."""

    def __init__(self, groups: list[list[int]], times: Tensor) -> None:
        self._groups, self._centres = groups, [times[group].mean() for group in groups]
        self._fits = [Ridge() for _ in groups]
        self._readouts: list[Readout] = []
        self.score = Score()

    def update(self, states: list[Tensor], times: Tensor, held_out: bool) -> None:
        """Features of shape (batch, channel) for each step, the times of shape (batch, steps)."""
        features = [torch.stack([states[k] for k in group], 2) for group in self._groups]
        targets = [times[:, None, group] for group in self._groups]
        if not held_out:
            for fit, x, t in zip(self._fits, features, targets, strict=True):
                fit.update(x, t)
            return
        self._readouts = self._readouts or [fit.solve() for fit in self._fits]
        read = [readout(x) for readout, x in zip(self._readouts, features, strict=True)]
        self.score.update(*(torch.cat([t - c for t, c in zip(x, self._centres, strict=True)], 2) for x in (read, targets)))


class Clock:
    """Growth of the norm and read-outs of time.

    As controls, with a generator times are shuffled within each image, and turned, those of each resolution are one step late, the
    first one last, alike for all images: read-outs that find these as well tell steps apart, in whatever order.
    """

    def __init__(self, hvae: HVAE, shuffle: torch.Generator | None = None, *, turned: bool = False) -> None:
        n = hvae.config.steps
        self._channels = min(hvae.config.width_at(r) for r in hvae.config.resolutions)
        self._times = torch.arange(1, n + 1, dtype=torch.float64) / n
        self._shuffle = shuffle
        self._norms: list[Tensor] = []
        self._growth: list[Tensor] = []
        groups = [list(group) for _, group in groupby(range(n), lambda k: hvae.timetable[k].resolution)]
        self._groups = {"all": [list(range(n))], "within": [group for group in groups if len(group) > 1]}
        self._scopes = [scope for scope, each in self._groups.items() if each]
        if turned:
            for group in groups:
                self._times[group] = self._times[group].roll(1)
        self._readouts = {(k, s): Readouts(self._groups[s], self._times) for k in KINDS for s in self._scopes}

    def _labels(self, count: int, scope: str) -> Tensor:
        """The times of all steps, or for the control those of the same group of steps in another order for each image."""
        times = self._times.repeat(count, 1)
        for group in self._groups[scope] if self._shuffle is not None else []:
            order = torch.rand(count, len(group), generator=self._shuffle).argsort(1)
            times[:, group] = times[:, group].gather(1, order)
        return times

    def update(self, batch: Inferred) -> None:
        """Fit read-outs on a batch, or score them on one that is held out."""
        norms = [norm(step.state.double()).cpu() for step in batch.steps]
        states = {"means": [step.state.double().mean((2, 3)).cpu() for step in batch.steps], "norms": norms}
        size = torch.stack([torch.linalg.vector_norm(x[:, : self._channels], dim=1) for x in norms], 1)
        self._norms.append(size)
        self._growth.append(growth(size, self._labels(len(size), "all")))
        for (kind, scope), readout in self._readouts.items():
            channels = self._channels if scope == "all" else None
            readout.update([x[:, :channels] for x in states[kind]], self._labels(len(size), scope), batch.held_out)

    def found(self) -> Arrays:
        """Growth, and 1 - R^2 of each read-out, as (estimate, low, high); quantiles of the norm, (quantile, step)."""
        found = {"growth": mean(torch.cat(self._growth))}
        for (kind, scope), readout in self._readouts.items():
            interval = readout.score.interval()
            found[f"unexplained {kind} {scope}"] = torch.cat([interval.estimate, interval.low, interval.high]).numpy()
        return found | {"norm": np.quantile(torch.cat(self._norms).numpy(), QUANTILES, axis=0)}

r"""Time in the states of an HVAE: does their norm grow, and can the time be read from them?

With $Z_k$ the state after step k of n, and $t_k = k / n$: **growth** is Spearman's correlation of
$\|Z_k\| = (\sum_c \|Z_{k,c}\|^2)^{1/2}$ in $L^2$ with k, image by image. The **read-out** is linear in the means of channels,
$\hat t = a + \langle w, P_0 Z \rangle$, fitted on some images and scored on others by $1 - R^2$. At all steps it uses the
channels that every resolution has; *within* resolutions each has a read-out of its own, scored against the mean time there, so
that nothing is won by telling one resolution from another.

Source: arXiv 2301.08187, section 5 (HVAEs learn a representation of time).
"""

from itertools import groupby

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from analysis.inference import Arrays, Inferred, mean, sides
from analysis.probes import Readout, Ridge, Score
from multires.cells import Step
from multires.hvae import HVAE
from multires.spaces import norm


QUANTILES = (0.05, 0.5, 0.95)


def norms(steps: list[Step]) -> Tensor:
    """The L2 norm of the state after each step, of shape (batch, steps)."""
    return torch.stack([torch.linalg.vector_norm(norm(step.state.double()), dim=1) for step in steps], 1).cpu()


def growth(values: Tensor, labels: Tensor) -> Tensor:
    """Spearman's correlation of values with labels, both of shape (images, steps), image by image: shape (images,)."""
    ranks = [stats.rankdata(x.numpy(), axis=1) - (x.shape[1] + 1) / 2 for x in (values, labels)]
    products = [(a * b).sum(1) for a, b in ((ranks[0], ranks[1]), (ranks[0], ranks[0]), (ranks[1], ranks[1]))]
    correlation = products[0] / np.sqrt(np.maximum(products[1] * products[2], np.finfo(float).tiny))
    return torch.from_numpy(correlation)


class Clock:
    """Growth of the norm and read-outs of time; with a generator, times are shuffled within each image: the control."""

    def __init__(self, hvae: HVAE, shuffle: torch.Generator | None = None) -> None:
        n = hvae.config.steps
        self._times = torch.arange(1, n + 1, dtype=torch.float64) / n
        self._shuffle = shuffle
        self._norms: list[Tensor] = []
        self._growth: list[Tensor] = []
        groups = [list(g) for _, g in groupby(range(n), lambda k: hvae.timetable[k].resolution)]
        self._groups = [group for group in groups if len(group) > 1]
        self._sides = sides(hvae)
        self._fits = [Ridge() for _ in (None, *self._groups)]
        self._readouts: list[Readout] = []
        self._scores = [Score() for _ in ("all", "within", *self._groups)]

    def update(self, batch: Inferred) -> None:
        """Fit read-outs on a batch, or score them on one that is held out."""
        count, n = len(batch.images), len(batch.steps)
        times = self._times.expand(count, n)
        if self._shuffle is not None:
            order = torch.rand(count, n, generator=self._shuffle).argsort(1)
            times = times.gather(1, order)
        size = norms(batch.steps)
        self._norms.append(size)
        self._growth.append(growth(size, times))
        means = [step.state.double().mean((2, 3)).cpu() for step in batch.steps]
        common = min(x.shape[1] for x in means)
        features = [torch.stack([x[:, :common] for x in means], 2)]
        features += [torch.stack([means[k] for k in group], 2) for group in self._groups]
        targets = [times[:, None], *(times[:, None, group] for group in self._groups)]
        if not batch.held_out:
            for fit, x, t in zip(self._fits, features, targets, strict=True):
                fit.update(x, t)
            return
        self._readouts = self._readouts or [fit.solve() for fit in self._fits]
        read = [readout(x) for readout, x in zip(self._readouts, features, strict=True)]
        for score, t, truth in zip([self._scores[0], *self._scores[2:]], read, targets, strict=True):
            score.update(t, truth)
        if self._groups:
            centres = [self._times[group].mean() for group in self._groups]
            both = [torch.cat([t - c for t, c in zip(x, centres, strict=True)], 2) for x in (read[1:], targets[1:])]
            self._scores[1].update(*both)

    def found(self) -> Arrays:
        """Growth; 1 - R^2 at all steps, within all resolutions together and within each, all with intervals; quantiles of the norm."""
        scores = dict(
            zip(["all", "within", *(f"within {self._sides[group[0]]}" for group in self._groups)], self._scores, strict=True)
        )
        if not self._groups:
            del scores["within"]
        found = {"growth": mean(torch.cat(self._growth))}
        for name, score in scores.items():
            interval = score.interval()
            found[f"unexplained {name}"] = torch.cat([interval.estimate, interval.low, interval.high]).numpy()
        return found | {"norm": np.quantile(torch.cat(self._norms).numpy(), QUANTILES, axis=0)}

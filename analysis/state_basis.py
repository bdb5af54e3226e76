r"""Basis identification in the decoder of an HVAE: which wavelet's approximations of the image to come does a state carry?

At each step of resolution j, J > j > 0, one linear read-out from the channels of a cell of the state to PyWavelets' approximation
of the decoded image at level J - j, in every basis of `analysis.filters`, as `analysis.basis` has it. Both are taken from their
mean over the batch in each cell: else a state would explain the average image, which it knows from where it is. At resolution J
all bases have the same approximation, the image, and at 0 too, its mean: there is nothing to tell apart.
"""

import numpy as np

from analysis.basis import approximations, best_places
from analysis.inference import Arrays, Inferred, sides
from analysis.probes import Readout, Ridge, Score
from multires.hvae import HVAE

SOME = 0.9  # what may be unexplained of an approximation that is carried at all


class Bases:
    """The unexplained fraction of every basis at steps between the coarsest and the finest resolution.

    Only after the last step of each resolution, where asked for. Permuted, as the control: of the image that the state before in
    the batch comes to.
    """

    def __init__(self, hvae: HVAE, *, last: bool = False, permuted: bool = False) -> None:
        at = [*sides(hvae), 0]
        finest = hvae.config.resolutions[0].size
        self._permuted = permuted
        self.steps = [k for k in range(hvae.config.steps) if 1 < at[k] < finest and not (last and at[k] == at[k + 1])]
        self.sides = [at[k] for k in self.steps]
        self._levels = [(finest // side).bit_length() - 1 for side in self.sides]
        self._fits = [Ridge() for _ in self.steps]
        self._readouts: list[Readout] = []
        self._scores = [Score() for _ in self.steps]

    def update(self, batch: Inferred) -> None:
        """Fit the read-outs on a batch, or score them on one that is held out."""
        if not self.steps:
            return
        grey = batch.decoded.mean(1, keepdim=True).cpu()
        if self._permuted:
            grey = grey.roll(1, 0)
        truth = approximations(grey - grey.mean(0), max(self._levels))
        if batch.held_out:
            self._readouts = self._readouts or [fit.solve() for fit in self._fits]
        for k, number in enumerate(self.steps):
            state, target = batch.steps[number].state.cpu(), truth[self._levels[k] - 1]
            state = state - state.mean(0)
            if batch.held_out:
                self._scores[k].update(self._readouts[k](state), target)
            else:
                self._fits[k].update(state, target)

    def found(self) -> Arrays:
        """Steps and their resolutions; unexplained fractions of each basis, (step, wavelet), with intervals over images."""
        scores = best_places(self._scores)
        return {
            "basis steps": np.array(self.steps) + 1,
            "basis sides": np.array(self.sides),
            "unexplained": scores.unexplained,
            "low": scores.low,
            "high": scores.high,
        }

r"""Basis identification in the decoder of an HVAE: which wavelet's approximations of the image to come does a state carry?

At each step of resolution j, J > j > 0, one linear read-out from the channels of a cell of the state to PyWavelets' approximation
of the decoded image at level J - j, in every basis of `analysis.filters`, as `analysis.basis` has it. At resolution J all bases
have the same approximation, the image, and at 0 too, its mean: there is nothing to tell apart.
"""

import numpy as np

from analysis.basis import approximations, best_places
from analysis.inference import Arrays, Inferred, sides
from analysis.probes import Readout, Ridge, Score
from multires.hvae import HVAE


class Bases:
    """The unexplained fraction of every basis at every step between the coarsest and the finest resolution."""

    def __init__(self, hvae: HVAE) -> None:
        at = sides(hvae)
        finest = hvae.config.resolutions[0].size
        self.steps = [k for k, side in enumerate(at) if 1 < side < finest]
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
        truth = approximations(grey, max(self._levels))
        if batch.held_out:
            self._readouts = self._readouts or [fit.solve() for fit in self._fits]
        for k, number in enumerate(self.steps):
            state, target = batch.steps[number].state.cpu(), truth[self._levels[k] - 1]
            if batch.held_out:
                self._scores[k].update(self._readouts[k](state), target)
            else:
                self._fits[k].update(state, target)

    def found(self) -> Arrays:
        """Steps and their resolutions; unexplained fractions of each basis, (step, wavelet), with intervals over images."""
        if not self.steps:
            return {"basis steps": np.array([], int)}
        scores = best_places(self._scores)
        return {
            "basis steps": np.array(self.steps) + 1,
            "basis sides": np.array(self.sides),
            "unexplained": scores.unexplained,
            "low": scores.low,
            "high": scores.high,
        }

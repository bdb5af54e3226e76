r"""Skip ablation: how much energy each Haar sub-band of a U-Net's output loses when one skip is cut.

The entry (l, b) is $1 - \sum \|\text{band}_b\, U_l x\|^2 / \sum \|\text{band}_b\, U x\|^2$ over images x, where $U_l$ is the
network with its skip at level l set to zero; the bands are the details of level 1, 2, ... and the approximation about its mean.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from analysis import oracle
from analysis.basis import BATCH
from analysis.probes import resamples

SAMPLES = 500


@dataclass(frozen=True)
class Ablation:
    """Energies of the output's sub-bands: (skip or none, band, image); the last row is the network as it is."""

    energies: Tensor

    @property
    def lost(self) -> np.ndarray:
        """The share of each band's energy that is lost, (skip, band)."""
        return _lost(self.energies.sum(-1)).numpy()

    def finer_over_own(self, seed: int = 0) -> np.ndarray:
        """The largest loss among the bands finer than a skip over that of its own band, for skips 1, 2, ...: (skip, 3).

        The columns are the estimate and the ends of its 95 % bootstrap interval over images. Infinite where the own band loses
        nothing or gains.
        """
        counts = torch.cat([*resamples(self.energies.shape[-1], SAMPLES, torch.Generator().manual_seed(seed))])
        drawn = _finer_over_own(_lost(self.energies @ counts.T))
        # without interpolation, which makes NaN of two infinities
        low, high = drawn.quantile(0.025, -1, interpolation="lower"), drawn.quantile(0.975, -1, interpolation="higher")
        estimate = _finer_over_own(_lost(self.energies.sum(-1, keepdim=True)))[:, 0]
        return torch.stack([estimate, low, high], 1).numpy()


def _lost(energies: Tensor) -> Tensor:
    return 1 - energies[:-1] / energies[-1]


def _finer_over_own(lost: Tensor) -> Tensor:
    pairs = [(lost[level, :level].amax(0), lost[level, level]) for level in range(1, len(lost))]
    return torch.stack([torch.where(own > 0, finer / own, torch.inf) for finer, own in pairs])


def band_energies(images: Tensor, levels: int) -> Tensor:
    """The energy of each band, details of level 1, 2, ..., then the approximation about its mean: (band, image)."""
    x = images.double().cpu().numpy()
    d = x.ndim - 2
    found = []
    for _ in range(levels):
        x, bands = oracle.split(x, d)
        found.append(sum((band**2).reshape(len(band), -1).sum(1) for band in bands.values()))
    return torch.from_numpy(np.stack([*found, ((x - x.mean()) ** 2).reshape(len(x), -1).sum(1)]))


def ablate(net: nn.Module, skips: nn.ModuleList, inputs: Tensor) -> Ablation:
    """Cut each of the skips in turn, on inputs of shape (image, channel, *spatial)."""
    return Ablation(torch.stack([_energies(net, skip, inputs, len(skips)) for skip in (*skips, None)]))


def _energies(net: nn.Module, skip: nn.Module | None, inputs: Tensor, levels: int) -> Tensor:
    cut = skip.register_forward_hook(lambda module, args, output: torch.zeros_like(output)) if skip is not None else None
    try:
        with torch.inference_mode():
            return band_energies(torch.cat([net(x) for x in inputs.split(BATCH)]), levels)  # at once: one mean for all images
    finally:
        if cut:
            cut.remove()

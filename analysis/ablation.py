r"""Skip ablation: in which Haar sub-bands a U-Net's output changes when one skip passes less.

The entry (l, b) is $\sum \|\text{band}_b (U x - U_l x)\|^2 / \sum \|U x - U_l x\|^2$ over images x: the share of the change that
lies in the details of level 1, 2, ... or in the approximation. In $U_l$ the skip at level l passes $P a$ for its activation a,
which lacks the details of level l + 1 and nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from analysis import oracle
from analysis.basis import BATCH
from analysis.probes import resamples
from multires.pooling import project

SAMPLES = 500


@dataclass(frozen=True)
class Ablation:
    """Energies of the change of the output in its sub-bands: (skip, band, image)."""

    energies: Tensor

    @property
    def shares(self) -> np.ndarray:
        """The share of each band in the change, (skip, band); NaN where nothing changes."""
        energies = self.energies.sum(-1)
        return (energies / energies.sum(1, keepdim=True)).numpy()

    def others_over_own(self, seed: int = 0) -> np.ndarray:
        """The energy in all other bands over that in the skip's own: (skip, 3); infinite where the own band does not change.

        The columns are the estimate and the ends of its 95 % bootstrap interval over images.
        """
        counts = torch.cat([*resamples(self.energies.shape[-1], SAMPLES, torch.Generator().manual_seed(seed))])
        drawn = _others_over_own(self.energies @ counts.T)
        # without interpolation, which makes NaN of two infinities
        low, high = drawn.quantile(0.025, -1, interpolation="lower"), drawn.quantile(0.975, -1, interpolation="higher")
        return torch.stack([_others_over_own(self.energies.sum(-1, keepdim=True))[:, 0], low, high], 1).numpy()


def _others_over_own(energies: Tensor) -> Tensor:
    own = energies.diagonal().T
    return torch.where(own > 0, energies.sum(1) / own - 1, torch.inf)


def band_energies(images: Tensor, levels: int) -> Tensor:
    """The energy of each band, details of level 1, 2, ..., then the approximation: (band, image)."""
    x, found = images.double().cpu().numpy(), []
    d = x.ndim - 2
    for _ in range(levels):
        x, bands = oracle.split(x, d)
        found.append(sum((band**2).reshape(len(band), -1).sum(1) for band in bands.values()))
    return torch.from_numpy(np.stack([*found, (x**2).reshape(len(x), -1).sum(1)]))


def ablate(net: nn.Module, skips: nn.ModuleList, inputs: Tensor, instead: Callable[[Tensor], Tensor] = project) -> Ablation:
    """Let each skip in turn pass `instead` of its activation, on inputs of shape (image, channel, *spatial)."""
    whole = _outputs(net, inputs)
    changes = [whole - _outputs(net, inputs, skip, instead) for skip in skips]
    return Ablation(torch.stack([band_energies(change, len(skips)) for change in changes]))


def _outputs(
    net: nn.Module, inputs: Tensor, skip: nn.Module | None = None, instead: Callable[[Tensor], Tensor] = project
) -> Tensor:
    changed = skip.register_forward_hook(lambda module, args, output: instead(output)) if skip is not None else None
    try:
        with torch.inference_mode():
            return torch.cat([net(x) for x in inputs.split(BATCH)])
    finally:
        if changed:
            changed.remove()

r"""Level-wise operators: $U f = P_0 f + \sum_j T_j (P_{j+1} - P_j) f$ with each $T_j$ acting in the detail space $U_j$ alone.

They are the U-Nets of theorem C7: each resolution has an operator of its own, of norm at most L. Here $T_j$ turns the phase of
every Fourier mode of the Haar coefficients at scale $2^{-j}$ at random and weakens it at most by half; a nonlinear one follows
that with a leaky ReLU, which is 1-Lipschitz and keeps 0.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from multires import haar
from multires.spaces import Function, distance, embed, norm, restrict


@dataclass(frozen=True)
class Operator:
    """U with ‖T_j‖ <= bound * growth^j; with growth above 1 the norms have no common bound: the control."""

    seed: int
    bound: float = 1.5
    growth: float = 1.0
    nonlinear: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        """U x for cell values x of shape (1, 1, *spatial), by way of its Haar coefficients normalised in L2."""
        coarse, *details = haar.analysis(x, normalization="l2")
        changed = [self._level(bands, j) for j, bands in enumerate(details)]
        return haar.synthesis([coarse, *changed], normalization="l2")

    def _level(self, bands: Tensor | dict[str, Tensor], j: int) -> Tensor | dict[str, Tensor]:
        if isinstance(bands, Tensor):
            return self._turn(bands, j, 0)
        return {name: self._turn(band, j, k) for k, (name, band) in enumerate(bands.items())}

    def _turn(self, band: Tensor, j: int, k: int) -> Tensor:
        rng = np.random.default_rng([self.seed, j, k])
        axes = tuple(range(2, band.ndim))
        modes = torch.fft.rfftn(band, dim=axes)
        phases = np.exp(2j * np.pi * rng.random(modes.shape)) * rng.uniform(0.5, 1, modes.shape)
        turned = torch.fft.irfftn(modes * torch.from_numpy(phases), s=band.shape[2:], dim=axes)
        scaled: Tensor = self.bound * self.growth**j * turned
        return functional.leaky_relu(scaled, 0.2) if self.nonlinear else scaled


@dataclass(frozen=True)
class Truncation:
    """Errors at resolutions J: of the output, ‖U f - U_J P_J f‖, and of the input, ‖f - P_J f‖."""

    resolutions: list[int]
    output: np.ndarray
    input: np.ndarray

    def ratio(self, bound: float) -> float:
        """The largest output error over bound times the input's."""
        return float((self.output / (bound * self.input)).max())

    @property
    def slope(self) -> float:
        """The fitted exponent of the output's error in 2^J."""
        return float(np.polyfit(self.resolutions, np.log2(self.output), 1)[0])


def truncation(
    f: Function, d: int, resolutions: list[int], finest: int, operator: Callable[[Tensor], Tensor], bound: float
) -> Truncation:
    """Compare U on P_J f with U on f, for a function given analytically.

    U f is computed at resolution `finest`; what lies beyond is orthogonal to it and at most bound ‖f - P_finest f‖, which is added.
    """
    best = restrict(f, finest, d)
    whole, beyond = operator(best), bound * distance(f, best)
    outputs, inputs = [], []
    for j in resolutions:
        x = restrict(f, j, d)
        difference = whole - embed(operator(x), finest - j)
        outputs.append(float(np.hypot(float(norm(difference)), beyond)))
        inputs.append(distance(f, x))
    return Truncation(resolutions, np.array(outputs), np.array(inputs))

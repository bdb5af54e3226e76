r"""Level-wise operators: $U f = P_0 f + \sum_j T_j (P_{j+1} - P_j) f$ with each $T_j$ acting in the detail space $U_j$ alone.

They are the U-Nets of theorem C7: each resolution has an operator of its own, of norm at most L. Here $T_j$ turns the phase of
every Fourier mode of the Haar coefficients at scale $2^{-j}$ at random and weakens it at most by a fifth; a nonlinear one
follows that with a leaky ReLU, which is 1-Lipschitz and keeps 0. So no level keeps less than 0.8 * 0.9 of L, and the output's
error falls as evenly as the input's, whatever the seed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from analysis import oracle
from multires import haar
from multires.spaces import Function, distance, embed, norm, restrict

WEAKENED, LEAK = 0.2, 0.9


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
        noise = np.fft.rfftn(rng.standard_normal(band.shape[2:]))  # of a real field, so that real bands stay real
        size = np.abs(noise)
        gains = noise / size * (1 - WEAKENED * np.exp(-(size**2) / band[0, 0].numel()))  # exp(...) is uniform for a complex mode
        turned = torch.fft.irfftn(torch.fft.rfftn(band, dim=axes) * torch.from_numpy(gains), s=band.shape[2:], dim=axes)
        scaled: Tensor = self.bound * self.growth**j * turned
        return functional.leaky_relu(scaled, LEAK) if self.nonlinear else scaled


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
    The input's errors are those of the best approximations, by PyWavelets, so a truncation that is not P_J exceeds its bound.
    """
    best = restrict(f, finest, d)
    unresolved = distance(f, best)
    whole, beyond = operator(best), bound * unresolved
    outputs, inputs = [], []
    for j in resolutions:
        difference = whole - embed(operator(restrict(f, j, d)), finest - j)
        outputs.append(float(np.hypot(float(norm(difference)), beyond)))
        mean = oracle.repeat(oracle.approximation(best.numpy(), d, finest - j), d, finest - j)
        inputs.append(float(np.hypot(float(norm(best - torch.from_numpy(mean))), unresolved)))
    return Truncation(resolutions, np.array(outputs), np.array(inputs))

r"""Diffusions that are solved in closed form: the twins that schemes and networks are held against.

Each gives its `SDE`, with the drift split in two, and its solution at the end of a Brownian path. Where the solution is no
function of the path's increments alone, but of $I = \int g\,dW$ over each step, I is drawn given the increment: the two are jointly
normal, so that schemes and solution see the same noise.

Sources: P. Kloeden and E. Platen, "Numerical Solution of Stochastic Differential Equations" (1992), sections 4.4 and 10.2.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from multires import haar
from multires.brownian import BrownianPath
from multires.diffusion import SDE
from multires.errors import MultiresError


def _integral(
    increment: Tensor, h: float, variance: float, covariance: float, generator: torch.Generator, cells: int | None = None
) -> Tensor:
    """I given dW, where Var I and Cov(I, dW) are known for a noise with Var dW = h; `cells` is 1 for Haar coefficients."""
    fresh = torch.randn(increment.shape, generator=generator, dtype=increment.dtype)
    if cells is None:
        cells = math.prod(increment.shape[2:])  # a cell of Brownian motion in V_j has 2^(jd) times the variance
    return increment * (covariance / h) + fresh * math.sqrt(max(0.0, variance - covariance**2 / h) * cells)


def _decayed(rate: float, h: float) -> tuple[float, float]:
    r"""Variance of $\int_0^h e^{-k (h - u)}\,dW_u$, and its covariance with $W_h$."""
    return (h, h) if rate == 0 else (-math.expm1(-2 * rate * h) / (2 * rate), -math.expm1(-rate * h) / rate)


@dataclass(frozen=True)
class OrnsteinUhlenbeck:
    r"""$dZ = -(a + b) Z\,dt + s\,dW$, split as $m_1 = -a Z$, $m_2 = -b Z$."""

    a: float
    b: float
    s: float = 1.0

    def sde(self) -> SDE:
        """The process, for any shape."""
        return SDE(lambda t, z: -self.a * z, lambda t, z: -self.b * z, lambda t, z, dw: self.s * dw)

    def solution(self, start: Tensor, path: BrownianPath, generator: torch.Generator) -> Tensor:
        r"""$Z_T = e^{-kT} Z_0 + s \int e^{-k(T - u)}\,dW_u$, k = a + b, on the noise of the path."""
        rate, state = self.a + self.b, start
        for dw in path.increments:
            state = math.exp(-rate * path.h) * state + self.s * _integral(dw, path.h, *_decayed(rate, path.h), generator)
        return state

    def variance(self, t: float) -> float:
        r"""$s^2 (1 - e^{-2kt}) / 2k$ of a process from a point mass, $2^{-jd}$ times that of a cell."""
        return self.s**2 * _decayed(self.a + self.b, t)[0]

    def mean_factor(self, h: float) -> float:
        """(1 - a h)(1 - b h): by which a step of two-step Euler multiplies the mean."""
        return (1 - self.a * h) * (1 - self.b * h)

    def stationary_variance(self, h: float) -> float:
        r"""$(1 - bh)^2 s^2 h / (1 - (1 - ah)^2 (1 - bh)^2)$: of two-step Euler's iterates; tends to $s^2 / (2 (a + b))$.

        Raises MultiresError where the scheme is not stable.
        """
        if abs(self.mean_factor(h)) >= 1:
            raise MultiresError(f"h = {h}: steps multiply the mean by {self.mean_factor(h):.3g}, so nothing is stationary")
        return (1 - self.b * h) ** 2 * self.s**2 * h / (1 - self.mean_factor(h) ** 2)

    def edge(self) -> float:
        r"""The largest h up to which two-step Euler is stable, $|(1 - a h)(1 - b h)| < 1$, for a, b > 0."""
        total, product = self.a + self.b, self.a * self.b
        turning = total**2 - 8 * product  # below 0 the factor turns before it comes to -1, and leaves at +1
        return total / product if turning < 0 else (total - math.sqrt(turning)) / (2 * product)


@dataclass(frozen=True)
class GeometricBrownianMotion:
    r"""$dZ = (a + b) Z\,dt + s Z\,dW$, split as $m_1 = a Z$, $m_2 = b Z$: noise that multiplies the state."""

    a: float
    b: float
    s: float

    def sde(self) -> SDE:
        """The process, for states of one cell."""
        return SDE(lambda t, z: self.a * z, lambda t, z: self.b * z, lambda t, z, dw: self.s * z * dw)

    def solution(self, start: Tensor, path: BrownianPath, generator: torch.Generator) -> Tensor:
        r"""$Z_T = Z_0 \exp((a + b - s^2/2) T + s W_T)$; the generator draws nothing."""
        del generator
        drift = (self.a + self.b - self.s**2 / 2) * path.h * len(path)
        return start * (drift + self.s * path.increments.sum(0)).exp()


@dataclass(frozen=True)
class BrownianBridge:
    r"""$dZ = (y - Z) / (T - t)\,dt + s\,dW$, pinned to y at T; the drift is split by shares."""

    end: float
    horizon: float
    s: float = 1.0
    share: float = 0.5
    """Of the drift that $m_1$ takes."""

    def sde(self) -> SDE:
        """The process, for any shape and times before T."""

        def drift(share: float, t: float, z: Tensor) -> Tensor:
            return share * (self.end - z) / (self.horizon - t)

        return SDE(lambda t, z: drift(self.share, t, z), lambda t, z: drift(1 - self.share, t, z), lambda t, z, dw: self.s * dw)

    def solution(self, start: Tensor, path: BrownianPath, generator: torch.Generator) -> Tensor:
        r"""$Z_t = y + (T - t) \bigl( (Z_0 - y)/T + s \int_0^t dW_u / (T - u) \bigr)$ at the end of the path, before T."""
        total, left = torch.zeros_like(start), self.horizon
        if path.h * len(path) >= self.horizon:
            raise MultiresError(f"a path of length {path.h * len(path)}: the bridge is solved before its end, {self.horizon}")
        for dw in path.increments:
            after = left - path.h
            total = total + _integral(dw, path.h, 1 / after - 1 / left, math.log(left / after), generator)
            left = after
        return self.end + left * ((start - self.end) / self.horizon + self.s * total)


@dataclass(frozen=True)
class HaarDiffusion:
    r"""$dZ = -\Lambda Z\,dt + dW$ on $L^2([0, 1]^d)$, with $\Lambda$ diagonal in the Haar basis: rate $\lambda 4^l$ at scale l.

    Scale 0 holds the mean and the coarsest details, scale l the details of $V_{l+1} \ominus V_l$. $\Lambda$ commutes with every
    $P_j$, so the truncations to $V_j$ are one process, of stationary covariance $\Lambda^{-1} / 2$. The drift is split by shares.
    """

    rate: float
    share: float = 0.5
    """Of the drift that $m_1$ takes."""

    def rates(self, resolution: int) -> list[float]:
        """The rate of the mean, then those of the details of $V_j$, coarsest first."""
        return [self.rate, *(self.rate * 4.0**scale for scale in range(resolution))]

    def apply(self, z: Tensor) -> Tensor:
        r"""$\Lambda z$."""
        approximation, details = haar.unpack(haar.analysis(z))
        first, *rest = self.rates(len(details))
        scaled = [{name: rate * band for name, band in level.items()} for rate, level in zip(rest, details, strict=True)]
        return haar.synthesis([first * approximation, *scaled])

    def sde(self) -> SDE:
        """The process, in every $V_j$."""
        share = self.share
        return SDE(lambda t, z: -share * self.apply(z), lambda t, z: -(1 - share) * self.apply(z), lambda t, z, dw: dw)

    def solution(self, start: Tensor, path: BrownianPath, generator: torch.Generator) -> Tensor:
        """The state at the end of the path: an Ornstein-Uhlenbeck process along each Haar function, on the path's noise."""
        state, h = _flat(start), path.h
        rates = self.rates(len(state) - 1)
        for dw in path.increments:
            fresh = []
            for rate, band in zip(rates, _flat(dw), strict=True):
                fresh.append(_integral(band, h, *_decayed(rate, h), generator, cells=1))
            state = [math.exp(-rate * h) * old + new for rate, old, new in zip(rates, state, fresh, strict=True)]
        return _unflat(state, start)

    def variances(self, resolution: int, t: float) -> list[float]:
        r"""Variance of a Haar coefficient at time t from a point mass: of the mean, then of the details, coarsest first."""
        return [_decayed(rate, t)[0] for rate in self.rates(resolution)]


def _flat(z: Tensor) -> list[Tensor]:
    """L2-normalised Haar coefficients: the mean, then the details of each scale with their bands stacked, coarsest first."""
    approximation, details = haar.unpack(haar.analysis(z, normalization="l2"))
    return [approximation, *(torch.stack(list(level.values())) for level in details)]


def _unflat(bands: list[Tensor], like: Tensor) -> Tensor:
    """Cell values from what `_flat` gave; `like` has their shape."""
    names = haar.band_names(like.ndim - 2)[1:]
    first, *rest = bands
    return haar.synthesis([first, *(dict(zip(names, level.unbind(), strict=True)) for level in rest)], normalization="l2")

r"""The closed-form optimum of linear denoising at every resolution, and gradient descent of a linear U-Net towards it.

For $w \sim N(0, C)$ and $x = w + s\,\epsilon$ the linear map into $V_j$ that minimises $E\|U x - P_j w\|^2$ is $P_j W$ with the
Wiener filter $W = C (C + s^2 I)^{-1}$. The expectation is a quadratic function of the matrix of U, so its gradient is exact:
$$ E\|U x - P_j w\|^2 = 2^{-jd}\operatorname{tr}\left[(U - P_j) C (U - P_j)^T + s^2 U U^T\right]. $$
Source: arXiv 2301.08187 (optimal U-Nets at lower resolutions); N. Wiener (1949) for the filter.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from analysis import oracle
from multires.pooling import average
from multires.spaces import embed
from multires.unet import LinearUNet

MOMENTUM = 0.95


@dataclass(frozen=True)
class Gaussian:
    """Data on a grid of 2^resolution cells a side: covariance (cells, cells) in float64, and the noise's standard deviation s."""

    covariance: Tensor
    noise: float
    resolution: int
    dimension: int

    def shaped(self, matrix: Tensor) -> Tensor:
        """The columns of a matrix (cells, columns) as functions (column, 1, *spatial)."""
        return matrix.T.reshape(-1, 1, *[2**self.resolution] * self.dimension)

    def projected(self, matrix: Tensor, j: int) -> Tensor:
        """P_j of every column, as values on the cells of V_j: (2^(jd), columns)."""
        return average(self.shaped(matrix), self.resolution - j).flatten(1).T

    @cached_property
    def projections(self) -> list[Tensor]:
        """The matrices of P_j for j = 0, ..., resolution, by PyWavelets: the loss shares no pooling with the optimum."""
        cells = self.shaped(self.identity).numpy()
        means = [oracle.approximation(cells, self.dimension, self.resolution - j) for j in range(self.resolution + 1)]
        return [torch.from_numpy(mean).flatten(1).T for mean in means]

    @property
    def identity(self) -> Tensor:
        """The identity matrix."""
        return torch.eye(len(self.covariance), dtype=torch.float64)

    @property
    def total(self) -> Tensor:
        """C + s^2 I, the covariance of the noisy data."""
        return self.covariance + self.noise**2 * self.identity

    @property
    def wiener(self) -> Tensor:
        """W = C (C + s^2 I)^-1."""
        transposed: Tensor = torch.linalg.solve(self.total, self.covariance)
        return transposed.T

    def loss(self, matrix: Tensor, j: int) -> Tensor:
        r"""$E\|U x - P_j w\|^2$ of the map into V_j with this matrix (2^(jd), cells)."""
        missed = matrix - self.projections[j]
        return (((missed @ self.covariance) * missed).sum() + self.noise**2 * matrix.square().sum()) / len(matrix)


def with_spectrum(resolution: int, noise: float) -> Gaussian:
    """A stationary process on the circle of 2^resolution cells with the power spectrum 1 / (1 + k^2), of unit variance."""
    n = 2**resolution
    power = 1 / (1 + np.fft.fftfreq(n, 1 / n) ** 2)
    row = np.fft.ifft(power).real
    covariance = np.stack([np.roll(row, shift) for shift in range(n)]) / row[0]
    return Gaussian(torch.from_numpy(covariance), noise, resolution, 1)


def of_patches(patches: Tensor, noise: float) -> Gaussian:
    """The covariance of patches (image, 1, n, n), scaled to unit mean variance."""
    x = patches.double().flatten(1)
    x = x - x.mean(0)
    covariance = x.T @ x / len(x)
    return Gaussian(covariance / covariance.diagonal().mean(), noise, patches.shape[-1].bit_length() - 1, 2)


def matrices(net: LinearUNet, data: Gaussian) -> list[Tensor]:
    """The matrix of the network's output at every resolution, (2^(jd), cells), read off its images of the basis vectors."""
    return [output.flatten(1).T for output in net(data.shaped(data.identity))]


def distance(matrix: Tensor, target: Tensor) -> float:
    """The relative Frobenius distance."""
    return float((matrix.detach() - target).norm() / target.norm())


@contextmanager
def one_thread() -> Iterator[None]:
    """For small matrices: handing them to several threads takes longer than the product."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def descend(data: Gaussian, steps: int, seed: int) -> Iterator[tuple[int, list[Tensor]]]:
    """Train a linear U-Net by gradient descent with Nesterov's momentum; yield each step with the maps before it.

    The step size of each map follows the curvature of the loss in it, which differs among resolutions.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = LinearUNet(data.resolution, data.dimension).double()
    # the losses at j and above see D_j, each with a curvature of at most 2^(1 - jd) |C + s^2 I|; and all the D_j move at once
    rate = 0.5 / (data.resolution + 1) / float(torch.linalg.eigvalsh(data.total)[-1])
    weights = [*net.down.parameters(), *net.up.parameters()]
    rates = [rate] * len(net.down)
    rates += [rate * 2 ** (j * data.dimension) / (data.resolution - j + 1) for j in range(data.resolution + 1)]
    velocities = [torch.zeros_like(weight) for weight in weights]
    for step in range(steps):
        maps = matrices(net, data)
        yield step, maps
        slopes = torch.autograd.grad(torch.stack([data.loss(matrix, j) for j, matrix in enumerate(maps)]).sum(), weights)
        with torch.no_grad():  # by hand: importing torch.optim takes longer than all these steps
            for weight, velocity, slope, rate in zip(weights, velocities, slopes, rates, strict=True):
                velocity.mul_(MOMENTUM).add_(slope)
                weight.sub_(rate * (slope + MOMENTUM * velocity))
    with torch.no_grad():
        yield steps, matrices(net, data)


def distances(data: Gaussian, maps: list[Tensor]) -> tuple[list[float], list[float]]:
    """The distance of each resolution's map from P_j W, and, as a wrong target, from P_(j+1) W."""
    optimum = [data.projected(data.wiener, j) for j in range(len(maps))]
    right = [distance(matrix, target) for matrix, target in zip(maps, optimum, strict=True)]
    finer = [embed(m.detach().T.unflatten(1, (1, *[2**j] * data.dimension))).flatten(1).T for j, m in enumerate(maps[:-1])]
    return right, [distance(matrix, target) for matrix, target in zip(finer, optimum[1:], strict=True)]

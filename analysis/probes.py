r"""How much of one quantity another determines: a linear read-out, its held-out score with an interval, and linear CKA.

A claim that a representation holds a quantity (a Haar band, a coarser image) is measured by fitting `Ridge` on some images and
scoring its `Readout` on others with `Score`; `CKA` compares two representations without fitting. All three see images a batch
at a time and compute in float64; of the images they keep fixed sums only, and `Score` a few numbers an image for its bootstrap.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from multires.errors import MultiresError

EPS = torch.finfo(torch.float64).eps
ROUNDINGS = 16  # a constant counts as met within this many roundings of its size
LARGEST = 1e60  # squares of squares, summed, stay finite and above zero
CHUNK_COUNTS = 1 << 22  # the most counts of a bootstrap held at a time


def _float64(x: Tensor, name: str) -> Tensor:
    """X in float64 without its graph, once it is known to be a batch of finite numbers."""
    if not isinstance(x, Tensor):
        raise MultiresError(f"{name}: expected a torch tensor, found {type(x).__name__}; torch.from_numpy makes one of an array")
    where = f"{name} of shape {tuple(x.shape)} and {x.dtype}"
    if x.ndim < 2 or x.numel() == 0 or not x.is_floating_point():
        raise MultiresError(f"{where}: this needs floating-point numbers of shape (image, channel, ...), none of it empty")
    dense = x.detach() if x.is_contiguous() else x.detach().movedim(1, -1)  # channels last: torch is slow across memory's order
    least, most = dense.aminmax()  # one pass, which NaN and infinity come through
    if not (least.isfinite() and most.isfinite()):
        raise MultiresError(f"{where}: it holds NaN or infinity; this needs finite numbers")
    largest = max(-float(least), float(most))
    if largest > LARGEST or 0 < largest < 1 / LARGEST:
        raise MultiresError(f"{where}: its largest value, {largest:.1e}, over- or underflows when squared; scale it")
    return x.detach().double()


def _cells(x: Tensor) -> Tensor:
    """(image, channel, *spatial) as (image, cell, channel): a view where channels lie last in memory."""
    return x[..., None].movedim(1, -1).flatten(1, -2)


def _same(what: str, found: int, before: int) -> None:
    if found != before:
        raise MultiresError(f"{found} {what}, but {before} in the updates before: every update needs as many")


@dataclass(frozen=True)
class Readout:
    r"""$\hat y = \bar y + W (x - \bar x)$ in every cell by itself: what `Ridge.solve` returns.

    weights has shape (target, channel), features_mean (channel,) and targets_mean (target,), all in float64. The intercept is
    $\bar y - W \bar x$; it is not stored because features far from 0 would lose digits to it.
    """

    weights: Tensor
    features_mean: Tensor
    targets_mean: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Predictions (image, target, *spatial) in float64 from features (image, channel, *spatial)."""
        x = _float64(features, "features").movedim(1, -1)
        if x.shape[-1] != len(self.features_mean):
            raise MultiresError(f"features with {x.shape[-1]} channels: this read-out needs {len(self.features_mean)}, as fitted")
        return functional.linear(x - self.features_mean.to(x), self.weights.to(x), self.targets_mean.to(x)).movedim(-1, 1)


class Ridge:
    r"""$\min_W \frac1n \sum |y - \bar y - W (x - \bar x)|^2 + \lambda s^2 |W|^2$ over all n cells of all images, as they stream.

    $\lambda$ is `penalty` and $s^2$ the mean over features of their variance, so the read-out does not depend on the unit of the
    features. A direction of variance $v s^2$ is shrunk by $\lambda / (v + \lambda)$, which leaves the square of that unexplained.
    With penalty 0 directions without variance get weight 0. Means and co-moments are merged batch by batch; source: Chan, Golub
    & LeVeque, "Algorithms for computing the sample variance", The American Statistician 37 (1983), equation 2.1.
    """

    def __init__(self, penalty: float = 1e-8) -> None:
        if not 0 <= penalty < float("inf"):
            raise MultiresError(f"penalty {penalty}: ridge regression needs a finite penalty of 0 or more, such as 1e-8")
        self.penalty = penalty
        self.rows = 0

    def update(self, features: Tensor, targets: Tensor) -> None:
        """Add every cell of features (image, channel, *spatial) and targets (image, target, *spatial) as one row.

        The spatial axes must agree with each other, not with those of other updates.
        """
        x, y = _float64(features, "features"), _float64(targets, "targets")
        if (x.shape[0], *x.shape[2:]) != (y.shape[0], *y.shape[2:]):
            shapes = f"features of shape {tuple(x.shape)}, targets of shape {tuple(y.shape)}"
            raise MultiresError(f"{shapes}: a read-out needs the same images and spatial axes in both")
        x, y = _cells(x).flatten(0, 1), _cells(y.to(x)).flatten(0, 1)
        if not self.rows:
            self._pivots = x[0].clone(), y[0].clone()  # what is constant becomes exactly 0, not rounding that a fit would enlarge
            self._means = torch.zeros_like(x[0]), torch.zeros_like(y[0])
            self._moments, self._cross = x.new_zeros(x.shape[1], x.shape[1]), x.new_zeros(x.shape[1], y.shape[1])
        _same("features", x.shape[1], len(self._pivots[0]))
        _same("targets", y.shape[1], len(self._pivots[1]))
        (x, x_step), (y, y_step) = (self._centred(z, k) for k, z in enumerate((x, y)))
        added, total = len(x), self.rows + len(x)
        apart = self.rows * added / total
        self._moments += x.T @ x + torch.outer(x_step, x_step) * apart
        self._cross += x.T @ y + torch.outer(x_step, y_step) * apart
        for mean, step in zip(self._means, (x_step, y_step), strict=True):
            mean += step * (added / total)
        self.rows = total

    def _centred(self, z: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Rows about their mean, and how far that is from the mean of the rows before."""
        z = z.to(self._pivots[k]) - self._pivots[k]
        mean = z.mean(0)
        z -= mean
        return z, mean - self._means[k]

    def solve(self) -> Readout:
        """The read-out of all rows so far; constant, collinear and zero features are no problem."""
        if not self.rows:
            raise MultiresError("a read-out of 0 rows: call update with features and targets before solve")
        variances, directions = torch.linalg.eigh(self._moments)  # not over n: it cancels
        shrunk = variances + self.penalty * self._moments.diagonal().mean()
        inverse = torch.where(shrunk > EPS * len(variances) * variances.max(), 1 / shrunk, 0)
        weights = (directions * inverse) @ (directions.T @ self._cross)
        features_mean, targets_mean = (pivot + mean for pivot, mean in zip(self._pivots, self._means, strict=True))
        return Readout(weights.T, features_mean, targets_mean)


@dataclass(frozen=True)
class Interval:
    """An estimate between two bounds, each of shape (target,)."""

    estimate: Tensor
    low: Tensor
    high: Tensor


def resamples(images: int, samples: int, generator: torch.Generator) -> Iterator[Tensor]:
    """How often each image is drawn in each of `samples` bootstrap samples: chunks (sample, image), rows sum to `images`."""
    left = samples
    while left:
        size = min(left, max(1, CHUNK_COUNTS // images))
        drawn = torch.randint(images, (size, images), generator=generator)
        yield torch.zeros(size, images, dtype=torch.float64).scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
        left -= size


class Score:
    r"""$1 - R^2 = \sum (y - \hat y)^2 / \sum (y - \bar y)^2$ over all images and cells, for each target.

    $\bar y$ is the mean over the scored images. Where a target is constant on them, the score is 0 if the predictions meet it
    to rounding (of their dtype), else infinite. Every number needs two images or more.
    """

    def __init__(self) -> None:
        self._sums: list[Tensor] = []
        self._eps = 0.0

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add predictions and targets, both of shape (image, target, *spatial)."""
        if predictions.shape != targets.shape:
            shapes = f"predictions of shape {tuple(predictions.shape)}, targets of shape {tuple(targets.shape)}"
            raise MultiresError(f"{shapes}: a score needs two of the same shape")
        fit, y = (_cells(_float64(x, name)) for x, name in ((predictions, "predictions"), (targets, "targets")))
        if self._sums:
            _same("targets", y.shape[2], self._sums[0].shape[-1])
        mean, cells = y.mean(1), torch.full_like(y[:, 0], y.shape[1])
        within, residual = (z.square_().sum(1) for z in (y - mean[:, None], y - fit.to(y)))
        self._sums.append(torch.stack((cells, mean, within, residual)).cpu())
        self._eps = max(self._eps, torch.finfo(predictions.dtype).eps)

    def _total(self) -> Tensor:
        images = sum(sums.shape[1] for sums in self._sums)
        if images < 2:
            raise MultiresError(f"a score of {images} images: it needs 2 or more; call update with more")
        return torch.cat(self._sums, 1)

    def _ratios(self, sums: Tensor, counts: Tensor) -> Tensor:
        """The score (sample, target) with each image taken as often as its count (sample, image) says."""
        cells, mean, within, residual = sums
        from_centre = mean - (cells * mean).sum(0) / cells.sum(0)  # else a large mean would cancel the digits of the variance
        about_centre = counts @ (within + cells * from_centre**2)
        total = about_centre - (counts @ (cells * from_centre)) ** 2 / (counts @ cells)
        missed, size = counts @ residual, counts @ (within + cells * mean**2)
        constant = total <= ROUNDINGS * EPS * about_centre + (ROUNDINGS * EPS) ** 2 * size
        exact = torch.where(missed <= (ROUNDINGS * self._eps) ** 2 * size, 0.0, float("inf"))
        return torch.where(constant, exact, missed / total)

    @property
    def unexplained(self) -> Tensor:
        """1 - R^2 of each target, shape (target,)."""
        sums = self._total()
        return self._ratios(sums, torch.ones(1, sums.shape[1], dtype=torch.float64))[0]

    @property
    def r2(self) -> Tensor:
        """R^2 of each target, shape (target,)."""
        return 1 - self.unexplained

    def interval(self, samples: int = 1000, level: float = 0.95, generator: torch.Generator | None = None) -> Interval:
        """1 - R^2 between the percentiles of the bootstrap over images; the seed is 0 unless a (CPU) generator is given.

        Images are resampled, not cells, because the cells of one image are not independent.
        """
        if samples < 1 or not 0 < level < 1:
            raise MultiresError(f"{samples} samples at level {level}: a bootstrap needs 1 or more, and a level between 0 and 1")
        sums, generator = self._total(), generator or torch.Generator().manual_seed(0)
        ratios = torch.cat([self._ratios(sums, counts) for counts in resamples(sums.shape[1], samples, generator)])
        # without interpolation, which makes NaN of two infinities
        low = ratios.quantile((1 - level) / 2, 0, interpolation="lower")
        return Interval(self.unexplained, low, ratios.quantile((1 + level) / 2, 0, interpolation="higher"))


def _u_centred(x: Tensor) -> Tensor:
    """The linear kernel of images (image, feature), with zero diagonal and rows that sum to zero."""
    n, x = len(x), x - x[0]  # HSIC_1 ignores shifts; without this one rounding would not
    kernel = (x @ x.T).fill_diagonal_(0)
    rows = kernel.sum(1) / (n - 2)
    return (kernel - rows[:, None] - rows + rows.sum() / (n - 1)).fill_diagonal_(0)


class CKA:
    r"""$\text{HSIC}_1(K, L) / \sqrt{\text{HSIC}_1(K, K)\, \text{HSIC}_1(L, L)}$ for linear kernels $K = x x^T$, $L = y y^T$.

    $\text{HSIC}_1(K, L) = \frac{1}{n (n - 3)} \left[ \text{tr} \tilde K \tilde L + \frac{1^T \tilde K 1\, 1^T \tilde L 1}{(n-1)
    (n-2)} - \frac{2}{n-2} 1^T \tilde K \tilde L 1 \right]$, where a tilde sets the diagonal to 0, is unbiased, so independent x
    and y score about 0, above or below. Each of the three is summed over batches, so the value depends a little on the batches.

    Source: Song et al., JMLR 13 (2012), equation 5; over batches Nguyen et al., arXiv 2010.15327; CKA arXiv 1905.00414. The code
    sums $A_{ij} B_{ij}$ of U-centred kernels, which is the same number (Székely & Rizzo, arXiv 1310.2926).
    """

    def __init__(self) -> None:
        self._sums = torch.zeros(3, dtype=torch.float64)

    def update(self, x: Tensor, y: Tensor) -> None:
        """Add a batch of four images or more: x and y of shape (image, ...), with as many images in both."""
        x, y = (_float64(z, name).flatten(1) for z, name in ((x, "x"), (y, "y")))
        if len(x) != len(y) or len(x) < 4:
            raise MultiresError(f"{len(x)} images in x, {len(y)} in y: CKA needs as many in both, and 4 or more in a batch")
        k, l = _u_centred(x), _u_centred(y).to(x)  # noqa: E741
        self._sums += torch.stack([(a * b).sum() / (len(x) * (len(x) - 3)) for a, b in ((k, l), (k, k), (l, l))]).cpu()

    @property
    def value(self) -> float:
        """CKA over all batches so far, at most 1."""
        xy, xx, yy = self._sums.tolist()
        if not (xx > 0 and yy > 0):
            raise MultiresError("CKA of constant features, or of 0 batches: update it with images whose features differ")
        return float(xy / (xx**0.5 * yy**0.5))

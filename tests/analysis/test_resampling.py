"""What sites that lower the resolution are: projections however written, and near misses."""

import itertools
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis import audit
from multires import pooling
from tests.analysis.audited import Apply, Filter, X, four, measured, only, quarter, smooth

PROJECTIONS: dict[str, nn.Module] = {
    "module": nn.AvgPool2d(2),
    "function": Apply(lambda _, x: functional.avg_pool2d(x, 2)),
    "depthwise convolution": Filter(quarter()),
    "slices": Apply(lambda _, x: sum(four(x)) / 4),
    "view and mean": Apply(lambda _, x: x.view(2, 4, 8, 2, 8, 2).mean((3, 5))),
    "area": Apply(lambda _, x: functional.interpolate(x, scale_factor=0.5, mode="area")),
    "bilinear at half size": Apply(lambda _, x: functional.interpolate(x, scale_factor=0.5, mode="bilinear")),
    "adaptive": nn.AdaptiveAvgPool2d(8),
    "global": nn.AdaptiveAvgPool2d(1),
    "global by mean": Apply(lambda _, x: x.mean((2, 3), keepdim=True)),
    "ceil_mode where sides are even": nn.AvgPool2d(2, ceil_mode=True),
    "matrices": Apply(lambda _, x: torch.kron(torch.eye(8), torch.tensor([[0.5, 0.5]])) @ x),
    "mean with a precision": Apply(lambda _, x: x.view(2, 4, 8, 2, 8, 2).mean((3, 5), dtype=torch.float32)),
    "channels as a batch": Apply(lambda _, x: pooling.strided_convolution(x, quarter(), 0)),
    "matrices by einsum": Apply(
        lambda _, x: torch.einsum("bchiwj,ij->bchw", x.view(2, 4, 8, 2, 8, 2), torch.full((2, 2), 0.25)),
    ),
    "linear": Apply(lambda _, x: _both(lambda y: functional.linear(y, halves(0).to(y)), x)),
    "unfold": Apply(lambda _, x: functional.unfold(x, 2, stride=2).view(2, 4, 4, 8, 8).mean(2)),
    "unfold of tensors": Apply(lambda _, x: x.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))),
    "of squares of channels that lie last": Apply(
        lambda _, x: functional.avg_pool2d(x.movedim(1, -1).pow(2).movedim(-1, 1), 2),
    ),
    "lerp": Apply(lambda _, x: _both(lambda y: torch.lerp(y[..., ::2], y[..., 1::2], 0.5), x)),
    "integral image": Apply(lambda _, x: _both(lambda y: functional.pad(y.cumsum(-1), (1, 0))[..., ::2].diff() / 2, x)),
    "gather": Apply(lambda _, x: sum(x.gather(2, rows).gather(3, columns) for rows, columns in _places()) / 4),
    "Fourier and back": Apply(lambda _, x: sum(four(torch.fft.ifft2(torch.fft.fft2(x)).real)) / 4),
    "one cell at a time, then every second": Apply(lambda _, x: functional.avg_pool2d(x, 2, 1)[..., ::2, ::2]),
    "strides": Apply(lambda _, x: sum(x.as_strided((2, 4, 8, 8), (1024, 256, 32, 2), i) for i in (0, 1, 16, 17)) / 4),
    "of chosen channels": Apply(lambda s, x: functional.avg_pool2d(s.c(x)[:, :4], 2), c=nn.Conv2d(4, 6, 1)),
    "of channels twice": Apply(lambda _, x: functional.avg_pool2d(torch.cat([x, x], 1), 2)),
    "of shuffled channels": Apply(
        lambda _, x: functional.avg_pool2d(x.view(len(x), 2, 2, 16, 16).transpose(1, 2).reshape(len(x), 4, 16, 16), 2)
    ),
    "of axes that changed places": Apply(lambda _, x: functional.avg_pool2d(x.mT, 2)),
    "of cells that moved": Apply(lambda _, x: functional.avg_pool2d(x.roll(3, 3), 2)),
    "one axis at a time, at every cell": Apply(lambda _, x: _along(_along(x, 1), 2)[..., ::2, ::2]),
    "channels as a batch, at every cell": Apply(
        lambda _, x: (
            functional.conv2d(functional.pad(x.reshape(-1, 1, 16, 16), (0, 1, 0, 1)), quarter()[None, None])[..., ::2, ::2]
        ).reshape(2, 4, 8, 8)
    ),
    "after a smoothing": Apply(lambda _, x: functional.avg_pool2d(smooth(functional.pad(x, (1, 1, 1, 1))), 2)),
    "by new tensors": Apply(lambda _, x: functional.conv2d(x, x.new_tensor([[[[0.25] * 2] * 2]] * 4), stride=2, groups=4)),
    "of what is detached": Apply(lambda _, x: sum(four(x.detach())) / 4),
    "of the data": Apply(lambda _, x: sum(four(x.data)) / 4),
    "detached after all": Apply(lambda _, x: (sum(four(x)) / 4).detach().relu()),
    "detached in one branch": Apply(lambda _, x: (x[..., ::2, ::2] + sum(part.detach() for part in four(x)[1:])) / 4),
    "added in place": Apply(lambda _, x: x[..., ::2, ::2].mul(0.25).add_(sum(four(x)[1:]) * 0.25)),
}


def _along(x: Tensor, axis: int) -> Tensor:
    """The mean of each cell and the next along an axis."""
    shape, ends = ((4, 1, 1, 2), (0, 1, 0, 0)) if axis == 1 else ((4, 1, 2, 1), (0, 0, 0, 1))
    return functional.conv2d(functional.pad(x, ends), torch.full(shape, 0.5), groups=4)


def _both(along: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A function along the last axis, along both."""
    return along(along(x).mT).mT


def _places() -> Iterator[tuple[Tensor, Tensor]]:
    for i, j in itertools.product((0, 1), repeat=2):
        yield torch.arange(i, 16, 2)[:, None].expand(2, 4, 8, 16), torch.arange(j, 16, 2).expand(2, 4, 8, 8)


@pytest.mark.parametrize("name", PROJECTIONS)
def test_projections_are_exact(name: str) -> None:
    site = only(audit(PROJECTIONS[name], X))
    assert site.verdict == "Haar projection, exact"
    found = measured(site)
    assert found.worst is not None
    assert found.idempotence is not None
    assert found.self_adjointness is not None
    assert max(found.worst, found.idempotence, found.self_adjointness) < 1e-13


def halves(error: float) -> Tensor:
    matrix = torch.kron(torch.eye(8, dtype=torch.float64), torch.tensor([[0.5, 0.5]], dtype=torch.float64))
    matrix[3, 6] += error
    return matrix


ROOTS = nn.Linear(16, 8, bias=False)
ROOTS.weight = nn.Parameter(torch.kron(torch.eye(8), torch.full((1, 2), 0.5**0.5)))
NEAR: dict[str, tuple[nn.Module, str]] = {
    "a tap off by 1e-2": (Filter(quarter(1e-2)), "fixed filter, closest to haar, 0."),
    "a tap off by 1e-3": (Filter(quarter(1e-3)), "fixed filter, closest to haar, "),
    "a tap off by 1e-6": (Filter(quarter(1e-6)), "fixed filter, closest to haar, "),
    "a tap off by 1e-12": (Filter(quarter(1e-12, torch.float64)), "Haar projection within 2e-12"),
    "one ulp": (Filter(quarter(3e-8)), "Haar projection within 6e-08"),
    "one cell off": (
        Apply(lambda _, x: functional.avg_pool2d(x, 2) + functional.pad(x[..., :2, :2] * 1e-3, (0, 6, 0, 6))),
        "Haar projection, exact",  # of the pooling; the sum is another call
    ),
    "one row of a matrix off": (Apply(lambda _, x: halves(1.5e-13) @ x.double()), "Haar projection within "),
    "subsampling": (Apply(lambda _, x: x[..., ::2, ::2]), "fixed weights of one cell of each block: subsampling"),
    "odd cells": (Apply(lambda _, x: x[..., 1::2, 1::2]), "fixed weights of one cell of each block: subsampling"),
    "nearest at half size": (Apply(lambda _, x: functional.interpolate(x, scale_factor=0.5)), "fixed weights of one cell"),
    "antialiased": (
        Apply(lambda _, x: functional.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True)),
        "fixed filter, closest to haar, 19 % unexplained",
    ),
    "aligned corners": (
        Apply(lambda _, x: functional.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=True)),
        "fixed filter, closest to",
    ),
    "aligned corners, sides by three": (
        Apply(lambda _, x: functional.interpolate(x[..., 1:, 1:], size=(5, 5), mode="bilinear", align_corners=True)),
        "fixed filter; ",
    ),
    "one cell of each block, at the border its mean too": (
        Apply(lambda _, x: (lambda y, m: torch.cat([m[..., :1], y[..., 1:]], -1).relu())(x[..., ::2, ::2], sum(four(x)) / 4)),
        "fixed filter, closest to ",
    ),
    "stride smaller than kernel": (nn.AvgPool2d(3, 2, 1), "fixed filter, closest to"),
    "padding": (nn.AvgPool2d(2, 2, 1), "no projection: 16 x 16 cells do not divide into 9 x 9"),
    "padding not counted": (nn.AvgPool2d(2, 2, 1, count_include_pad=False), "no projection: 16 x 16 cells do not divide into 9"),
    "padding, even": (nn.AvgPool2d(4, 2, 1), "fixed filter, closest to"),
    "padding, even, not counted": (nn.AvgPool2d(4, 2, 1, count_include_pad=False), "fixed filter, closest to"),
    "sum": (nn.AvgPool2d(2, divisor_override=1), "Haar projection times 4: no projection itself"),
    "adaptive, uneven": (nn.AdaptiveAvgPool2d(5), "no projection: 16 x 16 cells do not divide into 5 x 5"),
    "blur": (Filter(torch.outer(torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 2, 1])) / 16, 1, "reflect"), "fixed filter, clos"),
    "blur of one cell at a time": (
        Apply(lambda _, x: smooth(functional.pad(x, (1, 1, 1, 1), "reflect"))[..., ::2, ::2]),
        "fixed filter, closest to coif1, 3.5 % unexplained",
    ),
    "max": (nn.MaxPool2d(2), "not linear: max; "),
    "max of one cell at a time": (Apply(lambda _, x: functional.max_pool2d(x, 2, 1)[..., ::2, ::2]), "not linear: max; "),
    "max with indices": (Apply(lambda _, x: functional.max_pool2d(x, 2, return_indices=True)[0]), "not linear: max; "),
    "max of slices": (Apply(lambda _, x: torch.stack(four(x)).amax(0)), "not linear: sliced max; "),
    "max by view": (Apply(lambda _, x: x.view(2, 4, 8, 2, 8, 2).amax((3, 5))), "not linear: sliced max; "),
    "min by view": (Apply(lambda _, x: x.view(2, 4, 8, 2, 8, 2).amin((3, 5))), "not linear: sliced min; "),
    "max of an unfolding": (
        Apply(lambda _, x: functional.unfold(x, 2, stride=2).view(2, 4, 4, 8, 8).max(2).values),
        "not linear: sliced max; ",
    ),
    "median": (Apply(lambda _, x: torch.stack(four(x)).median(0).values), "not linear: sliced median; "),
    "deviation": (Apply(lambda _, x: x.view(2, 4, 8, 2, 8, 2).std((3, 5))), "not linear: sliced arithmetic; "),
    "log of a mean of powers": (Apply(lambda _, x: x.view(2, 4, 8, 2, 8, 2).exp().mean((3, 5)).log()), "not linear: sliced arith"),
    "cut in Fourier space": (Apply(lambda _, x: _low(x)), "fixed filter, closest to "),
    "odd sides": (
        Apply(lambda _, x: functional.avg_pool2d(x[..., :15, :15], 2, ceil_mode=True)),
        "no projection: 15 x 15 cells do not divide into 8 x 8",
    ),
    "matrices of square roots": (
        Apply(lambda s, x: torch.einsum("ij,bcjk,lk->bcil", s.roots.weight, x, s.roots.weight) / 2, roots=ROOTS),
        "Haar projection within ",
    ),
    "max, then a blur": (
        Apply(lambda _, x: smooth(functional.pad(functional.max_pool2d(x, 2, 1), (1, 2, 1, 2)), 2)),
        "not linear: max; ",
    ),
    "power average": (nn.LPPool2d(2, 2), "not linear: power-average; "),
    "mean times its mean": (Apply(lambda _, x: x.view(2, 4, 8, 2, 8, 2).mean((3, 5)) * x.mean()), "not linear: "),
    "unshuffle": (nn.PixelUnshuffle(2), "no projection: it moves cells into channels and loses nothing"),
    "by view and permute": (
        Apply(lambda _, x: x.view(2, 4, 8, 2, 8, 2).permute(0, 1, 3, 5, 2, 4).reshape(2, 16, 8, 8)),
        "no projection: it moves cells into channels and loses nothing",
    ),
    "blocks of three": (
        Apply(lambda _, x: functional.avg_pool2d(x[..., :15, :15], 3)),
        "projection of blocks of 3 x 3 cells, not d",
    ),
}


def _low(x: Tensor) -> Tensor:
    """Half of the frequencies along each axis, written into zeros as some networks do."""
    found, kept = torch.fft.rfft2(x), torch.zeros(2, 4, 8, 5, dtype=torch.complex64)
    kept[..., :4, :] = found[..., :4, :5]
    kept[..., -4:, :] = found[..., -4:, :5]
    return torch.fft.irfft2(kept, s=(8, 8)) / 4


@pytest.mark.parametrize("name", NEAR)
def test_near_misses_are_told_apart(name: str) -> None:
    module, beginning = NEAR[name]
    assert only(audit(module, X)).verdict.startswith(beginning)

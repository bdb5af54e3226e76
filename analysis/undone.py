"""What makes our HVAEs fast, undone one thing at a time: contexts in which the library's code is the plain one in one place."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional

from multires import cells
from multires.cells import Pointwise
from multires.gaussians import Gaussian


def _contiguous() -> Any:
    """The library asks torch for the name of its layout at each use: here it gets the other."""
    return mock.patch.object(torch, "channels_last", torch.contiguous_format)


def _convolved() -> Any:
    def forward(self: Pointwise, x: Tensor, beside: Tensor | None = None, h: float = 1.0) -> Tensor:
        assert self.bias is not None
        return functional.conv2d(x if beside is None else torch.cat([x, beside], 1), self.weight, self.bias * h)

    return mock.patch.object(Pointwise, "forward", forward)


def _torchs_own() -> Any:
    return mock.patch.object(cells, "LARGE", math.inf)


def _by_autograd() -> Any:
    def kl(self: Gaussian, other: Gaussian) -> Tensor:
        log_ratio = self.log_deviation - other.log_deviation
        scaled = (self.mean - other.mean) * (-other.log_deviation).exp()
        return (0.5 * (torch.expm1(2 * log_ratio) + scaled.square()) - log_ratio).sum(tuple(range(1, self.mean.ndim)))

    return mock.patch.object(Gaussian, "kl", kl)


def within(context: Callable[[], AbstractContextManager[Any]], call: Callable[[], object]) -> Callable[[], None]:
    """The call, each time within a context of its own."""

    def whole() -> None:
        with context():
            call()

    return whole


UNDONE: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "contiguous layout": _contiguous,
    "convolutions of width 1 as convolutions": _convolved,
    "GELU by torch, not oneDNN": _torchs_own,
    "KL's gradient by autograd": _by_autograd,
}
IN_SAMPLING = ("contiguous layout", "convolutions of width 1 as convolutions", "GELU by torch, not oneDNN")
"""Which of them sampling would notice."""
BY_TENSOR = "optimiser tensor by tensor"
"""Undone in training without a context: the network's parameters are left where they are."""

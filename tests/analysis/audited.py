"""For tests of the audit: functions as modules, fixed filters, a U-Net of functional calls only, and what to ask of an audit."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.auditing import Audit, Site
from analysis.resampling import Measured


class Apply(nn.Module):
    """A module whose forward is a function of it and its arguments, with modules to call."""

    def __init__(self, function: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self, *args, **kwargs)


class Functional(nn.Module):
    """An average-pooling U-Net of two levels, of which module hooks see convolutions alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        sizes = ((3, 8), (8, 8), (8, 8), (16, 8), (16, 3))
        self.c = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in sizes)

    def forward(self, x: Tensor) -> Tensor:
        a = functional.relu(self.c[0](x))
        b = functional.relu(self.c[1](functional.avg_pool2d(a, 2)))
        y = self.c[2](functional.avg_pool2d(b, 2))
        y = functional.relu(self.c[3](torch.cat([functional.interpolate(y, scale_factor=2), b], 1)))
        y = self.c[4](torch.cat([functional.interpolate(y, scale_factor=2), a], 1))
        return y


class Filter(nn.Module):
    """The same kernel for each channel, at every second cell; a buffer, so nothing is learned."""

    def __init__(self, kernel: Tensor, padding: int = 0, mode: str = "constant") -> None:
        super().__init__()
        self.padding, self.mode = (padding,) * 2 * kernel.ndim, mode
        self.register_buffer("kernel", kernel)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.get_buffer("kernel")
        convolution = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[kernel.ndim]
        weight = kernel.expand(x.shape[1], 1, *kernel.shape)
        return convolution(functional.pad(x.to(kernel), self.padding, self.mode), weight, stride=2, groups=x.shape[1])


def quarter(error: float = 0.0, dtype: torch.dtype = torch.float32) -> Tensor:
    """The kernel of average pooling, one tap wrong by `error`."""
    kernel = torch.full((2, 2), 0.25, dtype=dtype)
    kernel[1, 0] += error
    return kernel


def four(x: Tensor) -> tuple[Tensor, ...]:
    """The four siblings of each block."""
    return x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]


SMOOTH = torch.outer(torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 2, 1])) / 16


def smooth(x: Tensor, step: int = 1) -> Tensor:
    """Four channels, each blurred, at every cell or at every so many."""
    return functional.conv2d(x, SMOOTH.expand(4, 1, 3, 3), groups=4, stride=step)


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7))


X = images(2, 4, 16, 16)


def only(found: Audit) -> Site:
    (site,) = found.sites
    return site


def measured(site: Site) -> Measured:
    assert isinstance(site.measured, Measured)
    return site.measured

"""Networks that tests of `capture` record, and what could show that they were changed."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

HOOKS = [name for name in nn.Module().__dict__ if "hooks" in name]


def images(batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(batch, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


class Block(nn.Module):
    """Convolution, in-place ReLU, pooling by function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(self.relu(self.conv(x)), 2)


class Net(nn.Module):
    """A block with pooling inside, a pooling module, and one function used twice by the root."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.down1 = Block()
        self.pools = nn.ModuleList([nn.AvgPool2d(2)])
        self.head = nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor, fail: bool = False) -> Tensor:
        x = self.pools[0](self.down1(functional.relu(x)))
        if fail:
            raise KeyError("in the middle")
        return functional.relu(self.head(x))


def state(model: nn.Module) -> list[Any]:
    """Everything of a model that capture could leave changed."""
    found: list[Any] = []
    for module in model.modules():
        found += [(id(module.__dict__[name]), dict(module.__dict__[name])) for name in HOOKS]
        found += [module.training, sorted(module.__dict__)]
    return [*found, *(x.tolist() for x in model.state_dict().values()), torch.get_rng_state().tolist(), modes()]


def modes() -> int:
    return int(torch._C._len_torch_function_stack())

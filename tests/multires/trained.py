"""For tests of the training loop: a small network that depends on all random states, and runs of it."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from multires.configs import TrainingConfig
from multires.training import Finished, Record, fit

CONFIG = TrainingConfig(steps=12, batch=4, learning_rate=1e-2, warmup=3, save_every=4, log_every=1, ema=0.9)


class Noisy(nn.Module):
    """A network that draws from all three global generators, so that a run depends on their states."""

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        if tied:
            self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.randn_like(x) + random.random() + float(np.random.rand())  # noqa: NPY002 - the global one is meant
        y: Tensor = self.second(self.first(x).relu()) + 0.1 * noise
        return y


def net(tied: bool = False) -> Noisy:
    torch.manual_seed(5)
    return Noisy(tied)


def batches(step: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(4, 3, generator=generator)
    return x, x.flip(1)


def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, Tensor]]:
    x, y = batch
    return (model(x) - y).square().mean(), {}


def run(folder: Path, config: TrainingConfig = CONFIG, tied: bool = False) -> Iterator[Record]:
    return fit(net(tied), loss, batches, config, folder)


def weights(records: list[Record]) -> dict[str, Tensor]:
    last = records[-1]
    assert isinstance(last, Finished)
    return {name: tensor.clone() for name, tensor in last.model.state_dict().items()}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def lines(folder: Path) -> list[dict[str, object]]:
    timeless = []
    for line in (folder / "log.jsonl").read_text().splitlines():
        fields = json.loads(line)
        fields.pop("seconds", None)
        fields.pop("path", None)
        if fields["record"] != "started":
            timeless.append(fields)
    return timeless

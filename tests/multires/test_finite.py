"""A training whose numbers stop being finite ends with a line that says where: of HVAEs, of rare noise, of gradients."""

import math
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from multires.bounds import negative_elbo
from multires.configs import TrainingConfig
from multires.errors import MultiresError
from multires.finite import first_not_finite
from multires.hvae import HVAE
from multires.hvae_configs import HVAEConfig, Resolution
from multires.training import Batch, fit

CONFIG = TrainingConfig(steps=5, batch=4, warmup=0, log_every=1)
SMALL = HVAEConfig((Resolution(4, 1, 2), Resolution(1, 1, 1)), width=8, latents=2)


def line(model: nn.Module, loss: object, folder: Path, skip_above: float | None = None) -> str:
    """What the training of a model says when it ends."""
    config = TrainingConfig(**(vars(CONFIG) | {"skip_above": skip_above, "skip_limit": 3}))
    with pytest.raises(MultiresError) as caught:
        list(fit(model, loss, lambda step: (torch.ones(4, 1, 4, 4),), config, folder))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def elbo(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    return negative_elbo(model, batch, 16)


@pytest.mark.parametrize("cell", [0, 1, 2])
@pytest.mark.parametrize("skip_above", [None, 5.0])
def test_a_kl_that_overflows_is_that_of_the_first_such_cell(cell: int, skip_above: float | None, tmp_path: Path) -> None:
    """A posterior of deviation e^50 is finite, as is the state; its variance, which only the KL takes, is not."""
    torch.manual_seed(0)
    hvae = HVAE(SMALL)
    for k in range(cell, 3):
        hvae.cells[k].posterior.c4.bias.data[2:] = 50.0  # type: ignore[union-attr, operator, index]
    found = line(hvae, elbo, tmp_path, skip_above)
    assert f"gradient nan; the first number that is not finite comes from aten::expm1 in cells.{cell}, or right after it;" in found


def test_an_overflow_inside_of_a_cell_is_that_of_its_part(tmp_path: Path) -> None:
    torch.manual_seed(0)
    hvae = HVAE(SMALL)
    hvae.cells[1].residual.c2.bias.data[0] = 3e38  # type: ignore[union-attr, operator, index]
    hvae.cells[1].residual.c3.weight.data.fill_(9.0)  # type: ignore[union-attr, operator]
    assert "in cells.1.residual.c3, or right after it; lower the learning rate" in line(hvae, elbo, tmp_path)


class Rare(nn.Module):
    """Overflows for the very noise of its first call, which comes from all three generators."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.seen: tuple[float, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        drawn = (float(torch.rand(())), random.random(), float(np.random.rand()))  # noqa: NPY002 - the global one is meant
        self.seen = self.seen or drawn
        y: Tensor = self.two(self.one(x).relu() / (0.0 if drawn == self.seen else 1.0))
        return y


def test_the_noise_of_the_step_comes_again(tmp_path: Path) -> None:
    found = line(Rare(), lambda model, batch: (model(batch[0]).square().mean(), {}), tmp_path)
    assert "comes from aten::div.Tensor in one, or right after it" in found


class Root(nn.Module):
    """The square root, which has no slope at zero."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sqrt()


@pytest.mark.parametrize(("skip_above", "step"), [(None, 1), (5.0, 3)])
def test_a_gradient_that_overflows_is_that_of_its_parameter(skip_above: float | None, step: int, tmp_path: Path) -> None:
    """Not of the ones that backpropagation comes to before: clipping made all of them NaN. It may be left out twice."""
    net = nn.Sequential(nn.Linear(4, 4), Root(), nn.Linear(4, 4))
    for parameter in (*net[0].parameters(), net[2].weight):
        nn.init.zeros_(parameter)  # type: ignore[arg-type]
    found = line(net, lambda model, batch: (model(batch[0]).square().mean(), {}), tmp_path, skip_above)
    assert found.startswith(f"step {step}: loss ")
    assert re.search(r"gradient nan; the first number that is not finite is in the gradient of 0\.(weight|bias); lower", found)


def test_a_loss_that_is_not_finite_is_not_passed_over_where_its_gradient_is(tmp_path: Path) -> None:
    """However long a gradient may be before it is skipped."""

    def infinite(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return model(batch[0]).mean() + math.inf, {}

    found = line(nn.Linear(4, 4), infinite, tmp_path, 1e9)
    assert "loss inf, gradient 1.1" in found
    assert "comes from aten::add" in found


def test_what_is_finite_is_not_named_and_memory_not_yet_written_is_not_looked_at() -> None:
    torch.use_deterministic_algorithms(True)  # fills such memory with NaN
    try:
        net = nn.Linear(3, 3)
        assert first_not_finite(net, lambda model: (model(torch.empty(2, 3).zero_()) + torch.ones(2, 3)).sum()) == ""
    finally:
        torch.use_deterministic_algorithms(False)

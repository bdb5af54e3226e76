"""For tests of the claims on U-Nets: few patches, activations by plain hooks, shipped networks that are changed, and measuring."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from analysis import shipped
from analysis.claims import unets
from analysis.evidence import REGISTRY, Context, Evidence
from multires import data
from multires.data import Images
from multires.patches import split
from multires.unet import UNet

NATURAL = data.load("natural")
FEW = replace(NATURAL, batches=tuple(batch[:, :, 200:264] for batch in NATURAL.batches[:1]), views=0)  # strips


def outputs(net: nn.Module, names: list[str], x: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """(input, output) of modules by plain hooks."""
    found, modules = dict[str, tuple[Tensor, Tensor]](), dict(net.named_modules())

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, args, output: found.update({name: (args[0].detach(), output.detach())})

    hooks = [modules[name].register_forward_hook(keep(name)) for name in names]
    with torch.no_grad():
        net(x)
    for hook in hooks:
        hook.remove()
    return found


def patches(count: int, noise: float = 0.1) -> Tensor:
    """Noisy patches from the right halves of the photographs."""
    tiles = split(NATURAL, 32)[1].tiles(count)
    return tiles + noise * torch.randn(tiles.shape, generator=torch.Generator().manual_seed(5))


@contextmanager
def networks(monkeypatch: pytest.MonkeyPatch, change: Callable[[UNet], None], among: tuple[str, ...]) -> Iterator[None]:
    """Shipped networks, some of them changed."""
    real = shipped.network

    def network(pooling: str) -> tuple[UNet, object]:
        net, run = real(pooling)
        if pooling in among:
            net = copy.deepcopy(net)
            change(net)
        return net, run

    with monkeypatch.context() as patched:
        patched.setattr(shipped, "network", network)
        yield


def measured(id: str, images: Images = FEW) -> Evidence:
    return REGISTRY[id].measure(Context(images, 0, id))


@pytest.fixture
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unets, "MANY_PATCHES", 32)
    monkeypatch.setattr(unets, "CONTROL_PATCHES", 16)
    pairs = shipped.pairs
    monkeypatch.setattr(shipped, "pairs", lambda context, run, fit_on=32, score_on=24: pairs(context, run, fit_on, score_on))


def dead(net: UNet) -> None:
    for parameter in net.parameters():
        parameter.data.zero_()

"""C1 and C2 away from the claims' own code, and wrong networks under which they must not be supported."""

import copy
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given
from torch import Tensor, nn
from torch.nn import functional

from analysis import shipped
from analysis.capture import capture
from analysis.claims import twins, unets
from multires.pooling import average, maximum
from multires.spaces import embed, norm
from multires.unet import HaarUNet, UNet
from tests.analysis.few_patches import dead, measured, networks, outputs, patches
from tests.strategies import fields


@pytest.mark.claim("C1")
@given(fields(coarsest=1))
def test_activations_of_the_haar_unet_are_wavedecns(x: list[Tensor]) -> None:
    """Coefficients of all levels at once, and skips as `waverecn` of one level's details alone."""
    field = x[0].double()
    d, levels = field.ndim - 2, int(math.log2(field.shape[-1]))
    axes = tuple(range(2, 2 + d))
    found = outputs(HaarUNet(levels), [f"{part}.{level}" for part in ("pools", "skips") for level in range(levels)], field)
    size = float(field.abs().max()) + 1e-300
    for level in range(levels):
        whole = pywt.wavedecn(field.numpy(), "haar", "periodization", level + 1, axes)
        assert np.abs(found[f"pools.{level}"][1].numpy() - whole[0] * 2 ** (-(level + 1) * d / 2)).max() <= 1e-13 * size
        alone = [np.zeros_like(whole[0]), whole[1]]
        skip = pywt.waverecn(alone, "haar", "periodization", axes) * 2 ** (-level * d / 2)
        assert np.abs(found[f"skips.{level}"][1].numpy() - skip).max() <= 1e-13 * size


class _Wrong(HaarUNet):
    """A Haar U-Net wrong in one place; each still returns its input, or pools as it should."""

    def __init__(self, levels: int, wrong: str) -> None:
        super().__init__(levels)
        self.wrong = wrong

    def forward(self, x: Tensor) -> Tensor:
        skips, start = [], x
        for level in range(self.levels):
            coarse = self.pools[level](average(x) + (1e-9 if self.wrong == "pooled a little higher" else 0))
            skip = x - embed(coarse)
            if self.wrong == "skip shifted":
                skip = skip.roll(1, -1)
            if self.wrong == "skip of the wrong sign":
                skip = -skip
            skips.append(self.skips[level](skip))
            x = coarse
        for skip in reversed(skips):
            x = embed(x) + skip
        return start if self.wrong.startswith("skip") else x


@pytest.mark.parametrize(
    ("wrong", "seen"),
    [
        ("pooled a little higher", "pooled = approximations"),
        ("skip shifted", "skips = details"),
        ("skip of the wrong sign", "skips = details"),
    ],
)
def test_c1_sees_a_wrong_haar_unet_although_it_returns_its_input(wrong: str, seen: str) -> None:
    x = torch.randn(2, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    defects = twins._haar_unet(partial(_Wrong, wrong=wrong), x)
    assert defects["output = input"] < 1e-13
    assert defects[seen] > 1e-10
    assert twins._haar_unet(twins._with_a_cut, x)["output = input"] > 0.1
    assert max(twins._haar_unet(partial(_Wrong, wrong=""), x).values()) < 1e-14


@pytest.mark.claim("C2")
def test_pooled_activations_of_the_shipped_network_are_block_means() -> None:
    net = copy.deepcopy(shipped.network("average")[0]).double()
    for activation, pooled in outputs(net, [f"pools.{level}" for level in range(4)], patches(8).double()).values():
        means = activation.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))
        assert (norm(pooled - means) <= 1e-14 * norm(activation)).all()
        assert pooled.var() > 1e-4  # which a network that carries nothing would not need


class _Pools(nn.Module):
    """A network with a functional pooling, as networks from elsewhere have it."""

    def __init__(self, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(torch.cat([x, x.square() - 1], 1))


def uneven(x: Tensor, e: float) -> Tensor:
    line = torch.tensor([0.5 + e, 0.5 - e], dtype=x.dtype)
    return functional.conv2d(x, torch.outer(line, line).expand(x.shape[1], 1, 2, 2), stride=2, groups=x.shape[1])


@pytest.mark.claim("C2")
@pytest.mark.parametrize(
    ("function", "pool", "least", "most"),
    [
        ("avg_pool2d", lambda x: functional.avg_pool2d(x, 2), 0, 1e-14),
        ("adaptive_avg_pool2d", lambda x: functional.adaptive_avg_pool2d(x, 16), 0, 1e-14),
        ("conv2d", partial(uneven, e=0), 0, 1e-14),
        ("conv2d", partial(uneven, e=1e-9), 1e-11, 1e-8),
        ("avg_pool2d", lambda x: functional.avg_pool2d(x.roll(1, 3), 2), 0, 1e-14),  # of what it is given, which is shifted
        ("avg_pool2d", lambda x: functional.avg_pool2d(x, 3, 2, 1), 0.01, 10),  # half a cell to the left, and wider
        ("max_pool2d", lambda x: functional.max_pool2d(x, 2), 0.1, 10),
        ("interpolate", lambda x: functional.interpolate(x, scale_factor=0.5, mode="bilinear"), 0, 1e-14),
        ("interpolate", lambda x: functional.interpolate(x, scale_factor=0.5), 0.01, 10),
    ],
)
def test_agreement_at_functional_poolings(function: str, pool: Callable[[Tensor], Tensor], least: float, most: float) -> None:
    net = _Pools(pool)
    with torch.no_grad(), capture(net, functions=function, inputs=True, reduce=_OnlyTheActivation) as record:
        net(patches(4).double())
    assert least <= record[function].worst <= most


class _OnlyTheActivation(unets._Agreement):
    def update(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...]) -> None:
        super().update(outputs, inputs[:1])  # conv2d is given its weights too


def pooled_by(pool: Callable[[Tensor], Tensor]) -> Callable[[UNet], None]:
    def change(net: UNet) -> None:
        for each in net.pools:
            each.pooling = pool  # type: ignore[assignment]

    return change


@pytest.mark.claim("C2")
@pytest.mark.usefixtures("fewer")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (dead, "control passes"),  # nothing to pool: max pooling would do as well
        (pooled_by(maximum), "every channel"),
        (pooled_by(partial(uneven, e=1e-5)), "every channel"),
        (pooled_by(lambda x: average(x.roll(1, -1))), "every channel"),
    ],
)
def test_c2_falls_for_a_wrong_network(change: Callable[[UNet], None], reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with networks(monkeypatch, change, ("average",)):
        verdict, why = measured("C2").judge()
    assert verdict == "not supported"
    assert reason in why
    assert "pools." in why

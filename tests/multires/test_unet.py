"""U-Nets: shapes, what their parts are by independent formulas, closed forms of special weights, and the two twins."""

import copy
import itertools
import re
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from multires import MultiresError
from multires.configs import UNetConfig
from multires.pooling import average, blur, lowpass, maximum, project, subsample
from multires.spaces import dimension, embed
from multires.unet import Block, HaarUNet, LinearUNet, Pool, UNet
from tests.strategies import fields, tolerance, unet_configs

Skips = Literal["add", "concatenate", "none"]
DB2 = tuple(pywt.Wavelet("db2").dec_lo)
POOLINGS: dict[str, str | tuple[float, ...]] = {n: n for n in ("average", "max", "subsample", "blur", "strided")} | {"db2": DB2}
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "average": average,
    "max": maximum,
    "subsample": subsample,
    "blur": blur,
    "db2": lambda x: lowpass(x, DB2),
}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def built(config: UNetConfig, random: bool = True, seed: int = 0) -> UNet:
    """A U-Net in float64; with `random` weights its blocks are not the identity any more."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = UNet(config).double()
        for parameter in net.parameters() if random else ():
            nn.init.normal_(parameter, std=0.3)
    return net


def transparent(config: UNetConfig) -> UNet:
    """A U-Net whose convolutions of width 3 outside of its blocks, and whose blocks, are the identity."""
    net = built(config, random=False)
    convolutions: list[Any] = [net.stem, net.head, *(pool for pool in net.pools if not isinstance(pool, Pool))]
    for module in convolutions:
        nn.init.dirac_(module.weight)
        nn.init.zeros_(module.bias)
    return net


def close(a: Tensor, b: Tensor, eps: float = 1e-12) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() <= eps * (1 + b.abs().max()))


@given(unet_configs(), st.integers(1, 2))
def test_shapes_everywhere(config: UNetConfig, factor: int) -> None:
    net, d = built(config), config.dimension
    x = normal(2, config.channels, *[factor * 2**config.levels] * d)
    seen: dict[str, tuple[int, ...]] = {}
    for name in [f"{kind}.{level}" for level in range(config.levels) for kind in ("pools", "skips", "decoder")]:
        net.get_submodule(name).register_forward_hook(lambda _, __, y, name=name: seen.__setitem__(name, tuple(y.shape)))
    assert net(x).shape == x.shape
    for level, (fine, coarse) in enumerate(itertools.pairwise(x.shape[-1] // 2**k for k in range(config.levels + 1))):
        here = (2, config.widths[level], *[fine] * d)
        assert seen[f"pools.{level}"] == (*here[:2], *[coarse] * d)
        assert seen[f"decoder.{level}"] == here
        assert seen.get(f"skips.{level}") == (None if config.skips == "none" else here)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("padding", ["periodic", "zeros"])
def test_a_block_is_its_formula_and_starts_as_the_identity(d: int, padding: str) -> None:
    block, x = Block(2, d, padding).double(), normal(2, 2, *[4] * d)
    assert torch.equal(block(x), x)
    for parameter in block.parameters():
        nn.init.normal_(parameter)

    def convolve(y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """One shifted product for each tap."""
        wide = functional.pad(y, [1, 1] * d, "circular" if padding == "periodic" else "constant")
        out = bias.reshape(-1, *[1] * d).expand(y.shape[0], -1, *y.shape[2:]).clone()
        for k, tap in enumerate(itertools.product(range(3), repeat=d)):
            window = (slice(start, start + n) for start, n in zip(tap, y.shape[2:], strict=True))
            out += torch.einsum("oi,bi...->bo...", weight.flatten(2)[..., k], wide[(slice(None), slice(None), *window)])
        return out

    w1, b1, w2, b2 = block.parameters()
    inside = convolve(x * torch.sigmoid(x), w1, b1)
    assert close(block(x), x + convolve(inside * torch.sigmoid(inside), w2, b2))


@pytest.mark.parametrize("blocks", [1, 2])
def test_every_level_has_its_blocks_and_they_start_as_the_identity(blocks: int) -> None:
    net = built(UNetConfig(widths=(2, 3, 4), blocks=blocks), random=False)
    for width, stage in zip((2, 3, 4, 2, 3), (*net.encoder, *net.decoder), strict=True):
        x = normal(1, width, 4, 4)
        assert [type(block) for block in stage] == [Block] * blocks
        assert torch.equal(stage(x), x)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_pooling_is_the_one_that_is_named(name: str, d: int) -> None:
    x = normal(2, 3, *[8] * d)
    assert torch.equal(Pool(POOLINGS[name])(x), FUNCTIONS[name](x))


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("skips", ["add", "concatenate", "none"])
def test_closed_form_where_all_but_pooling_is_the_identity(name: str, d: int, skips: Skips) -> None:
    levels, (a, b) = 2, (0.75, -2.0)  # a joint of [a I, b I] weighs the state and the skip
    net = transparent(UNetConfig(channels=3, widths=(3,) * (levels + 1), dimension=d, pooling=POOLINGS[name], skips=skips))
    if skips == "concatenate":
        joints: Any = net.join
        for joint in joints:
            joint.weight.data.copy_(torch.cat([a * torch.eye(3), b * torch.eye(3)], 1).reshape(3, 6, *[1] * d))
            nn.init.zeros_(joint.bias)
    x = normal(2, 3, *[8] * d)
    terms, pooled = [x], x
    for level in range(levels):
        pooled = FUNCTIONS.get(name, subsample)(pooled)  # the identity, as a convolution of stride 2, keeps every second cell
        terms.append(embed(pooled, level + 1))
    if name == "average":
        assert close(terms[-1], project(x, levels))
    weights: dict[str, list[float]] = {"add": [1, 1, 1], "concatenate": [b, a * b, a * a], "none": [0, 0, 1]}
    assert close(net(x), torch.stack([weight * term for weight, term in zip(weights[skips], terms, strict=True)]).sum(0))


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("skips", ["add", "concatenate", "none"])
def test_a_periodic_network_commutes_with_whole_coarse_cells_and_no_other_does(name: str, d: int, skips: Skips) -> None:
    x, axes = normal(1, 1, *[16] * d), tuple(range(2, 2 + d))

    def defect(padding: Literal["periodic", "zeros"], cells: int) -> float:
        net = built(UNetConfig(widths=(3, 4, 5), dimension=d, pooling=POOLINGS[name], skips=skips, padding=padding))
        a, b = net(x.roll([cells] * d, axes)), net(x).roll([cells] * d, axes)
        return float(((a - b).norm() / b.norm()).item())

    assert defect("periodic", 4) <= 1e-12
    assert min(defect("periodic", 2), defect("periodic", 3), defect("zeros", 4)) >= 1e-3


@given(unet_configs())
def test_every_wide_convolution_has_the_padding_asked_for(config: UNetConfig) -> None:
    convolutions = [module for module in UNet(config).modules() if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)]
    wide = [module for module in convolutions if module.kernel_size[0] == 3]
    assert {module.padding_mode for module in wide} == {"circular" if config.padding == "periodic" else "zeros"}
    strided = (len(config.widths) - 1) * (config.pooling == "strided")
    assert len(wide) == 2 + 2 * config.blocks * (2 * len(config.widths) - 1) + strided


def jacobian_rank(config: UNetConfig, cells: int) -> int:
    net = built(config)
    jacobian = torch.autograd.functional.jacobian(net, normal(1, config.channels, cells)).reshape(2 * [config.channels * cells])
    return int(torch.linalg.matrix_rank(jacobian, rtol=1e-9))


@pytest.mark.parametrize(("widths", "rank"), [((4, 4, 1), 4), ((4, 3, 2), 8), ((4, 1, 6), 4), ((1, 6, 6), 8), ((6,), 16)])
def test_without_skips_all_passes_through_the_narrowest_place(widths: tuple[int, ...], rank: int) -> None:
    """The rank of the derivative is at most the numbers an activation holds once pooled, before it is widened; skips lift that."""
    assert jacobian_rank(UNetConfig(widths=widths, dimension=1, skips="none"), 16) == rank
    assert jacobian_rank(UNetConfig(widths=widths, dimension=1, skips="add"), 16) == 16


@pytest.mark.parametrize("skips", ["add", "concatenate", "none"])
def test_skips_carry_what_the_coarsest_activation_does_not(skips: Skips) -> None:
    """With the coarsest activation held fixed the output depends on the input through skips alone; each of them matters."""
    net, x = built(UNetConfig(widths=(2, 3, 4), dimension=2, skips=skips)), normal(1, 1, 8, 8)
    handle = net.encoder[-1].register_forward_hook(lambda _, __, y: torch.ones_like(y))
    moved = (net(x) - net(normal(1, 1, 8, 8, seed=1))).abs().max().item()
    assert moved > 1e-3 if skips != "none" else moved == 0
    handle.remove()
    for level in range(2):
        whole = net(x)
        handle = net.skips[level].register_forward_hook(lambda _, __, y: torch.zeros_like(y))
        assert torch.equal(net(x), whole) == (skips == "none")
        handle.remove()
        assert torch.equal(net(x), whole)


@given(unet_configs())
def test_gradients_reach_every_parameter_after_one_step(config: UNetConfig) -> None:
    """At the first step the first convolution of a block has none: the second is zero there."""
    net = built(config, random=False)
    x = normal(2, config.channels, *[2 ** (config.levels + 1)] * config.dimension)
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    for _ in range(2):
        optimizer.zero_grad()
        (net(x) - x.flip(0)).square().mean().backward()
        optimizer.step()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@given(unet_configs())
def test_state_and_deep_copies_give_the_same_network(config: UNetConfig) -> None:
    net, other = built(config), built(config, seed=1)
    x = normal(1, config.channels, *[2**config.levels] * config.dimension)
    twin = copy.deepcopy(net)
    assert not torch.equal(other(x), net(x))
    other.load_state_dict(net.state_dict())
    assert torch.equal(other(x), net(x))
    for parameter in net.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(twin(x), other(x))
    assert twin.config == config


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((1, 2, 10, 8), "10 x 8 cells, 2 levels: every side must be a multiple of 4, the nearest that works is 12 x 8"),
        ((1, 2, 2, 2), "2 x 2 cells, 2 levels: every side must be a multiple of 4, the nearest that works is 4 x 4"),
        ((1, 3, 8, 8), "input of shape (1, 3, 8, 8): this U-Net takes 2 channels and 2 spatial axes"),
        ((1, 2, 8), "input of shape (1, 2, 8): this U-Net takes 2 channels and 2 spatial axes"),
        ((1, 2, 8, 8, 8), "input of shape (1, 2, 8, 8, 8): this U-Net takes 2 channels and 2 spatial axes"),
        ((0, 2, 8, 8), "shape (0, 2, 8, 8) holds no cells: every axis must be at least 1"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(MultiresError, match=f"^{re.escape(says)}$"):
        built(UNetConfig(channels=2, widths=(2, 2, 2)))(torch.ones(shape, dtype=torch.float64))


def test_poolings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(
        MultiresError, match=r"^pooling 'mean': known are average, max, subsample, blur, strided; or give .* filter$"
    ):
        UNet(UNetConfig(widths=(2, 2), pooling="mean"))
    with pytest.raises(MultiresError, match=r"^3 taps: .* even number .*$"):
        UNet(UNetConfig(widths=(2, 2), pooling=(0.5, 0.5, 0.5)))(torch.ones(1, 1, 4, 4))


def test_synthesis_gives_what_is_pooled_its_own_wavelet_back() -> None:
    config = UNetConfig(channels=3, widths=(3, 3, 3), pooling=DB2, skips="none", upsampling="synthesis")
    x = normal(2, 3, 16, 16)
    coarse, *details = pywt.wavedec2(x.numpy(), "db2", "periodization", 2)
    alone = pywt.waverec2([coarse, *(tuple(np.zeros_like(band) for band in level) for level in details)], "db2", "periodization")
    assert close(transparent(config)(x), torch.from_numpy(alone))


@pytest.mark.parametrize("pooling", ["average", "strided", (0.5, 0.5), tuple(pywt.Wavelet("bior2.2").dec_lo)])
def test_synthesis_takes_the_filter_of_an_orthogonal_wavelet(pooling: str | tuple[float, ...]) -> None:
    with pytest.raises(MultiresError, match=r"^upsampling = 'synthesis': pooling has to be the filter of an orthogonal wavelet"):
        UNet(UNetConfig(pooling=pooling, upsampling="synthesis"))


@given(fields(coarsest=1), st.data())
def test_haar_unet_is_pywavelets_transform_on_its_activations(one: list[Tensor], data: st.DataObject) -> None:
    (x,), d = one, dimension(one[0])
    levels = data.draw(st.integers(1, x.shape[-1].bit_length() - 1))
    net = HaarUNet(levels)
    seen: dict[str, Tensor] = {}
    for name in [f"{kind}.{level}" for level in range(levels) for kind in ("pools", "skips")]:
        net.get_submodule(name).register_forward_hook(lambda _, __, y, name=name: seen.__setitem__(name, y))
    eps = tolerance(x.dtype, 64) * float(x.abs().max())
    assert (net(x) - x).abs().max() <= eps
    axes = tuple(range(2, 2 + d))
    for level in range(levels):
        approximation, *details = pywt.wavedecn(x.double().numpy(), "haar", "periodization", level + 1, axes)
        bands = {"a" * d: np.zeros_like(approximation), **details[0]}
        pooled, skip = approximation / 2 ** ((level + 1) * d / 2), pywt.idwtn(bands, "haar", "periodization", axes)
        assert np.abs(seen[f"pools.{level}"].numpy() - pooled).max() <= eps
        assert np.abs(seen[f"skips.{level}"].numpy() - skip / 2 ** (level * d / 2)).max() <= eps


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n != "average"])
def test_haar_unet_returns_its_input_with_any_pooling_but_its_skips_hold_no_details(name: str) -> None:
    x, net = normal(1, 1, 8, 8), HaarUNet(2, FUNCTIONS[name])
    skips: list[Tensor] = []
    for skip in net.skips:
        skip.register_forward_hook(lambda _, __, y: skips.append(y))
    assert close(net(x), x, 1e-14)
    assert all(average(skip).abs().max() > 1e-2 for skip in skips)  # what average pooling leaves over has no means


@pytest.mark.parametrize(("resolution", "d"), [(0, 2), (1, 1), (3, 1), (2, 2), (1, 3)])
def test_linear_unet_can_be_any_linear_maps_and_starts_at_zero(resolution: int, d: int) -> None:
    """Where what is pooled is an orthogonal image of the input, weights of `up` solve for any targets, one after the other."""
    net, cells = LinearUNet(resolution, d).double(), 2 ** (resolution * d)
    basis = torch.eye(cells, dtype=torch.float64).reshape(cells, 1, *[2**resolution] * d)
    assert [tuple(y.shape) for y in net(basis)] == [(cells, 1, *[2**j] * d) for j in range(resolution + 1)]
    assert not any(y.any() for y in net(basis))
    images = [basis]  # the activations of all basis vectors, fine to coarse
    for level, down in enumerate(net.down, start=1):
        images.append(average(down(images[-1].flatten(1)).unflatten(1, (-1, *[2 ** (resolution - level + 1)] * d))))
        pooled = images[-1].flatten(1)
        assert close(pooled @ pooled.T, torch.eye(cells, dtype=torch.float64), 1e-5)  # made in float32
    targets = [normal(cells, 1, *[2**j] * d, seed=j) for j in range(resolution + 1)]
    below = torch.zeros_like(targets[0])
    for j, (up, target, image) in enumerate(zip(net.up, targets, reversed(images), strict=True)):
        wanted = target - (embed(below) if j else 0)
        up.get_parameter("weight").data.copy_(torch.linalg.solve(image.flatten(1), wanted.flatten(1)).T)
        below = target
    assert all(close(y, target, 1e-10) for y, target in zip(net(basis), targets, strict=True))
    x, y = normal(3, 1, *[2**resolution] * d), normal(3, 1, *[2**resolution] * d, seed=9)
    mixed = zip(net(2 * x - 3 * y), net(x), net(y), strict=True)
    assert all(close(both, 2 * one - 3 * other, 1e-11) for both, one, other in mixed)

"""The audit finds every site by kind, place and line, says what is a projection, and says it of nothing else."""

import inspect
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from audited import Apply, Filter, Functional, four, quarter
from torch import Tensor, nn
from torch.nn import functional

import analysis
from analysis import audit, auditing, filters, resampling
from analysis.auditing import Audit, Site
from analysis.resampling import Measured
from multires import pooling, pretrained
from multires.configs import UNetConfig
from multires.errors import MultiresError
from multires.unet import UNet


def images(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7))


X = images(2, 4, 16, 16)


def only(found: Audit) -> Site:
    (site,) = found.sites
    return site


def measured(site: Site) -> Measured:
    assert isinstance(site.measured, Measured)
    return site.measured


def kinds(found: Audit) -> list[str]:
    return [site.kind for site in found.sites]


def verdicts(found: Audit) -> list[str]:
    return [site.verdict for site in found.sites]


# The five networks


def test_functional_unet() -> None:
    found = audit(Functional(), images(2, 3, 32, 32))
    assert kinds(found) == ["average pooling"] * 2 + ["interpolation (nearest)"] * 2
    assert verdicts(found) == ["Haar projection, exact"] * 2 + ["Haar embedding, exact"] * 2
    assert [site.side for site in found.sites] == ["encoder"] * 2 + ["decoder"] * 2
    assert [(site.before, site.after) for site in found.sites] == [
        ((32, 32), (16, 16)),
        ((16, 16), (8, 8)),
        ((8, 8), (16, 16)),
        ((16, 16), (32, 32)),
    ]
    assert [site.channels for site in found.sites] == [(8, 8)] * 4
    lines, first = inspect.getsourcelines(Functional)
    for site, call in zip(found.sites, ["avg_pool2d(a", "avg_pool2d(b", "b], 1", "a], 1"], strict=True):
        file, _, number = str(site.line).rpartition(":")
        assert Path(file).name == "audited.py"
        assert call in lines[int(number) - first]


def test_ours_with_db2_pooling() -> None:
    found = audit(pretrained.load_unet("unet-db2")[0], images(4, 1, 32, 32))
    assert kinds(found) == ["sliced arithmetic"] * 4 + ["interpolation (nearest)"] * 4
    assert [site.path for site in found.sites] == [f"pools.{level}" for level in range(4)] + [""] * 4
    # the line of the forward, not of the function it calls
    assert {Path(str(site.line).rpartition(":")[0]).name for site in found.sites} == {"unet.py"}
    assert all(site.verdict.startswith("db2 low-pass, 0 % unexplained; ") for site in found.sites[:4])
    assert verdicts(found)[4:] == ["Haar embedding, exact"] * 4


def test_diffusers_unet() -> None:
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install multires-toolkit[peers]")
    net = diffusers.UNet2DModel(
        sample_size=32,
        block_out_channels=(16, 16, 32, 32),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        layers_per_block=1,
    )
    found = audit(net, (images(2, 3, 32, 32), 10))
    assert kinds(found) == ["strided convolution"] * 3 + ["interpolation (nearest)"] * 3
    assert [site.path for site in found.sites[:3]] == [f"down_blocks.{level}.downsamplers.0.conv" for level in range(3)]
    assert [site.path for site in found.sites[3:]] == [f"up_blocks.{level}.upsamplers.0" for level in range(3)]
    assert all(site.verdict.startswith("learned, closest to ") for site in found.sites[:3])
    assert verdicts(found)[3:] == ["Haar embedding, exact"] * 3
    assert all(Path(str(site.line).rpartition(":")[0]).name in ("downsampling.py", "upsampling.py") for site in found.sites)


def test_monai_basic_unet() -> None:
    nets = pytest.importorskip("monai.networks.nets", reason="monai is not installed: pip install multires-toolkit[peers]")
    net = nets.BasicUNet(spatial_dims=2, in_channels=1, out_channels=2, features=(8, 8, 16, 16, 32, 8))
    found = audit(net, images(2, 1, 32, 32))
    assert kinds(found) == ["max pooling"] * 4 + ["transposed convolution"] * 4
    assert [site.path for site in found.sites[:4]] == [f"down_{level}.max_pooling" for level in (1, 2, 3, 4)]
    assert [site.path for site in found.sites[4:]] == [f"upcat_{level}.upsample.deconv" for level in (4, 3, 2, 1)]
    assert all(site.verdict.startswith("not linear: max; ") for site in found.sites[:4])
    assert all(site.verdict.startswith("learned, closest to ") for site in found.sites[4:])


def test_monai_attention_unet() -> None:
    nets = pytest.importorskip("monai.networks.nets", reason="monai is not installed: pip install multires-toolkit[peers]")
    found = audit(nets.AttentionUnet(2, 1, 2, (8, 16, 32), (2, 2)), images(2, 1, 32, 32))
    assert kinds(found) == ["strided convolution"] * 2 + ["transposed convolution"] * 2
    assert [site.before[0] for site in found.sites] == [32, 16, 8, 16]
    assert all(site.verdict.startswith("learned, closest to ") for site in found.sites)


# Projections, and what is near them

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
    "added in place": Apply(lambda _, x: x[..., ::2, ::2].mul(0.25).add_(sum(four(x)[1:]) * 0.25)),
}


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
    "stride smaller than kernel": (nn.AvgPool2d(3, 2, 1), "fixed filter, closest to"),
    "padding": (nn.AvgPool2d(2, 2, 1), "no projection: 16 x 16 cells do not divide into 9 x 9"),
    "padding not counted": (nn.AvgPool2d(2, 2, 1, count_include_pad=False), "no projection: 16 x 16 cells do not divide into 9"),
    "padding, even": (nn.AvgPool2d(4, 2, 1), "fixed filter, closest to"),
    "padding, even, not counted": (nn.AvgPool2d(4, 2, 1, count_include_pad=False), "fixed filter, closest to"),
    "sum": (nn.AvgPool2d(2, divisor_override=1), "Haar projection times 4: no projection itself"),
    "adaptive, uneven": (nn.AdaptiveAvgPool2d(5), "no projection: 16 x 16 cells do not divide into 5 x 5"),
    "blur": (Filter(torch.outer(torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 2, 1])) / 16, 1, "reflect"), "fixed filter, clos"),
    "max": (nn.MaxPool2d(2), "not linear: max; "),
    "max with indices": (Apply(lambda _, x: functional.max_pool2d(x, 2, return_indices=True)[0]), "not linear: max; "),
    "max of slices": (Apply(lambda _, x: torch.stack(four(x)).amax(0)), "not linear: sliced max; "),
    "max by view": (Apply(lambda _, x: x.view(2, 4, 8, 2, 8, 2).amax((3, 5))), "not linear: sliced max; "),
    "min by view": (Apply(lambda _, x: x.view(2, 4, 8, 2, 8, 2).amin((3, 5))), "not linear: sliced min; "),
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


@pytest.mark.parametrize("name", NEAR)
def test_near_misses_are_told_apart(name: str) -> None:
    module, beginning = NEAR[name]
    assert only(audit(module, X)).verdict.startswith(beginning)


@pytest.mark.parametrize("channel", range(4))
def test_one_wrong_channel_is_enough(channel: int) -> None:
    convolution = nn.Conv2d(4, 4, 2, 2, groups=4, bias=False)
    nn.init.constant_(convolution.weight, 0.25)
    assert only(audit(convolution, X)).verdict == "Haar projection, exact (its weights are learned)"
    with torch.no_grad():
        convolution.weight[channel, 0, 0, 0] += 1e-4
    site = only(audit(convolution, X))
    assert site.verdict.startswith("learned, closest to haar, ")
    distance = measured(site).distance
    assert distance == pytest.approx(1e-4 / math.sqrt(4 * 0.25), rel=0.2)  # of four channels, each of norm 1/2


def test_a_constant_is_no_projection() -> None:
    convolution = nn.Conv2d(4, 4, 2, 2, groups=4)
    nn.init.constant_(convolution.weight, 0.25)
    nn.init.constant_(convolution.bias, 0.5)  # type: ignore[arg-type]
    assert not only(audit(convolution, X)).verdict.startswith("Haar")


@pytest.mark.parametrize(
    ("module", "end"),
    [
        (Filter(torch.ones(4, 4) / 16, 1, "circular"), "% from the Haar projection"),
        (Filter(torch.ones(4, 4) / 16, 1, "reflect"), "; another filter at the border"),
        (NEAR["aligned corners"][0], "; another filter elsewhere than in the centre"),
    ],
)
def test_filters_that_are_not_the_same_everywhere(module: nn.Module, end: str) -> None:
    assert only(audit(module, X)).verdict.endswith(end)


def test_fixed_maps_that_mix_channels() -> None:
    assert (site := only(audit(Filter(quarter(1e-3)), X))).kind == "blur pooling"
    assert measured(site).channelwise
    mixed = Apply(lambda _, x: functional.conv2d(x, torch.full((4, 4, 2, 2), 1 / 16), stride=2))
    assert (site := only(audit(mixed, X))).kind == "fixed strided convolution"
    assert not measured(site).channelwise
    assert site.verdict.startswith("fixed filter, closest to haar, 0 % unexplained; ")


def test_swapped_channels_are_no_projection() -> None:
    site = only(audit(Apply(lambda _, x: functional.avg_pool2d(x, 2).flip(1)), X))
    assert site.verdict == "Haar projection, exact"  # the pooling is one, the flip another call
    convolution = nn.Conv2d(4, 4, 2, 2, bias=False)
    with torch.no_grad():
        convolution.weight.copy_(0.25 * torch.eye(4).flip(0)[..., None, None].expand(4, 4, 2, 2))
    site = only(audit(convolution, X))
    assert site.verdict.startswith("learned, closest to haar, 0 % unexplained")
    assert not site.verdict.startswith("Haar")


EMBEDDINGS: dict[str, tuple[nn.Module, str]] = {
    "nearest": (nn.Upsample(scale_factor=2), "Haar embedding, exact"),
    "repeat": (Apply(lambda _, x: x.repeat_interleave(2, 2).repeat_interleave(2, 3)), "Haar embedding, exact"),
    "expand": (Apply(lambda _, x: x[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2).reshape(2, 4, 32, 32)), "Haar embedding"),
    "bilinear": (nn.Upsample(scale_factor=2, mode="bilinear"), "fixed filter, closest to haar, 19 % unexplained"),
    "bicubic": (nn.Upsample(scale_factor=2, mode="bicubic"), "fixed filter, closest to haar, "),
    "shuffle": (nn.PixelShuffle(2), "no embedding: it moves channels into cells and loses nothing"),
    "zeros between": (
        Apply(lambda _, x: _assigned(x.new_zeros(2, 4, 32, 32), x)),
        "each cell to one cell of its block, zeros between: no embedding",
    ),
}


def _assigned(y: Tensor, x: Tensor) -> Tensor:
    y[..., ::2, ::2] = x
    return y


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_rises(name: str) -> None:
    module, beginning = EMBEDDINGS[name]
    site = only(audit(module, X))
    assert site.side == "decoder"
    assert site.verdict.startswith(beginning)


NO_SITES: dict[str, nn.Module] = {
    "crop": Apply(lambda _, x: x[..., 4:12, 4:12].relu()),
    "pad": Apply(lambda _, x: functional.pad(x, (8, 8, 8, 8)).relu()),
    "valid convolution": nn.Conv2d(4, 4, 5),
    "stride 1": nn.MaxPool2d(3, 1),
    "attention": Apply(lambda _, x: (lambda q: q.transpose(2, 3) @ q)(x.view(2, 2, 2, 256)).softmax(-1)),
    "channels last and back": Apply(
        lambda _, x: functional.linear(x.permute(0, 2, 3, 1), torch.ones(9, 4)).permute(0, 3, 1, 2).relu()
    ),
    "windows": Apply(lambda _, x: x.view(2, 4, 4, 4, 4, 4).permute(0, 2, 4, 1, 3, 5).reshape(32, 4, 4, 4).relu()),
    "channel means": Apply(lambda _, x: x.mean(1, keepdim=True).relu()),
}


@pytest.mark.parametrize("name", NO_SITES)
def test_what_is_no_change_of_resolution(name: str) -> None:
    assert audit(NO_SITES[name], X).sites == ()


@pytest.mark.parametrize("wavelet", filters.WAVELETS)
@pytest.mark.parametrize("d", [1, 2])
def test_filters_are_found_by_their_wavelet(wavelet: str, d: int) -> None:
    net = UNet(UNetConfig(channels=1, widths=(4, 4), dimension=d, pooling=filters.taps(wavelet)))
    site = audit(net, images(2, 1, *[16] * d)).sites[0]
    table = measured(site).filters
    assert min(table, key=lambda name: table[name]) == wavelet
    assert table[wavelet] < 1e-12
    assert min(value for name, value in table.items() if name != wavelet) > 1e-3
    assert site.verdict.startswith("Haar projection" if wavelet == "haar" else f"{wavelet} low-pass")


def test_unexplained_fraction_by_hand() -> None:
    """Haar's share of a kernel w is the largest (w * h)^2 over |w|^2; mixing channels changes nothing, noise adds its own."""
    kernel = torch.tensor([[0.25, 0.25], [0.25, 0.25]]) + torch.tensor([[0.1, -0.1], [-0.1, 0.1]])
    convolution = nn.Conv2d(4, 6, 2, 2)
    with torch.no_grad():
        convolution.weight.copy_(torch.randn(6, 4, 1, 1, generator=torch.Generator().manual_seed(0)) * kernel)
    site = only(audit(convolution, X))
    assert measured(site).filters["haar"] == pytest.approx(4 * 0.01 / (4 * 0.0625 + 4 * 0.01), rel=1e-5)
    assert "closest to haar, 14 % unexplained" in site.verdict


# Models of many kinds


def test_shared_module_and_control_flow() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        while x.shape[-1] > 4:
            x = net.pool(x)
        return x if float(x.mean()) > 1e9 else functional.interpolate(x, scale_factor=4)

    found = audit(Apply(forward, pool=nn.MaxPool2d(2)), X)
    assert [(site.kind, site.path, site.before[0]) for site in found.sites] == [
        ("max pooling", "pool", 16),
        ("max pooling", "pool", 8),
        ("interpolation (nearest)", "", 4),
    ]


@pytest.mark.parametrize("pack", [lambda y: (y, [y]), lambda y: {"sample": y, "more": None}, lambda y: y])
def test_outputs_of_every_kind(pack: Any) -> None:
    found = audit(Apply(lambda _, x: pack(functional.avg_pool2d(x, 2))), X)
    assert verdicts(found) == ["Haar projection, exact"]


def test_several_inputs() -> None:
    def forward(_: Any, x: Tensor, t: int, *, context: Tensor) -> Tensor:
        return functional.avg_pool2d(x * t, 2) + functional.max_pool2d(context, 2)

    net = Apply(lambda s, x, t, c: forward(s, x, t, context=c))
    assert kinds(audit(net, (X, 3, X))) == ["average pooling", "max pooling"]
    assert kinds(audit(Apply(forward), {"x": X, "t": 3, "context": X})) == ["average pooling", "max pooling"]


@pytest.mark.parametrize("d", [1, 3])
def test_other_dimensions(d: int) -> None:
    pool = {1: nn.AvgPool1d, 3: nn.AvgPool3d}[d]
    up = nn.Upsample(scale_factor=2)
    found = audit(nn.Sequential(pool(2), up, {1: nn.Conv1d, 3: nn.Conv3d}[d](2, 2, 3, 2, 1)), images(2, 2, *[8] * d))
    assert verdicts(found)[:2] == ["Haar projection, exact", "Haar embedding, exact"]
    assert found.sites[2].verdict.startswith("learned, closest to ")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_precisions(dtype: torch.dtype) -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 3, 1, 1), nn.AvgPool2d(2), nn.Conv2d(4, 4, 3, 2, 1), nn.Upsample(scale_factor=2)).to(dtype)
    found = audit(net, X.to(dtype))
    assert [verdict.split(",")[0] for verdict in verdicts(found)] == ["Haar projection", "learned", "Haar embedding"]


def test_in_place_activations() -> None:
    net = nn.Sequential(
        nn.Conv2d(4, 4, 3, 1, 1), nn.ReLU(inplace=True), nn.AvgPool2d(2), nn.ReLU(inplace=True), nn.Upsample(scale_factor=2)
    )
    assert verdicts(audit(net, X)) == ["Haar projection, exact", "Haar embedding, exact"]
    sliced = Apply(lambda _, x: functional.relu((sum(four(x)) / 4), inplace=True))
    assert verdicts(audit(sliced, X)) == ["Haar projection, exact"]
    written = Apply(lambda _, x: (lambda y, z: (z.relu_(), y)[1])(x[..., ::2, ::2], x))
    assert only(audit(written, X.clone())).verdict.startswith("fixed weights of one cell")


def test_activations_are_those_before_they_are_written_over() -> None:
    net = Apply(lambda _, x: (lambda y: (x.zero_(), y)[1])(torch.stack(four(x)).amax(0)))
    action = measured(only(audit(net, X.clone()))).action
    assert action == measured(only(audit(nn.MaxPool2d(2), X))).action


def test_writing_to_a_constant_makes_it_an_activation() -> None:
    def copied(_: Any, x: Tensor) -> Tensor:
        y = x.new_zeros(2, 4, 32, 32)
        y[..., ::2, ::2].copy_(x)
        return functional.avg_pool2d(y, 2)

    def added(_: Any, x: Tensor) -> Tensor:
        y = torch.zeros(2, 4, 16, 16)
        y += x
        return functional.avg_pool2d(y, 2)

    for forward in (copied, added):
        assert "average pooling" in kinds(audit(Apply(forward), X))


def test_axes_of_a_single_cell_that_change_places() -> None:
    net = Apply(
        lambda s, x: s.linear(s.pool(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2).relu(),
        pool=nn.AdaptiveAvgPool2d(1),
        linear=nn.Linear(4, 6),
    )
    assert kinds(audit(net, X)) == ["adaptive average pooling"]


def test_weights_that_the_network_computes_are_no_fixed_filter() -> None:
    net = Apply(lambda _, x: functional.conv2d(x, x.mean() + torch.ones(4, 1, 2, 2) / 4, stride=2, groups=4))
    assert only(audit(net, X)).verdict.startswith("Haar projection times")
    net = Apply(lambda _, x: functional.conv2d(x, x.mean() + torch.rand(4, 1, 2, 2), stride=2, groups=4))
    assert only(audit(net, X)).verdict.startswith("learned, closest to haar")


def test_noise_is_an_activation() -> None:
    net = Apply(lambda _, x: functional.avg_pool2d(torch.randn(2, 4, 16, 16), 2) + x.mean())
    assert kinds(audit(net, X)) == ["average pooling"]


# What comes through


def test_bands_that_survive_average_pooling() -> None:
    net = nn.Sequential(nn.AvgPool2d(2), nn.AvgPool2d(2), nn.Upsample(scale_factor=2))
    one, two, up = [site.survival for site in audit(net, images(4, 1, 16, 16)).sites]
    assert one is not None
    assert two is not None
    assert up is not None
    assert list(one) == ["d1", "d2", "a"]
    close = pytest.approx
    assert one["d1"] == {"d2": close(0, abs=1e-10), "a": close(0, abs=1e-10)}
    assert one["d2"] == {"d2": close(1, abs=1e-4), "a": close(0, abs=1e-10)}
    assert one["a"] == {"d2": close(0, abs=1e-10), "a": close(1, abs=1e-4)}
    assert two == {"d1": {"a": close(0, abs=1e-10)}, "d2": {"a": close(0, abs=1e-10)}, "a": {"a": close(1, abs=1e-4)}}
    assert up["a"]["a"] == close(1, abs=1e-4)


def test_read_outs_find_what_is_there() -> None:
    found = audit(nn.Sequential(nn.AvgPool2d(2), nn.Upsample(scale_factor=2)), images(8, 1, 16, 16))
    encoder, decoder = (site.readout for site in found.sites)
    for table in (encoder, decoder):
        assert table is not None
        assert table["haar"] < 1e-10
        assert min(value for name, value in table.items() if name != "haar") > 0.05
    assert [site.random_readout for site in found.sites] == [encoder, decoder]  # there are no weights


def test_random_weights_stand_beside_trained_ones() -> None:
    net = pretrained.load_unet("unet-strided")[0]
    found = audit(net, images(4, 1, 32, 32))
    for site in found.sites[:4]:
        assert site.random is not None
        assert site.random != measured(site).filters
        assert f"({100 * min(site.random.values()):.2g} % with random weights)" in site.verdict


class Scaled(nn.Module):
    """A parameter that no reset_parameters reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.gain, self.kernel = nn.Parameter(torch.ones(4)), nn.Parameter(3 + torch.randn(4, 50))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain[:, None, None] + self.kernel.mean()


def test_redrawn_weights() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.AvgPool2d(2), Scaled())
    before = {name: p.clone() for name, p in net.named_parameters()}
    sentence = auditing.redraw(net)
    after = dict(net.named_parameters())
    assert not torch.equal(after["0.weight"], before["0.weight"])
    assert torch.equal(after["2.gain"], before["2.gain"])
    assert not torch.equal(after["2.kernel"], before["2.kernel"])
    assert float(after["2.kernel"].detach().mean()) == pytest.approx(3, abs=0.3)
    assert "1 that it leaves alone, the first in Scaled '2'" in sentence


# The model stays as it was


def test_the_model_is_left_as_it_was() -> None:
    drawing = Apply(lambda _, x: x * random.random() * float(np.random.rand()))  # noqa: NPY002
    net = nn.Sequential(
        nn.Conv2d(4, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), drawing, nn.AvgPool2d(2), nn.Upsample(scale_factor=2)
    )
    net.train()
    net[1].eval()
    calls: list[int] = []
    net[0].register_forward_hook(lambda *_: calls.append(1) and None)
    x = X.clone()

    def state() -> Any:
        hooks = [{name: list(value) for name, value in vars(m).items() if "hooks" in name} for m in net.modules()]
        tensors = {name: (t.data_ptr(), t._version, t.clone()) for name, t in net.state_dict().items()}
        return hooks, [m.training for m in net.modules()], [sorted(vars(m)) for m in net.modules()], tensors

    hooks, training, names, tensors = state()
    generators = torch.get_rng_state(), audit_random_states()
    gradients = [p.grad for p in net.parameters()]
    audit(net, x)
    assert state()[:3] == (hooks, training, names)
    for name, (place, version, value) in state()[3].items():
        assert (place, version) == tensors[name][:2]
        assert torch.equal(value, tensors[name][2])
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert audit_random_states() == generators[1]
    assert [p.grad for p in net.parameters()] == gradients == [None, None, None, None]
    assert torch.equal(x, X)


def audit_random_states() -> list[str]:
    return [repr(random.getstate()), repr(np.random.get_state())]  # noqa: NPY002


def test_two_audits_agree() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1), nn.Dropout(0.5), nn.Upsample(scale_factor=2))
    first, second = (audit(net, images(4, 4, 16, 16)).to_json() for _ in range(2))
    assert first | {"seconds": 0} == second | {"seconds": 0}


# One clear line


def refused(net: Any, inputs: Any) -> str:
    with pytest.raises(MultiresError) as caught:
        audit(net, inputs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_clear_lines() -> None:
    assert "pass a torch.nn.Module" in refused("net", X)
    assert "no image" in refused(nn.AvgPool2d(2), 3)
    assert "no image" in refused(nn.AvgPool2d(2), torch.ones(2, 3))
    assert "raised RuntimeError" in refused(nn.Conv2d(3, 3, 3), X)
    assert "(2, 4, 16, 16)" in refused(nn.Conv2d(3, 3, 3), X)
    assert "compiled" in refused(torch.compile(nn.AvgPool2d(2)), X)
    assert "module '0' is compiled" in refused(nn.Sequential(torch.compile(nn.AvgPool2d(2))), X)
    net = nn.AvgPool2d(2)
    net.stuck = torch.ones(1, requires_grad=True) * 2  # type: ignore[assignment] # torch copies leaves of the graph alone
    assert "cannot be copied" in refused(net, X)


def test_what_cannot_be_measured_is_a_site_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Measured:
        raise RuntimeError("no kernel for this\nmore")

    monkeypatch.setattr(resampling, "measure", fails)
    site = only(audit(nn.AvgPool2d(2), X))
    assert site.verdict == "not measured: RuntimeError: no kernel for this"


def test_it_is_a_function_of_the_package() -> None:
    assert analysis.audit is auditing.audit
    with pytest.raises(AttributeError, match="nothing"):
        _ = analysis.nothing

"""The audit finds every site by kind, place and line, says what is a projection, and says it of nothing else."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune

from analysis import audit
from analysis.auditing import Audit
from multires import pretrained
from tests.analysis.audited import Apply, Functional, X, four, images, measured, only


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


def test_images_one_by_one() -> None:
    """A batch taken apart and put together again is one site; without a batch, each image is."""
    parts = Apply(lambda _, x: torch.stack([functional.avg_pool2d(x[i : i + 1], 2)[0] for i in range(2)]))
    one = Apply(lambda _, x: torch.stack([functional.avg_pool2d(image, 2) for image in x]))
    each = Apply(lambda _, x: torch.stack([functional.avg_pool2d(image.relu(), 2) for image in x]))
    named = Apply(lambda _, x: torch.stack([functional.avg_pool2d(input=image.relu(), kernel_size=2) for image in x]))
    for net, count in ((parts, 1), (one, 1), (each, 2), (named, 2)):
        sites = audit(net, X).sites
        told = [(site.before, site.after, site.channels, site.verdict) for site in sites]
        assert told == [((16, 16), (8, 8), (4, 4), "Haar projection, exact")] * count


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_weights_that_hooks_compute() -> None:
    for wrap in (nn.utils.weight_norm, lambda m: prune.l1_unstructured(m, "weight", 0.5)):
        net = wrap(nn.Conv2d(4, 4, 3, 2, 1))
        before = net.weight.clone()
        assert only(audit(net, X)).verdict.startswith("learned, closest to ")
        assert torch.equal(net.weight, before)


def test_lazy_modules() -> None:
    net = nn.Sequential(nn.LazyConv2d(4, 3, 2, 1))
    found = audit(net, X)
    assert (only(found).kind, found.parameters) == ("strided convolution", 4 * 4 * 9 + 4)
    assert nn.parameter.is_lazy(net[0].weight)


@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")
def test_exported_graphs() -> None:
    net = torch.export.export(nn.Sequential(nn.Conv2d(4, 4, 3, 1, 1), nn.AvgPool2d(2)), (X,)).module()
    assert only(audit(net, X)).verdict == "Haar projection, exact"


# What comes through

"""What filters are, fixed or learned, the same everywhere or not, and what sites that raise the resolution are."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis import audit, filters
from multires import pooling
from multires.configs import UNetConfig
from multires.unet import UNet
from tests.analysis.audited import SMOOTH, Apply, Filter, X, images, measured, only, quarter, smooth


def _convolution(convolution: nn.Module, weight: float, bias: float) -> nn.Module:
    nn.init.constant_(convolution.weight, weight)  # type: ignore[arg-type]
    nn.init.constant_(convolution.bias, bias)  # type: ignore[arg-type]
    return convolution


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
    convolution = _convolution(nn.Conv2d(4, 4, 2, 2, groups=4), 0.25, 0.5)
    verdict = only(audit(convolution, X)).verdict
    assert verdict.startswith("learned, closest to haar, ")
    assert verdict.endswith("; 0 % from the Haar projection but for a constant")


ALIGNED = Apply(lambda _, x: functional.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=True))


@pytest.mark.parametrize(
    ("module", "end"),
    [
        (Filter(torch.ones(4, 4) / 16, 1, "circular"), "% from the Haar projection"),
        (Filter(torch.ones(4, 4) / 16, 1, "reflect"), "; another filter at the border"),
        (ALIGNED, "; another filter elsewhere than in the centre"),
    ],
)
def test_filters_that_are_not_the_same_everywhere(module: nn.Module, end: str) -> None:
    assert only(audit(module, X)).verdict.endswith(end)


def test_a_filter_that_is_a_plain_attribute_is_fixed() -> None:
    kernel = quarter(1e-3)[None, None]
    for held in (kernel, [kernel]):
        net = Apply(lambda s, x: functional.conv2d(x, s.held[0].expand(4, 1, 2, 2), stride=2, groups=4))
        net.held = held  # type: ignore[assignment]
        site = only(audit(net, X))
        assert not site.learned
        assert site.verdict.startswith("fixed filter, closest to haar, ")


def test_a_filter_that_the_model_does_not_hold_is_learned_if_it_has_a_gradient() -> None:
    for filter_, kind in (
        (SMOOTH.expand(4, 1, 3, 3), "blur pooling"),
        (torch.rand(1, 1, 9, 9).repeat(4, 1, 1, 1), "blur pooling"),
        (nn.Parameter(torch.rand(4, 1, 3, 3)), "strided convolution"),
    ):
        net = Apply(lambda _, x, w=filter_: functional.conv2d(x, w, groups=4, stride=2, padding=4))
        site = only(audit(net, X))
        assert (site.kind, site.learned) == (kind, kind == "strided convolution")


def test_what_is_smoothed_and_then_sliced_is_one_site_where_the_filter_is_fixed() -> None:
    pad, halve = Apply(lambda _, x: smooth(functional.pad(x, (1, 1, 1, 1)))), Apply(lambda _, x: x[..., ::2, ::2])

    def both(s: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        smoothed = s.smooth(x)
        return s.halve(smoothed), x - smoothed

    sliced, strided = (
        only(audit(Apply(both, smooth=pad, halve=halve), X)),
        only(audit(Apply(lambda _, x: smooth(functional.pad(x, (1, 1, 1, 1)), 2)), X)),
    )
    assert (sliced.kind, sliced.verdict, sliced.measured) == ("blur pooling", strided.verdict, strided.measured)
    assert sliced.path == "smooth"
    convolution = nn.Conv2d(4, 4, 3, padding=1)
    assert only(audit(Apply(lambda s, x: s.c(x)[..., ::2, ::2], c=convolution), X)).kind == "slicing"


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


PLACES = functional.max_pool2d(images(2, 4, 32, 32), 2, return_indices=True)[1]  # another in each block


EMBEDDINGS: dict[str, tuple[nn.Module, str]] = {
    "nearest": (nn.Upsample(scale_factor=2), "Haar embedding, exact"),
    "fold": (
        Apply(lambda _, x: functional.fold(x[:, :, None].expand(-1, -1, 4, -1, -1).reshape(2, 16, 256), (32, 32), 2, stride=2)),
        "Haar embedding, exact",
    ),
    "kron": (Apply(lambda _, x: torch.kron(x, torch.ones(2, 2))), "Haar embedding, exact"),
    "shuffle by view, then padded": (
        Apply(
            lambda _, x: functional.avg_pool2d(
                functional.pad(x.view(2, 1, 2, 2, 16, 16).permute(0, 1, 4, 2, 5, 3).reshape(2, 1, 32, 32), (1, 0, 1, 0)), 2, 1
            )
        ),
        "no embedding: it moves channels into cells and loses nothing",
    ),
    "repeat": (Apply(lambda _, x: x.repeat_interleave(2, 2).repeat_interleave(2, 3)), "Haar embedding, exact"),
    "expand": (Apply(lambda _, x: x[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2).reshape(2, 4, 32, 32)), "Haar embedding"),
    "tile": (Apply(lambda _, x: x[:, :, :, None, :, None].tile(1, 1, 1, 2, 1, 2).reshape(2, 4, 32, 32)), "Haar embedding, exact"),
    "bilinear": (nn.Upsample(scale_factor=2, mode="bilinear"), "fixed filter, closest to haar, 19 % unexplained"),
    "bicubic": (nn.Upsample(scale_factor=2, mode="bicubic"), "fixed filter, closest to haar, "),
    "shuffle": (nn.PixelShuffle(2), "no embedding: it moves channels into cells and loses nothing"),
    "reconstruction": (Apply(lambda _, x: pooling.synthesis(x, filters.taps("db2"))), "db2 reconstruction, 0 % unexplained; "),
    "nearest into other channels": (
        Apply(lambda _, x: x.repeat_interleave(2, 2).repeat_interleave(2, 3).roll(1, 1).relu()),
        "fixed filter, closest to haar, 0 % unexplained; ",
    ),
    "a constant added": (_convolution(nn.ConvTranspose2d(4, 4, 2, 2, groups=4), 1.0, 0.5), "learned, closest to haar, 0 % unexpl"),
    "unpooling": (
        Apply(lambda _, x: functional.max_unpool2d(x, PLACES, 2)),
        "each cell to one cell of its block, zeros between: no embedding",
    ),
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

"""Resampling as video networks, exported graphs and pixel shuffles write it: of frames folded into the batch, under other names."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.auditing import audit
from tests.analysis.audited import Apply, images, only

FOUR = images(4, 4, 16, 16)
VIDEO = images(4, 5, 3, 16, 16)


@pytest.mark.parametrize(
    ("function", "kind", "verdict"),
    [
        (lambda x: functional.avg_pool2d(x, 2).relu(), "average pooling", "Haar projection, exact"),
        (lambda x: functional.max_pool2d(x, 2).relu(), "max pooling", "not linear"),
        (lambda x: functional.interpolate(x, scale_factor=2).relu(), "interpolation (nearest)", "Haar embedding, exact"),
    ],
)
def test_frames_in_the_batch_are_images(function: Callable[[Tensor], Tensor], kind: str, verdict: str) -> None:
    site = only(audit(Apply(lambda _, x: function(x.flatten(0, 1)).unflatten(0, (4, 5))), VIDEO))
    assert (site.kind, site.before) == (kind, (16, 16))
    assert site.verdict.startswith(verdict)


def test_frames_that_a_layer_reads_are_images() -> None:
    def forward(net: nn.Module, x: Tensor) -> Tensor:
        y = functional.avg_pool2d(x.flatten(0, 1), 2)
        y = net.get_submodule("inner")(y)
        y = net.get_submodule("outer")(functional.interpolate(y, scale_factor=2))
        return y.unflatten(0, (4, 5))

    found = audit(Apply(forward, inner=nn.Conv2d(3, 3, 3, 1, 1), outer=nn.Conv2d(3, 3, 3, 1, 1)), VIDEO)
    assert [site.verdict for site in found.sites] == ["Haar projection, exact", "Haar embedding, exact"]


class RootMeanSquare(nn.Module):
    """A norm of channels that lie last, written out."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


@pytest.mark.parametrize("norm", [nn.LayerNorm(4), RootMeanSquare()])
def test_channels_that_lay_last_before_a_padding_are_no_side(norm: nn.Module) -> None:
    net = Apply(
        lambda net, x: net.conv(net.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)),
        norm=norm,
        conv=nn.Conv2d(4, 4, 3, 2, 1, padding_mode="reflect"),
    )
    site = only(audit(net, FOUR))
    assert (site.before, site.after) == ((16, 16), (8, 8))
    assert site.verdict.startswith("learned, closest to")


@pytest.mark.parametrize(
    ("function", "verdict"),
    [
        (lambda _, x: functional.pixel_unshuffle(x, 2).unflatten(1, (4, 4)).mean(2), "Haar projection, exact"),
        (lambda _, x: functional.pixel_shuffle(x.repeat_interleave(4, 1), 2), "Haar embedding, exact"),
        (lambda _, x: functional.pixel_unshuffle(x, 2).relu(), "no projection: it moves cells into channels and loses nothing"),
    ],
)
def test_what_follows_a_pixel_shuffle_belongs_to_it(function: Callable[..., Tensor], verdict: str) -> None:
    assert only(audit(Apply(function), FOUR)).verdict == verdict


@pytest.mark.parametrize("two", [np.int64(2), tuple(np.array([2, 2]))])
def test_strides_may_be_numpys(two: object) -> None:
    assert only(audit(nn.AvgPool2d(two), FOUR)).verdict == "Haar projection, exact"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (nn.Upsample(scale_factor=2), "interpolation"),
        (nn.Upsample(scale_factor=2, mode="bilinear"), "interpolation"),
        (nn.ConvTranspose2d(4, 4, 2, 2), "transposed convolution"),
        (nn.Conv2d(4, 4, 2, 2), "strided convolution"),
        (nn.AdaptiveMaxPool2d(2), "adaptive max pooling"),
        (nn.MaxPool2d(2), "max pooling"),
        (Apply(lambda _, x: x[..., ::2, ::2].relu()), "slicing"),
        (Apply(lambda _, x: x.view(4, 4, 8, 2, 8, 2).mean((3, 5)).relu()), "sliced arithmetic"),
    ],
)
@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of torch about itself
def test_exported_graphs_name_calls_otherwise(layer: nn.Module, kind: str, decomposed: bool) -> None:
    exported = torch.export.export(layer, (FOUR,))
    assert only(audit((exported.run_decompositions() if decomposed else exported).module(), FOUR)).kind == kind


def test_a_pooling_that_always_gives_its_indices_is_one() -> None:
    net = Apply(lambda _, x: torch.adaptive_max_pool1d(x, 8)[0])
    assert only(audit(net, images(4, 4, 16))).kind == "adaptive max pooling"


def test_the_image_may_be_named_last() -> None:
    weight = torch.ones(4, 1, 2, 2) / 4
    net = Apply(lambda _, x: functional.conv2d(weight=weight, input=x, stride=2, groups=4))
    assert only(audit(net, FOUR)).verdict == "Haar projection, exact"


def test_of_a_large_matrix_that_the_model_does_not_hold_a_note_speaks() -> None:
    half = torch.kron(torch.eye(8), torch.tensor([[0.5, 0.5]]))
    (note, *_) = audit(Apply(lambda _, x: (half @ x @ half.T).relu()), FOUR).notes
    assert note == "Apply '': matmul reads what no call of torch was seen to make: what resamples there is not found"


@pytest.mark.parametrize("cut", [lambda x: torch.clip(x, -1, 1), functional.relu6, torch.sin])
def test_functions_of_each_value_may_lie_between(cut: Callable[[Tensor], Tensor]) -> None:
    net = Apply(lambda _, x: cut(x.view(-1, 4, 8, 2, 8, 2)).mean((3, 5)))
    assert only(audit(net, FOUR.abs())).verdict.startswith("not linear")


def normalised(y: Tensor) -> Tensor:
    """Its own norm of channels, written out."""
    mean = y.mean(1, keepdim=True)
    return (y - mean) / ((y - mean).pow(2).mean(1, keepdim=True) + 1e-6).sqrt()


def gated(y: Tensor) -> Tensor:
    one, two = y.chunk(2, 1)
    return one * two.sigmoid()


@pytest.mark.parametrize(
    "read", [gated, normalised, lambda y: y * y.mean((2, 3), keepdim=True).sigmoid(), lambda y: y[..., 1:-1, 1:-1]]
)
def test_what_reads_a_pixel_shuffle_in_parts_is_no_part_of_it(read: Callable[[Tensor], Tensor]) -> None:
    found = audit(Apply(lambda _, x: read(functional.pixel_unshuffle(x, 2))), FOUR)
    assert found.sites[0].verdict == "no projection: it moves cells into channels and loses nothing"
    assert [site.kind for site in found.sites].count("pixel unshuffle") == 1


def test_frames_that_several_read_in_parts_are_resampled_once() -> None:
    conv = nn.Conv2d(3, 6, 3, 2, 1)
    net = Apply(lambda net, x: gated(net.get_submodule("conv")(x.flatten(0, 1))).unflatten(0, (4, 5)), conv=conv)
    assert only(audit(net, VIDEO)).before == (16, 16)


def test_a_reshape_before_a_padding_is_a_part_of_what_is_made_of_it() -> None:
    """As StyleGAN2's reference code filters: zeros between cells, where it goes up, by a padding of an axis of one."""

    def filtered(_: nn.Module, x: Tensor) -> Tensor:
        y = functional.pad(x.reshape(4, 4, 16, 1, 16, 1), [0, 0, 0, 0, 0, 0, 0, 0]).reshape(4, 4, 16, 16)
        y = functional.conv2d(functional.pad(y, [0, 1, 0, 1]), torch.full((4, 1, 2, 2), 0.25), groups=4)
        return y[:, :, ::2, ::2].relu()

    assert only(audit(Apply(filtered), FOUR)).verdict == "Haar projection, exact"


@pytest.mark.parametrize("length", [64, 16384])
def test_long_signals_are_interpolated_as_precisely_as_float32_knows_places(length: int) -> None:
    net = nn.Upsample(scale_factor=2, mode="linear", align_corners=True)
    assert only(audit(net, images(2, 1, length))).verdict.startswith("fixed filter, closest to haar")

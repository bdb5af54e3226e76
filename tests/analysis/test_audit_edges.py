"""The audit on networks of others that resample in roundabout ways, and on models that are tied to what they were given."""

from typing import Any

import pytest
import torch
from diffusers import UNet1DModel
from diffusers.models.downsampling import FirDownsample2D, KDownsample2D
from diffusers.models.upsampling import FirUpsample2D, KUpsample2D
from torch import Tensor, nn
from torch.nn import functional

from analysis import audit, resampling
from multires.errors import MultiresError
from tests.analysis.audited import Apply, X, four, images, measured, only

BINOMIAL = "fixed filter, closest to haar, 19 % unexplained"


@pytest.mark.parametrize(
    ("net", "kind", "after", "verdict"),
    [
        (FirDownsample2D(4, use_conv=False), "blur pooling", 8, BINOMIAL),
        (FirDownsample2D(4, 4, use_conv=True), "strided convolution", 8, "learned, closest to "),
        (FirUpsample2D(4, use_conv=False), "blur upsampling", 32, BINOMIAL),
        (KDownsample2D(), "blur pooling", 8, BINOMIAL),
        (KUpsample2D(), "transposed convolution", 32, BINOMIAL),
    ],
)
def test_filters_of_diffusers(net: nn.Module, kind: str, after: int, verdict: str) -> None:
    site = only(audit(net, X))
    assert (site.kind, site.before, site.after) == (kind, (16, 16), (after, after))
    assert site.verdict.startswith(verdict)


def test_one_dimensional_unet_of_diffusers() -> None:
    down, up = ("DownBlock1DNoSkip", "DownBlock1D", "AttnDownBlock1D"), ("AttnUpBlock1D", "UpBlock1D", "UpBlock1DNoSkip")
    net = UNet1DModel(
        sample_size=64,
        in_channels=2,
        out_channels=2,
        extra_in_channels=64,
        block_out_channels=(32, 32, 64),
        down_block_types=down,
        up_block_types=up,
    )
    sides = [(site.before[0], site.after[0]) for site in audit(net, (images(4, 2, 64), 10)).sites]
    assert sides == [(64, 32), (32, 16), (16, 8), (8, 16), (16, 32), (32, 64)]


def tied(shift: Tensor) -> nn.Module:
    return Apply(lambda s, x: functional.avg_pool2d(x, 2) + shift)


def test_a_model_that_is_tied_to_its_batch_has_no_survival_of_bands() -> None:
    found = audit(tied(torch.zeros(4, 4, 8, 8)), images(4, 4, 16, 16))
    assert only(found).verdict == "Haar projection, exact"
    assert only(found).survival is None
    assert any(note.startswith("no survival of bands, which takes 2 images: Apply raised RuntimeError") for note in found.notes)
    assert only(audit(tied(torch.zeros(1)), images(4, 4, 16, 16))).survival is not None


def pool(_: Any, x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 2)


def inferred(_: Any, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return functional.avg_pool2d(x, 2)


def test_inference_mode_hides_nothing() -> None:
    with torch.inference_mode():
        assert only(audit(Apply(pool), images(4, 4, 16, 16))).verdict == "Haar projection, exact"
    assert only(audit(Apply(inferred), images(4, 4, 16, 16))).verdict == "Haar projection, exact"


def test_inside_vmap_nothing_is_measured() -> None:
    found = audit(Apply(lambda s, x: torch.vmap(lambda y: functional.avg_pool2d(y, 2))(x)), images(4, 4, 16, 16))
    assert any("inside vmap" in note for note in found.notes)


def test_weights_of_nan_are_refused() -> None:
    convolution = nn.Conv2d(4, 4, 2, 2)
    nn.init.constant_(convolution.weight, float("nan"))
    with pytest.raises(MultiresError, match="weight holds NaN"):
        audit(convolution, X)


@pytest.mark.parametrize("net", [nn.Conv2d(4, 4, 1, 2), nn.Conv2d(4, 6, 3, 2, 1, bias=False), nn.ConvTranspose2d(4, 4, 2, 2)])
def test_weights_of_zero_are_said_to_be(net: nn.Module) -> None:
    nn.init.zeros_(net.weight)  # type: ignore[arg-type]
    first, second = audit(nn.Sequential(nn.AvgPool2d(2), net), X).sites
    assert first.verdict == "Haar projection, exact"
    assert second.verdict == "not measured: it gives the same whatever it is given, as weights of zero do"


@pytest.mark.parametrize(("weight", "bias"), [(1e-5, 1.0), (1e-3, 1e3), (1e-7, 1e6)])
def test_the_rounding_of_a_constant_makes_nothing_nonlinear(weight: float, bias: float) -> None:
    for net in (nn.Conv2d(4, 8, 2, 2), nn.Conv2d(4, 4, 2, 2, groups=4), nn.ConvTranspose2d(4, 4, 2, 2, groups=4)):
        without = measured(only(audit(net, X)))
        with torch.no_grad():
            net.weight.mul_(weight)
            nn.init.constant_(net.bias, bias)  # type: ignore[arg-type]
        site = only(audit(net, X))
        assert site.verdict.startswith("learned, closest to ")
        assert measured(site).channelwise == without.channelwise
        assert measured(site).translates == without.translates


@pytest.mark.parametrize("bias", [0.0, 1e3, 1e6, 1e8])
def test_what_is_not_linear_stays_so_beside_a_constant(bias: float) -> None:
    for bend in (functional.relu, functional.softplus, torch.tanh, lambda x: x + 1e-8 * x.square()):
        net = Apply(lambda _, x, bend=bend: bend(x.double().view(2, 4, 8, 2, 8, 2)).mean((3, 5)) + bias)
        assert only(audit(net, X)).verdict.startswith("not linear: ")


def test_random_weights_of_zero_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    convolution = nn.Conv2d(4, 4, 2, 2)
    monkeypatch.setattr(nn.Conv2d, "reset_parameters", lambda self: nn.init.zeros_(self.weight))
    site = only(audit(convolution, X))
    assert site.verdict.startswith("learned, closest to ")
    assert not site.random


def test_what_measuring_raises_is_said_of_the_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "measure", lambda site: 1 / 0)
    assert only(audit(nn.AvgPool2d(2), X)).verdict == "not measured: ZeroDivisionError: division by zero"


def test_padding_that_is_asked_about_stays_padding() -> None:
    def asked(s: nn.Module, x: Tensor) -> Tensor:
        y = functional.pad(x, (1, 1, 1, 1))
        assert y.isfinite().all()
        return functional.conv2d(y, y.new_zeros(4, 1, 4, 4) + 1 / 16, stride=2, groups=4)

    assert only(audit(Apply(asked), X)).before == (16, 16)


def test_what_is_detached_counts() -> None:
    def both(s: nn.Module, x: Tensor) -> Tensor:
        return functional.relu(x.view(2, 4, 8, 2, 8, 2).mean((3, 5)) + x[..., ::2, ::2].detach())

    assert 0.1 < measured(only(audit(Apply(both), X))).filters["haar"] < 0.9


def blurred(x: Tensor) -> Tensor:
    return functional.conv2d(
        x, torch.tensor([1.0, 2, 1]).outer(torch.tensor([1.0, 2, 1])).expand(4, 1, 3, 3) / 16, padding=1, groups=4
    )


def test_a_blur_belongs_to_the_filter_of_the_strided_convolution_after_it() -> None:
    sliced = measured(only(audit(Apply(lambda s, x: blurred(x)[..., ::2, ::2]), X)))
    site = only(audit(Apply(lambda s, x: s.c(blurred(x)), c=nn.Conv2d(4, 8, 1, 2)), X))
    assert site.verdict.startswith("learned, closest to coif1, 3.5 % unexplained")
    assert measured(site).filters == pytest.approx(sliced.filters)
    means = Apply(lambda s, x: functional.conv2d(blurred(x), torch.full((4, 1, 2, 2), 0.25), stride=2, groups=4))
    assert measured(only(audit(means, X))).filters["haar"] > 0.1


def pooled(x: Tensor) -> Tensor:
    return sum(four(x)) / 4  # type: ignore[return-value]


@pytest.mark.parametrize(
    "net",
    [
        Apply(lambda s, x: s.n(x.view(-1, 4, 8, 2, 8, 2).mean((3, 5)).permute(0, 2, 3, 1)), n=nn.LayerNorm(4)),
        Apply(lambda s, x: s.l(pooled(x).flatten(2).transpose(1, 2)), l=nn.Linear(4, 7)),
        Apply(lambda s, x: s.c(pooled(x).flatten(2)), c=nn.Conv1d(4, 7, 3, 2)),
        Apply(lambda s, x: s.l(pooled(x).flatten(1)), l=nn.Linear(256, 7)),
        Apply(lambda s, x: s.l(pooled(x).mean((2, 3))), l=nn.Linear(4, 7)),
        Apply(lambda _, x: pooled(x).flatten(2)),
    ],
)
def test_what_is_pooled_and_then_laid_out_otherwise_is_a_site(net: nn.Module) -> None:
    x = images(4, 4, 16, 16)
    site = audit(net, x).sites[0]
    assert (site.before, site.after, site.verdict) == ((16, 16), (8, 8), "Haar projection, exact")
    called = audit(nn.AvgPool2d(2), x).sites[0]
    assert measured(site).action == pytest.approx(0, abs=1e-14)
    assert site.readout == pytest.approx(called.readout, abs=1e-6)


def test_what_is_enlarged_and_then_laid_out_otherwise_is_a_site() -> None:
    tokens = Apply(lambda s, x: s.l(torch.kron(x, torch.ones(2, 2)).flatten(2).mT), l=nn.Linear(4, 7))
    assert only(audit(tokens, X)).verdict == "Haar embedding, exact"


def test_padding_of_chosen_channels_reads_those_alone() -> None:
    def chosen(s: nn.Module, x: Tensor) -> Tensor:
        return functional.avg_pool2d(functional.pad(s.c(x)[:, 1:3], (1, 1, 1, 1)), 4, 2)

    site = only(audit(Apply(chosen, c=nn.Conv2d(4, 4, 1)), X))
    assert (site.before, site.after, site.channels) == ((16, 16), (8, 8), (2, 2))

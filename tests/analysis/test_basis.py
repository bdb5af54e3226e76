"""Basis identification on networks whose activations are known, and the dictionary of filters."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import pywt
import torch
from torch import Tensor, nn

from analysis import basis_study, filters, unet_runs
from analysis.basis import Identification, activations, approximations, identify, identify_each
from analysis.filters import WAVELETS
from multires.configs import PRESETS, TrainingConfig, UNetConfig
from multires.errors import MultiresError
from multires.unet import POOLINGS, Pool, UNet

LEVELS, SIDE = 2, 32
Carried = Callable[[Tensor, int], Tensor]


def images(count: int, seed: int, side: int = SIDE) -> Tensor:
    """White noise: the approximations of no two filters of the dictionary come close."""
    return torch.randn(count, 1, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


FIT, HELD = images(16, 1), images(70, 2)  # more than one batch to score


def approximation(x: Tensor, level: int, wavelet: str) -> Tensor:
    """By `pywt.dwt2`, scaled to keep constants."""
    values = x.numpy()[:, 0]
    for _ in range(level):
        values = pywt.dwt2(values, wavelet, "periodization")[0] / 2
    return torch.from_numpy(values)[:, None]


class Carrier(nn.Module):
    """A 'U-Net' with the sites that identification reads; what its activations carry of input and output is given."""

    def __init__(
        self,
        encoder: Carried,
        decoder: Carried | None = None,
        output: Callable[[Tensor], Tensor] = torch.clone,
        levels: int = LEVELS,
    ) -> None:
        super().__init__()
        self.device = nn.Parameter(torch.zeros(()))
        self.carried, self.carried_back, self.output, self.levels = encoder, decoder or encoder, output, levels
        self.encoder = nn.ModuleList(nn.Identity() for _ in range(levels + 1))
        self.decoder = nn.ModuleList(nn.Identity() for _ in range(levels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.output(x)
        for level in range(1, self.levels + 1):
            self.encoder[level](self.carried(x, level))
        for level in range(1, self.levels):
            self.decoder[level](self.carried_back(y, level))
        return y


def mixture(wavelet: str) -> Carried:
    """Five channels: random combinations, about an offset, of the approximation and four fields that say nothing of it."""

    def carried(x: Tensor, level: int) -> Tensor:
        generator = torch.Generator().manual_seed(level)
        mix = torch.randn(5, 5, dtype=torch.float64, generator=generator)
        own = approximation(x, level, wavelet)
        others = torch.randn(len(x), 4, *own.shape[2:], dtype=torch.float64, generator=generator)
        return torch.einsum("ck,nkyx->ncyx", mix, torch.cat([own, others], 1)) + 3

    return carried


@pytest.mark.parametrize("d", [1, 2, 3])
def test_approximations_are_those_of_wavedecn_at_every_place(d: int) -> None:
    side = {1: 128, 2: 64, 3: 64}[d]  # long enough for PyWavelets to take two steps with every filter without a warning
    x = torch.randn(2 if d < 3 else 1, 1, *[side] * d, dtype=torch.float64, generator=torch.Generator().manual_seed(d))
    axes = tuple(range(1, d + 1))
    for level, found in enumerate(approximations(x, 2), start=1):
        found = found.unflatten(1, (len(WAVELETS), -1))
        for k, wavelet in enumerate(WAVELETS):
            coarse = pywt.wavedecn(x.numpy()[:, 0], wavelet, "periodization", level, axes)[0] * 2 ** (-level * d / 2)
            for place, shift in enumerate(itertools.product((-1, 0, 1), repeat=d)):
                assert np.abs(found[:, k, place].numpy() - np.roll(coarse, shift, axes)).max() < 1e-12


@pytest.mark.claim("C5")
@pytest.mark.parametrize("wavelet", WAVELETS)
def test_the_basis_that_activations_carry_is_found(wavelet: str) -> None:
    own = WAVELETS.index(wavelet)
    for found in identify(Carrier(mixture(wavelet)), LEVELS, FIT, HELD).values():
        assert found.best == [wavelet] * LEVELS
        assert (found.high[:, own] < 1e-6).all()
        assert (np.delete(found.low, own, 1) > 3e-3).all()
        assert (found.low <= found.unexplained).all()
        assert (found.unexplained <= found.high).all()


@pytest.mark.parametrize("share", [0.01, 0.3])
def test_noise_is_what_stays_unexplained(share: float) -> None:
    def carried(x: Tensor, level: int) -> Tensor:
        own = approximation(x, level, "db2")
        noise = torch.randn(
            own.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(int(x[0, 0, 0, 0] * 1e6) % 2**31)
        )
        return own * math.sqrt(1 - share) + noise * (math.sqrt(share) * float(own.std()))

    found = identify(Carrier(carried), LEVELS, FIT, HELD)["encoder"]
    assert found.unexplained[:, WAVELETS.index("db2")] == pytest.approx([share] * LEVELS, rel=0.1)


@pytest.mark.parametrize(
    ("shift", "least", "most"), [((1, -1), 0, 1e-6), ((0, 1), 0, 1e-6), ((2, 0), 0.95, 1.1), ((0, -2), 0.95, 1.1)]
)
def test_a_basis_is_found_at_a_neighbouring_cell_and_no_further(shift: tuple[int, int], least: float, most: float) -> None:
    moved = Carrier(lambda x, level: approximation(x, level, "haar").roll(shift, (2, 3)))
    found = identify(moved, LEVELS, FIT, HELD)["encoder"].unexplained[:, 0]
    assert (least <= found).all()
    assert (found <= most).all()


def test_bases_that_agree_are_not_told_apart() -> None:
    flat = np.full((2, len(WAVELETS)), 0.5)
    flat[1, 3] = 0.1
    assert Identification(flat, flat, flat).best == [None, WAVELETS[3]]


@pytest.mark.parametrize(
    ("levels", "images", "reason"),
    [
        (0, FIT, "levels = 0"),
        (9, FIT, "has no module .decoder.2.: basis identification at 9 levels"),
        (LEVELS, FIT.expand(-1, 3, -1, -1), "takes one channel"),
        (LEVELS, torch.full_like(FIT, torch.nan), "images of shape .* hold NaN"),
        (LEVELS, torch.linspace(0, 1, len(FIT))[:, None, None, None].expand_as(FIT), "images, all constant"),
        (LEVELS, FIT.numpy(), "ndarray: expected a torch tensor"),
    ],
)
def test_images_in_which_no_basis_can_be_identified_are_refused(levels: int, images: Tensor, reason: str) -> None:
    with pytest.raises(MultiresError, match=reason):
        identify(Carrier(mixture("haar")), levels, images, HELD)


def test_a_network_without_the_modules_is_refused() -> None:
    with pytest.raises(MultiresError, match=r"Identity has no module 'decoder.1'"):
        identify(torch.nn.Identity(), 2, FIT, HELD)


def test_several_networks_at_once_are_each_by_itself() -> None:
    nets = [Carrier(mixture("haar"), mixture("db2")), Carrier(mixture("coif1"), output=lambda x: x.roll(1, 0))]
    for net, found in zip(nets, identify_each(nets, LEVELS, FIT, HELD), strict=True):
        for side, alone in identify(net, LEVELS, FIT, HELD).items():
            assert np.array_equal(found[side].unexplained, alone.unexplained)
            assert np.array_equal(found[side].high, alone.high)


def test_the_network_before_training_is_the_one_training_begins_with() -> None:
    """Whose blocks are the identity, and are left out."""
    run = replace(PRESETS["denoise"], model=UNetConfig(widths=(6, 6, 6)), training=TrainingConfig(seed=4))
    fresh, before = unet_runs.fresh(run), basis_study.untrained(run)["untrained"]
    names = {f"{part}.{level}" for part in ("encoder", "decoder") for level in range(2)}
    for _, ((y, here), (same, there)) in activations([fresh, before], names, FIT.float()):
        assert torch.equal(y, same)
        assert all(torch.equal(here[name], there[name]) for name in names)
    with torch.no_grad():
        assert not torch.equal(basis_study.untrained(run)["random"](FIT.float()), fresh(FIT.float()))


def test_images_are_given_in_the_precision_of_the_network() -> None:
    net = UNet(UNetConfig(widths=(4, 4, 4)))
    found, same = identify(net, 2, FIT.float(), HELD.float()), identify(net, 2, FIT.double(), HELD.double())
    assert np.allclose(found["encoder"].unexplained, same["encoder"].unexplained)


def test_at_level_1_a_stem_of_width_3_makes_db2_of_average_pooling() -> None:
    """db2's filter is haar's convolved with three taps; every longer one of the dictionary takes more."""
    for wavelet, quotient in (("db2", 3), ("db3", 5), ("bior2.2", 4)):
        taps, rest = np.polydiv(np.trim_zeros(np.round(filters.taps(wavelet), 12)), np.ones(2))
        assert len(taps) == quotient
        assert np.abs(rest).max() < 1e-11
    torch.manual_seed(0)
    found = identify(UNet(UNetConfig(widths=(12, 12, 12))).double(), 2, FIT, HELD)["encoder"].unexplained
    carried = {level + 1: {WAVELETS[k] for k in np.flatnonzero(found[level] < 1e-9)} for level in range(2)}
    assert carried == {1: {"haar", "db2"}, 2: {"haar"}}


def test_activations_of_other_images_say_nothing() -> None:
    shuffled = Carrier(lambda x, level: mixture("haar")(x.roll(1, 0), level))
    for found in identify(shuffled, LEVELS, FIT, HELD).values():
        assert (found.low > 0.95).all()


def test_the_decoder_is_held_against_the_output_and_the_encoder_against_the_input() -> None:
    def other_image(x: Tensor) -> Tensor:
        return x.roll(1, 0)

    def haar(x: Tensor, level: int) -> Tensor:
        return approximation(x, level, "haar")

    found = identify(Carrier(haar, output=other_image), LEVELS, FIT, HELD)
    assert found["encoder"].unexplained[:, 0] == pytest.approx([0, 0], abs=1e-6)
    assert found["decoder"].unexplained[0, 0] < 1e-6
    assert (
        found["decoder"].unexplained[1, 0] > 0.95
    )  # the coarsest activation, of the input, ends the encoder and starts the decoder
    found = identify(Carrier(haar, lambda y, level: haar(other_image(y), level), other_image), LEVELS, FIT, HELD)
    assert found["decoder"].unexplained[0, 0] > 0.95


def test_what_is_learnt_by_heart_does_not_score() -> None:
    """With more channels than cells to fit on, the fit is perfect where it was made and worthless elsewhere."""
    weights = torch.randn(64, 128 * 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    by_heart = Carrier(lambda x, level: (100 * x.flatten(1) @ weights.to(x)).sin().unflatten(1, (128, 4, 4)), levels=1)
    fit, held = images(4, 1, 8), images(16, 2, 8)
    assert (identify(by_heart, 1, fit, fit)["encoder"].unexplained < 1e-3).all()
    assert (identify(by_heart, 1, fit, held)["encoder"].low > 0.9).all()


@pytest.mark.parametrize("name", pywt.wavelist(kind="discrete"))
def test_every_wavelet_of_pywavelets_is_a_pooling_by_name(name: str) -> None:
    taps = filters.pooling(name)
    assert taps == tuple(pywt.Wavelet(name).dec_lo)
    again = filters.label(taps)
    assert filters.taps(again) == taps
    x = torch.randn(1, 1, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = pywt.dwt(x.numpy(), name, "periodization")[0] / 2**0.5
    assert np.abs(Pool(taps)(x).numpy() - expected).max() < 1e-12


def test_names_of_poolings() -> None:
    assert [filters.label(filters.taps(name)) for name in WAVELETS] == list(WAVELETS)
    assert [filters.label(filters.pooling(name)) for name in POOLINGS] == list(POOLINGS)
    assert filters.label((0.5, 0.25)) == "custom"


@pytest.mark.parametrize("name", ["db99", "", "morl", "Average"])
def test_an_unknown_name_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(MultiresError) as refused:
        filters.pooling(name)
    assert str(refused.value).startswith(f"pooling {name!r}: known are average, ")
    assert "\n" not in str(refused.value)

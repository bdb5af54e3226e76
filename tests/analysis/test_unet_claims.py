"""C3 to C6 away from the claims' own code, and wrong networks under which they must not be supported."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given
from torch import Tensor, nn
from torch.nn import functional

from analysis import ablation, oracle, shipped, wiener
from analysis.claims import unets
from analysis.filters import WAVELETS
from multires import tasks, unet
from multires.pooling import average, subsample
from multires.spaces import embed, norm
from multires.unet import UNet
from tests.analysis.few_patches import dead, measured, networks, outputs, patches
from tests.strategies import fields

SPECTRUM = wiener.with_spectrum


def deaf(net: UNet) -> None:
    for level in range(net.config.levels):
        net.skips[level] = nn.Identity()
        net.skips[level].forward = lambda x: torch.zeros_like(x)


@pytest.mark.claim("C3")
@given(fields(coarsest=1, count=2))
def test_the_split_telescopes_for_any_two_fields(pair: list[Tensor]) -> None:
    """Between neighbouring levels the loss falls by the details' alone, which are the loss before less that of the block means."""
    x, w = (field.double() for field in pair)
    error = x - w
    d = error.ndim - 2
    for _ in range(int(math.log2(error.shape[-1]))):
        _, bands = oracle.split(error.numpy(), d)
        details = sum((band**2).reshape(*band.shape[:2], -1).sum(-1) for band in bands.values()) / math.prod(error.shape[2:])
        apart = norm(error) ** 2 - norm(average(error)) ** 2 - torch.from_numpy(np.asarray(details))
        assert (apart.abs() <= 1e-13 * norm(error) ** 2).all()
        error = average(error)


@pytest.mark.claim("C3")
@pytest.mark.parametrize(("wavelet", "splits"), [("haar", True), ("db2", False), ("bior2.2", False)])
def test_only_the_haar_split_adds_up(wavelet: str, splits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """At level 1: down to one cell db2 is orthonormal too, and shares the mean with Haar."""
    monkeypatch.setattr(oracle, "split", partial(oracle.split, wavelet=wavelet))
    x, w = torch.randn(2, 4, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = unets._split_defects(x, w, average)
    assert len(found) == 4
    assert (max(found.values()) < 1e-14) == splits
    assert splits or found["level 1"] > 1e-3


@pytest.mark.claim("C3")
@pytest.mark.usefixtures("fewer")
def test_c3_falls_where_training_has_another_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured("C3").judge() == ("supported", "")
    monkeypatch.setattr(tasks, "squared_distance", lambda net, pair: (functional.smooth_l1_loss(net(pair[0]), pair[1]), {}))
    verdict, why = measured("C3").judge()
    assert verdict == "not supported"
    assert why.startswith("the loss of training")


def least_squares(features: np.ndarray, targets: np.ndarray, held: np.ndarray, truth: np.ndarray) -> float:
    """1 - R^2 on held-out rows, with an intercept."""
    weights = np.linalg.lstsq(np.c_[features, np.ones(len(features))], targets, rcond=None)[0]
    return float(((truth - np.c_[held, np.ones(len(held))] @ weights) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())


@pytest.mark.claim("C5")
@pytest.mark.parametrize(("pooling", "own"), [("average", "haar"), ("db2", "db2"), ("bior4.4", "bior4.4")])
def test_plain_least_squares_finds_the_basis_of_a_shipped_network(pooling: str, own: str) -> None:
    """NumPy's solver in one cell's channels; the best of the places one cell around, as PyWavelets centres filters elsewhere."""
    x, level = patches(96), 2
    (activation,) = (found[1] for found in outputs(shipped.network(pooling)[0], [f"encoder.{level}"], x).values())
    rows = activation.double().movedim(1, -1).reshape(96, -1, activation.shape[1]).numpy()
    unexplained = {}
    for wavelet in WAVELETS:
        coarse = x.double().numpy()[:, 0]
        for _ in range(level):
            coarse = pywt.dwt2(coarse, wavelet, "periodization")[0] / 2
        places = [np.roll(coarse, (dy, dx), (1, 2)).reshape(96, -1) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        unexplained[wavelet] = min(
            least_squares(np.concatenate(rows[:64]), place[:64].ravel(), np.concatenate(rows[64:]), place[64:].ravel())
            for place in places
        )
    rivals = [value for wavelet, value in unexplained.items() if wavelet != own]
    assert unexplained[own] < unets.OWN_BOUND
    assert unexplained[own] < 0.5 * min(rivals)


@pytest.mark.claim("C6")
def test_where_the_output_of_the_shipped_network_changes_by_weights_and_block_means() -> None:
    """Without hooks, and bands as differences of block means, which is what the Haar details of a level span."""
    net, x = shipped.network("average")[0], patches(64)
    for level in range(4):
        changed = copy.deepcopy(net)
        changed.skips[level].forward = lambda a: functional.interpolate(functional.avg_pool2d(a, 2), scale_factor=2.0)
        with torch.no_grad():
            change = (net(x) - changed(x)).double()
        means = [change, *(functional.interpolate(functional.avg_pool2d(change, 2**k), scale_factor=2.0**k) for k in range(1, 5))]
        bands = [float((fine - coarse).square().sum()) for fine, coarse in pairwise(means)]
        assert bands[level] / float(change.square().sum()) == pytest.approx(
            ablation.ablate(net, net.skips, x).shares[level, level], rel=1e-5
        )
        assert bands[level] > 0.5 * float(change.square().sum())


@pytest.mark.claim("C6")
@pytest.mark.usefixtures("fewer")
@pytest.mark.parametrize("change", [deaf, dead])
def test_c6_sees_a_network_whose_skips_bring_nothing(change: Callable[[UNet], None], monkeypatch: pytest.MonkeyPatch) -> None:
    with networks(monkeypatch, change, ("average",)):
        checks = measured("C6").checks
    assert [check.what for check in checks if not check.holds] == [
        f"others / own band, skip at level {level}" for level in range(4)
    ]


@pytest.mark.claim("C6")
@pytest.mark.usefixtures("fewer")
def test_c6_has_controls_of_its_own_at_every_skip() -> None:
    controls = measured("C6").controls
    for level in range(4):
        here = [control for control in controls if f"skip at level {level}: " in control.what]
        assert len(here) == 2 + len(unets.UNTRAINED_SEEDS)
        assert len({control.measured for control in here}) == len(here)


@pytest.mark.claim("C4")
def test_c4_falls_where_the_projection_alone_is_the_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Next to no noise: nothing is there to remove, and finding P_j shows nothing."""
    monkeypatch.setattr(wiener, "with_spectrum", lambda resolution, noise: replace(SPECTRUM(2, noise), noise=1e-3))
    monkeypatch.setattr(
        wiener, "descend", lambda data, steps, seed: [(0, [data.projected(data.wiener, j) for j in range(data.resolution + 1)])]
    )
    verdict, why = measured("C4").judge()
    assert verdict == "not supported"
    assert "P_2 alone" in why


@pytest.mark.claim("C4")
@pytest.mark.parametrize(
    ("part", "other", "seen"),
    [
        ("average", subsample, "pooled = approximations"),
        ("embed", lambda x: embed(x.roll(1, -1)), "output = embedded output below + skip"),
        ("embed", lambda x: 1.001 * embed(x), "output = embedded output below + skip"),
    ],
)
def test_c4_sees_a_linear_unet_of_another_make(
    part: str, other: Callable[[Tensor], Tensor], seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that could find the optimum all the same."""
    monkeypatch.setattr(
        wiener, "descend", lambda data, steps, seed: [(0, [data.projected(data.wiener, j) for j in range(data.resolution + 1)])]
    )
    assert measured("C4").judge() == ("supported", "")
    monkeypatch.setattr(unet, part, other)
    verdict, why = measured("C4").judge()
    assert verdict == "not supported"
    assert seen in why

"""C1 to C6 away from the claims' own code, and wrong networks under which they must not be supported."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from analysis.capture import capture
from analysis.claims import twins, unets
from analysis.evidence import REGISTRY, Context, Evidence
from analysis.filters import WAVELETS
from multires import data, tasks, unet
from multires.data import Images
from multires.patches import split
from multires.pooling import average, maximum, subsample
from multires.spaces import embed, norm
from multires.unet import HaarUNet, UNet
from tests.strategies import fields

NATURAL = data.load("natural")
FEW = replace(NATURAL, batches=tuple(batch[:, :, 200:264] for batch in NATURAL.batches[:1]), views=0)  # strips
SPECTRUM = wiener.with_spectrum


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


def deaf(net: UNet) -> None:
    for level in range(net.config.levels):
        net.skips[level] = nn.Identity()
        net.skips[level].forward = lambda x: torch.zeros_like(x)


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

"""The read-out against scikit-learn, its score against formulas and known coverage."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.linear_model import Ridge as PeerRidge
from sklearn.metrics import r2_score
from torch import Tensor

from analysis.probes import Readout, Ridge, Score, resamples
from multires import MultiresError

SPATIAL = [(), (7,), (3, 4), (2, 3, 2)]


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rows(x: Tensor) -> np.ndarray:
    """Every cell of every image as a row, by a plain loop."""
    return np.array([x[(i, slice(None), *cell)].tolist() for i in range(len(x)) for cell in np.ndindex(*x.shape[2:])])


def mixed(seed: int, images: int, channels: int, targets: int, spatial: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Correlated features of unlike means and spreads, and targets that they explain in part."""
    spread = torch.logspace(-1, 1, channels, dtype=torch.float64)
    mix = draw(seed, channels, channels) * spread
    x = torch.einsum("ab,nb...->na...", mix, draw(seed + 1, images, channels, *spatial) + 3)
    y = torch.einsum("tb,nb...->nt...", draw(seed + 2, targets, channels), x) + 2 + draw(seed + 3, images, targets, *spatial)
    return x, y


def fit(x: Tensor, y: Tensor, penalty: float = 1e-8) -> Readout:
    ridge = Ridge(penalty)
    ridge.update(x, y)
    return ridge.solve()


def score(predictions: Tensor, targets: Tensor) -> Score:
    found = Score()
    found.update(predictions, targets)
    return found


def unexplained(x: Tensor, y: Tensor) -> Tensor:
    return score(fit(x, y)(x), y).unexplained


@pytest.mark.parametrize("spatial", SPATIAL)
@pytest.mark.parametrize("penalty", [0.0, 1e-8, 0.3])
def test_ridge_is_scikit_learns(spatial: tuple[int, ...], penalty: float) -> None:
    x, y = mixed(0, 40, 5, 2, spatial)
    features, targets = rows(x), rows(y)
    alpha = penalty * features.var(0).mean() * len(features)
    peer = (PeerRidge(alpha, solver="svd") if penalty else LinearRegression()).fit(features, targets)
    readout = fit(x, y, penalty)
    assert np.allclose(readout.weights.numpy(), peer.coef_, rtol=1e-9, atol=1e-11)
    held_out = mixed(50, 6, 5, 2, spatial)[0]
    predictions = readout(held_out)
    assert predictions.shape == (6, 2, *spatial)
    assert predictions.dtype == torch.float64
    assert np.allclose(rows(predictions), peer.predict(rows(held_out)), rtol=1e-8, atol=1e-8)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.sampled_from(SPATIAL), st.integers(0, 9))
def test_streaming_in_any_split_is_one_update(sizes: list[int], spatial: tuple[int, ...], seed: int) -> None:
    x, y = mixed(seed, sum(sizes), 3, 2, spatial)
    x += 100
    parts = list(zip(x.split(sizes), y.split(sizes), strict=True))
    ridge, scores = Ridge(0.01), Score()
    for part in parts:
        ridge.update(*part)
    readout, whole = ridge.solve(), fit(x, y, 0.01)
    for found, expected in zip(vars(readout).values(), vars(whole).values(), strict=True):
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)
    if len(x) > 1:
        predictions = whole(x)
        for fitted, (_, part) in zip(predictions.split(sizes), parts, strict=True):
            scores.update(fitted, part)
        assert torch.allclose(scores.unexplained, score(predictions, y).unexplained, rtol=1e-12)
        assert torch.equal(
            torch.stack([*vars(scores.interval(20)).values()]), torch.stack([*vars(score(predictions, y).interval(20)).values()])
        )


def test_spatial_sizes_may_change_between_updates() -> None:
    x, y = mixed(4, 6, 3, 1, (4,))
    ridge = Ridge(0.1)
    ridge.update(x[..., :1], y[..., :1])
    ridge.update(x[..., 1:], y[..., 1:])
    assert torch.allclose(ridge.solve().weights, fit(x, y, 0.1).weights, rtol=1e-10)


@pytest.mark.parametrize("unit", [1e-12, 1e-3, 1000.0, 1e12])
def test_the_unit_of_the_features_does_not_matter(unit: float) -> None:
    x, y = mixed(7, 30, 6, 2, (3,))
    for penalty in (1e-8, 0.5):
        assert torch.allclose(fit(unit * x, y, penalty)(unit * x), fit(x, y, penalty)(x), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(fit(x, y, 0.5)(x), fit(x, y)(x), rtol=1e-2)


def test_the_penalty_shrinks_as_documented() -> None:
    x = draw(1, 4000, 2)
    x = torch.linalg.qr(x - x.mean(0))[0] * torch.tensor([1.0, 0.1], dtype=torch.float64)
    v, penalty = 0.01 / (1.01 / 2), 0.01
    expected = (penalty / (v + penalty)) ** 2
    assert score(fit(x, x, penalty)(x), x).unexplained[1].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("penalty", [0.0, 1e-8])
@pytest.mark.parametrize("batches", [1, 5])
@pytest.mark.parametrize("channels", [24, 200])
def test_features_far_from_zero_cost_no_accuracy(channels: int, batches: int, penalty: float) -> None:
    x = draw(1, 50, channels, 4, 4) + 1e4
    y = torch.einsum("tc,nchw->nthw", draw(2, 3, channels), x - 1e4) - 1e4
    ridge = Ridge(penalty)
    for part in zip(x.chunk(batches), y.chunk(batches), strict=True):
        ridge.update(*part)
    assert (score(ridge.solve()(x), y).unexplained < 1e-14).all()


@pytest.mark.parametrize("share", [1e-6, 1e-8])
@pytest.mark.parametrize("channels", [24, 200])
def test_small_unexplained_shares_are_resolved(channels: int, share: float) -> None:
    x = draw(3, 200, channels, 5, 5) + 10
    signal = torch.einsum("c,nc...->n...", draw(4, channels) / math.sqrt(channels), x)[:, None]
    y = signal + (share * signal.var()) ** 0.5 * draw(5, 200, 1, 5, 5)
    fresh = fit(x[:100], y[:100])
    assert score(fresh(x[100:]), y[100:]).unexplained.item() == pytest.approx(share, rel=0.2)


@pytest.mark.parametrize("penalty", [0.0, 1e-8])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_constant_zero_and_collinear_features_change_nothing(penalty: float, scale: float) -> None:
    x, y = mixed(2, 40, 4, 2, (5,))
    constant, zero = torch.full_like(x[:, :1], 0.1), torch.zeros_like(x[:, :1])
    more = torch.cat((x, constant, zero, x.sum(1, keepdim=True), x[:, :2]), 1) * scale
    assert torch.allclose(fit(more, y, penalty)(more), fit(x, y, 0)(x), rtol=1e-5, atol=1e-5)


def test_without_a_penalty_directions_without_variance_get_no_weight() -> None:
    x, y = mixed(2, 40, 4, 2, (5,))
    more = torch.cat((x, x.sum(1, keepdim=True), x[:, :2]), 1)
    centred = rows(more) - rows(more).mean(0)
    shortest = np.linalg.pinv(centred, 1e-7) @ rows(y)
    assert np.allclose(fit(more, y, 0).weights.T.numpy(), shortest, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("penalty", [0.0, 1e-8])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e8 / 3])
def test_features_that_are_all_constant_predict_the_mean(penalty: float, value: float) -> None:
    x, y = torch.full((30, 3, 7), value, dtype=torch.float64), draw(0, 30, 2, 7)
    assert torch.allclose(fit(x, y, penalty)(x), y.mean((0, 2))[:, None].expand_as(y), rtol=0, atol=1e-14)
    assert torch.equal(fit(x, y, penalty).weights, torch.zeros(2, 3, dtype=torch.float64))


def test_more_features_than_rows_are_no_problem() -> None:
    x, y = draw(0, 5, 20), draw(1, 5, 1)
    assert (unexplained(x, y) < 1e-12).all()
    assert (score(fit(x, y, 0)(x), y).unexplained < 1e-20).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_single_precision_is_computed_in_double_without_a_graph(dtype: torch.dtype, device: str) -> None:
    x = (draw(0, 30, 4, 6) + 100).to(dtype).to(device).requires_grad_()
    y = (x.detach().double().sum(1, keepdim=True) - 400) / 3
    readout = fit(x, y)
    assert (readout(x).dtype, readout(x).requires_grad, readout(x).device.type) == (torch.float64, False, device)
    assert score(readout(x), y).unexplained.item() < 1e-14


@pytest.mark.parametrize("spatial", SPATIAL)
def test_score_is_its_formula_and_scikit_learns(spatial: tuple[int, ...]) -> None:
    y, predictions = draw(0, 9, 3, *spatial) * 2 + 5, draw(1, 9, 3, *spatial) + 5
    found = score(predictions, y)
    for target in range(3):
        a, b = y[:, target].flatten().tolist(), predictions[:, target].flatten().tolist()
        mean = sum(a) / len(a)
        direct = sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) / sum((p - mean) ** 2 for p in a)
        assert found.unexplained[target].item() == pytest.approx(direct, rel=1e-12)
    peer = r2_score(rows(y), rows(predictions), multioutput="raw_values")
    assert np.allclose(found.r2.numpy(), peer, rtol=1e-12)


def test_score_weighs_cells_not_images() -> None:
    small, large = draw(0, 3, 1, 2), draw(1, 2, 1, 3, 5) + 4
    found = Score()
    found.update(0.9 * small, small)
    found.update(0.8 * large, large)
    every = torch.cat((small.flatten(), large.flatten()))
    fitted = torch.cat((0.9 * small.flatten(), 0.8 * large.flatten()))
    assert found.r2.item() == pytest.approx(r2_score(every.numpy(), fitted.numpy()), rel=1e-12)


def test_score_keeps_its_digits_far_from_zero() -> None:
    y = draw(0, 20, 1, 8)
    y = (y + 1e6) - 1e6  # so that adding 1e6 below is exact
    predictions = y + 2.0**-20
    assert score(predictions + 1e6, y + 1e6).unexplained.item() == pytest.approx(
        score(predictions, y).unexplained.item(), rel=1e-8, abs=0
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 / 3])
def test_a_constant_target_is_met_or_missed(value: float, dtype: torch.dtype) -> None:
    y = torch.full((10, 1, 3, 7), value, dtype=torch.float64)
    met = score(y.to(dtype), y)
    assert torch.equal(torch.stack([*vars(met.interval(50)).values()]), torch.zeros(3, 1, dtype=torch.float64))
    missed = score(y.to(dtype) + 1e-3 * (1 + value), y)
    assert all(bound.item() == math.inf for bound in vars(missed.interval(50)).values())
    assert missed.r2.item() == -math.inf
    assert score(fit(draw(0, 10, 2, 3, 7), y)(draw(1, 10, 2, 3, 7)), y).unexplained.item() == 0


def test_resamples_in_which_a_target_is_constant_leave_no_nan() -> None:
    y = draw(0, 2, 100, 1).expand(2, 100, 5)
    interval = score(y.mean(0, keepdim=True).expand_as(y), y).interval(200)
    assert torch.allclose(torch.stack((interval.estimate, interval.low)), torch.ones(2, 100, dtype=torch.float64))
    assert (interval.high == math.inf).all()


def test_resamples_draw_as_many_images_with_replacement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.probes.CHUNK_COUNTS", 40)
    chunks = list(resamples(12, 4000, torch.Generator().manual_seed(0)))
    assert max(len(chunk) for chunk in chunks) == 3
    counts = torch.cat(chunks)
    assert counts.shape == (4000, 12)
    assert (counts.sum(1) == 12).all()
    assert torch.allclose(counts.mean(0), torch.ones(12, dtype=torch.float64), atol=0.08)
    assert torch.allclose(counts.var(0), torch.full((12,), 11 / 12, dtype=torch.float64), atol=0.12)


@pytest.mark.parametrize("chunk", [1 << 22, 40])
def test_the_interval_is_a_plain_loops(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.probes.CHUNK_COUNTS", chunk)
    y = draw(0, 15, 2, 6) + 3 + draw(2, 15, 1, 1)
    predictions = y + 0.5 * draw(1, 15, 2, 6)
    interval = score(predictions, y).interval(103, 0.9, torch.Generator().manual_seed(5))
    ratios = []
    for counts in torch.cat(list(resamples(15, 103, torch.Generator().manual_seed(5)))).long():
        pairs = [z.repeat_interleave(counts, 0).movedim(1, -1).flatten(0, -2).numpy() for z in (y, predictions)]
        ratios.append(1 - r2_score(*pairs, multioutput="raw_values"))
    ordered = np.sort(np.array(ratios), 0)
    assert np.allclose(interval.low.numpy(), ordered[5], rtol=1e-9)
    assert np.allclose(interval.high.numpy(), ordered[97], rtol=1e-9)
    assert torch.equal(interval.estimate, score(predictions, y).unexplained)
    assert torch.equal(score(predictions, y).interval().low, score(predictions, y).interval().low)


def noisy(seed: int, images: int, targets: int) -> tuple[Tensor, Tensor]:
    """Predictions and targets whose error is shared by the cells of an image: unexplained 0.2, far fewer units than cells."""
    signal, error = 2 * draw(seed, images, targets, 1), draw(seed + 1, images, targets, 1)
    return signal.expand(-1, -1, 9), (signal + error).expand(-1, -1, 9)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    trials = 600  # each target is a trial; at 95 % three standard errors are 2.7 %, and percentiles of 80 images lose about 1 %
    interval = score(*noisy(0, 80, trials)).interval(400)
    share = ((interval.low <= 0.2) & (interval.high >= 0.2)).double().mean().item()
    assert 0.91 <= share <= 0.98
    low, high = ((bound < 0.2).double().mean().item() for bound in (interval.high, interval.low))
    assert low <= 0.065
    assert 1 - high <= 0.065
    narrow = score(*noisy(0, 80, trials)).interval(400, level=0.5)
    assert 0.42 <= ((narrow.low <= 0.2) & (narrow.high >= 0.2)).double().mean().item() <= 0.56


def test_the_interval_shrinks_with_the_root_of_the_images() -> None:
    widths = []
    for images in (100, 400, 1600):
        interval = score(*noisy(3, images, 40)).interval(400)
        widths.append((interval.high - interval.low).mean().item())
    for wide, narrow in itertools.pairwise(widths):
        assert wide / narrow == pytest.approx(2, rel=0.1)


def one(*shape: int) -> Tensor:
    return torch.ones(*shape)


def then(accumulator: Ridge | Score, *pairs: tuple[Tensor, Tensor]) -> None:
    for pair in pairs:
        accumulator.update(*pair)


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "images": (lambda: then(Ridge(), (one(2, 3, 4), one(3, 1, 4))), r"\(2, 3, 4\), targets of shape \(3, 1, 4\): .*same images"),
    "space": (lambda: then(Ridge(), (one(2, 3, 4), one(2, 1, 5))), r"targets of shape \(2, 1, 5\): .*same images and spatial"),
    "axes": (lambda: then(Ridge(), (one(2, 3, 4, 4), one(2, 1, 4))), "same images and spatial axes"),
    "flat": (lambda: then(Ridge(), (one(2), one(2, 1))), r"features of shape \(2,\) and torch.float32: .*\(image, channel"),
    "empty": (lambda: then(Ridge(), (one(2, 3), one(2, 0))), r"targets of shape \(2, 0\) .*none of it empty"),
    "integers": (lambda: then(Ridge(), (one(2, 3).long(), one(2, 1))), "torch.int64: this needs floating-point"),
    "nan": (lambda: then(Ridge(), (one(2, 3) * math.nan, one(2, 1))), "features .* NaN or infinity"),
    "features": (lambda: then(Ridge(), (one(2, 3), one(2, 2)), (one(2, 2), one(2, 3))), "2 features, but 3 in the updates before"),
    "targets": (lambda: then(Ridge(), (one(2, 3), one(2, 1)), (one(2, 3), one(2, 2))), "2 targets, but 1 in the updates before"),
    "penalty": (lambda: Ridge(-1.0), r"penalty -1.0: .* such as 1e-8"),
    "penalty nan": (lambda: Ridge(math.nan), "penalty nan"),
    "no rows": (lambda: Ridge().solve(), "0 rows: call update"),
    "readout": (lambda: fit(draw(0, 5, 3), draw(1, 5, 1))(one(2, 4)), "4 channels: this read-out needs 3"),
    "score shapes": (lambda: score(one(3, 1, 4), one(3, 1, 5)), r"predictions of shape \(3, 1, 4\), targets of shape \(3, 1, 5\)"),
    "score targets": (lambda: then(Score(), (one(2, 1), one(2, 1)), (one(2, 3), one(2, 3))), "3 targets, but 1 in"),
    "score nan": (lambda: score(one(3, 1) / 0, one(3, 1)), "predictions .* NaN or infinity"),
    "one image": (lambda: score(one(1, 1, 9), one(1, 1, 9)).unexplained, "1 images: it needs 2 or more"),
    "one image, interval": (lambda: score(one(1, 1, 9), one(1, 1, 9)).interval(), "1 images: it needs 2 or more"),
    "no images": (lambda: Score().r2, "0 images: it needs 2 or more"),
    "no samples": (lambda: score(one(2, 1), one(2, 1)).interval(0), "0 samples at level 0.95: .*1 or more"),
    "level": (lambda: score(one(2, 1), one(2, 1)).interval(9, 1.0), "level 1.0: .*between 0 and 1"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_in_one_line(name: str) -> None:
    call, message = REFUSED[name]
    with pytest.raises(MultiresError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)

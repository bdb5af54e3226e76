"""Time in states: hand-built networks whose norm and time are known, noise that tells nothing, and the shuffled control."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from analysis import inference
from analysis.clock import Clock, growth
from analysis.inference import Inferred
from multires.cells import Cell
from multires.hvae import HVAE
from multires.hvae_configs import HVAEConfig, Resolution

CONFIG = HVAEConfig((Resolution(8, 1, 3, 4), Resolution(4, 1, 3, 6), Resolution(1, 1, 1, 6)), latents=2, bottleneck=0.5)
DRIFT = torch.tensor([3.0, 4.0, 0.0, 0.0, 5.0, 0.0])


def drifting(config: HVAEConfig = CONFIG) -> HVAE:
    """An HVAE whose every step adds DRIFT to each cell, whatever the image: Z_k = k DRIFT; its logits are the sum / 100."""
    hvae = HVAE(config).double().eval()
    with torch.no_grad():
        for parameter in hvae.parameters():
            parameter.zero_()
        for cell in hvae.cells:
            assert isinstance(cell, Cell)
            bias = cell.residual.c4.bias
            assert bias is not None
            bias.copy_(DRIFT[: len(bias)])
        hvae.gain.fill_(1)
        hvae.head.weight.fill_(0.01)
    return hvae


def shown(states: list[Tensor], held_out: bool) -> Inferred:
    """A batch whose steps have these states and nothing else."""
    steps: list[Any] = [SimpleNamespace(state=state) for state in states]
    return Inferred(states[0], steps, states[0], states[0], held_out)


@pytest.mark.claim("E1")
def test_a_state_that_drifts_has_its_norm_and_tells_the_time() -> None:
    hvae = drifting()
    clock = Clock(hvae)
    assert sum(inference.read(hvae, torch.rand(20, 1, 8, 8, dtype=torch.float64).round(), 0, [clock])) == 20
    found = clock.found()
    assert np.allclose(found["norm"], 5 * np.arange(1, 8))  # the first four channels are those of every resolution
    assert found["growth"] == pytest.approx([1, 1, 1])
    for name in ("means all", "means within", "norms all", "norms within"):
        assert found[f"unexplained {name}"] == pytest.approx([0, 0, 0], abs=1e-6)


@pytest.mark.claim("E1")
def test_times_one_step_late_cannot_be_read_where_states_have_an_order_but_can_where_they_are_merely_told_apart() -> None:
    hvae, images = drifting(), torch.rand(20, 1, 8, 8, dtype=torch.float64).round()
    ordered = Clock(hvae, turned=True)
    assert sum(inference.read(hvae, images, 0, [ordered])) == 20
    found = ordered.found()
    # 2, 3, 1 read as 1, 2, 3: the correlation is -1/2
    assert found["unexplained means within"] == pytest.approx([0.75] * 3, abs=1e-6)
    assert found["unexplained means all"][0] > 0.1

    apart = Clock(HVAE(CONFIG), turned=True)
    ones = torch.eye(7, dtype=torch.float64)
    widths = (6, 6, 6, 6, 4, 4, 4)
    for held_out in (False, True):
        apart.update(shown([ones[k % 3, :width].expand(9, width)[..., None, None] for k, width in enumerate(widths)], held_out))
    assert apart.found()["unexplained means within"] == pytest.approx([0] * 3, abs=1e-6)


@pytest.mark.claim("E1")
def test_noise_tells_no_time_and_a_random_walk_grows_without_telling_it_in_its_means() -> None:
    generator = torch.Generator().manual_seed(0)

    def noise(count: int) -> list[Tensor]:
        sizes = [(6, 1)] + 3 * [(6, 4)] + 3 * [(4, 8)]
        return [torch.randn(count, width, n, n, generator=generator, dtype=torch.float64) for width, n in sizes]

    still, walk = Clock(drifting()), Clock(drifting())
    for held_out in (False, True):
        still.update(shown(noise(400), held_out))
        walked = torch.randn(7, 400, 6, generator=generator, dtype=torch.float64).cumsum(0)[..., None, None]
        walk.update(shown([w[:, : x.shape[1]].expand_as(x) for w, x in zip(walked, noise(400), strict=True)], held_out))
    for name in ("means all", "means within"):
        for clock in (still, walk):
            value, low, high = clock.found()[f"unexplained {name}"]
            assert low < 1.02
            assert high > 0.98
            assert value > 0.95
    assert walk.found()["growth"][1] > 0.6
    assert walk.found()["unexplained norms all"][2] < 0.9


@pytest.mark.claim("E1")
def test_shuffled_times_cannot_be_read_though_true_ones_can() -> None:
    hvae = drifting()
    clock = Clock(hvae, torch.Generator().manual_seed(0))
    for _ in inference.read(hvae, torch.rand(300, 1, 8, 8, dtype=torch.float64).round(), 0, [clock]):
        pass
    found = clock.found()
    assert abs(found["growth"][0]) < 0.1
    for name in ("means all", "means within", "norms all", "norms within"):
        assert found[f"unexplained {name}"][1] > 0.9


def test_a_resolution_says_nothing_within() -> None:
    """States that tell one resolution from another and nothing more: time is read at all steps, not within."""
    clock = Clock(drifting())
    generator = torch.Generator().manual_seed(0)
    for held_out in (False, True):
        sizes = [(6, 1, 0.0)] + 3 * [(6, 4, 1.0)] + 3 * [(4, 8, 2.0)]
        states = [m + 0.1 * torch.randn(200, w, n, n, generator=generator, dtype=torch.float64) for w, n, m in sizes]
        clock.update(shown(states, held_out))
    found = clock.found()
    assert found["unexplained means all"][2] < 0.2
    assert found["unexplained means within"][1] > 0.9


def test_spearman_is_scipys() -> None:
    from scipy import stats

    values, labels = torch.randn(5, 9, dtype=torch.float64), torch.randn(5, 9, dtype=torch.float64)
    values[0, 3] = values[0, 4]  # a tie
    expected = [stats.spearmanr(x, y).statistic for x, y in zip(values.numpy(), labels.numpy(), strict=True)]
    assert growth(values, labels).tolist() == pytest.approx(expected)
    assert growth(torch.ones(1, 4), torch.arange(4.0)[None]).tolist() == [0]


def test_one_step_at_each_resolution_has_nothing_within() -> None:
    config = HVAEConfig((Resolution(4, 1, 1, 6), Resolution(1, 1, 1, 6)), latents=2, bottleneck=0.5)
    hvae = drifting(config)
    clock = Clock(hvae)
    for _ in inference.read(hvae, torch.rand(8, 1, 4, 4, dtype=torch.float64).round(), 0, [clock]):
        pass
    assert {name for name in clock.found() if name.startswith("unexplained")} == {"unexplained means all", "unexplained norms all"}

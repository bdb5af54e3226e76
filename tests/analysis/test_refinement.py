"""Refined steps: over the same time a constant drift comes to the same state, and everything else is as it was."""

import math

import pytest
import torch

from analysis import reference, refinement
from analysis.refinement import elbo, refined, shared
from multires.hvae import HVAE
from multires.hvae_configs import HVAEConfig, Resolution
from tests.analysis.test_clock import DRIFT, drifting

CONFIG = HVAEConfig(
    (Resolution(8, 1, 2, 6), Resolution(4, 1, 3, 6, shared=True), Resolution(2, 1, 1, 6, shared=True), Resolution(1, 1, 1, 6)),
    latents=2,
    bottleneck=0.5,
)


@pytest.mark.claim("E6")
@pytest.mark.parametrize("count", [1, 2, 3, 4, 6])
def test_a_constant_drift_comes_to_the_same_state_in_any_number_of_steps(count: int) -> None:
    hvae = drifting(CONFIG)
    other = refined(hvae, 1, count)
    steps = list(other.integrate(2, generator=torch.Generator().manual_seed(0)))
    assert len(steps) == 4 + count
    assert [step.h for step in steps] == [1, 1, *[pytest.approx(3 / count)] * count, 1, 1]
    assert torch.allclose(steps[-1].state, 7 * DRIFT[None, :, None, None].double())
    images = torch.rand(5, 1, 8, 8, dtype=torch.float64).round()
    assert torch.allclose(elbo(other, images, 0), elbo(hvae, images, 0))


@pytest.mark.claim("E6")
def test_steps_of_full_length_go_too_far() -> None:
    other = refined(drifting(CONFIG), 1, 4, 1.0)
    *_, last = other.integrate(2, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(last.state, 8 * DRIFT[None, :, None, None].double())
    images = torch.ones(5, 1, 8, 8, dtype=torch.float64)
    assert torch.allclose(elbo(other, images, 0), -64 * torch.tensor(1 + math.exp(-0.96)).log().double())


def test_as_many_steps_are_the_network_itself_and_it_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    hvae = HVAE(CONFIG).eval()
    before = list(hvae.timetable)
    images = torch.rand(4, 1, 8, 8).round()
    assert torch.equal(elbo(refined(hvae, 1, 3), images, 0), elbo(hvae, images, 0))
    assert not torch.equal(elbo(refined(hvae, 1, 4), images, 0), elbo(hvae, images, 0))
    assert hvae.timetable == before


def test_networks_that_differ_at_one_resolution_have_the_same_noise_elsewhere() -> None:
    """And there the same first steps; else the change of an ELBO would be that of its noise."""
    hvae = HVAE(CONFIG).eval()
    whole, finer = (reference.noises(each, 2, 0, torch.float64) for each in (hvae, refined(hvae, 1, 4)))
    assert len(finer) == len(whole) + 1
    assert all(torch.equal(a, b) for a, b in zip(whole[:5], finer[:5], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(whole[5:], finer[6:], strict=True))
    assert len({float(noise.mean()) for noise in finer}) == len(finer)
    assert all(noise.shape == (2, 2, n, n) for noise, n in zip(whole, (1, 2, 4, 4, 4, 8, 8), strict=True))


def test_the_elbo_is_that_of_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the given noise, in batches that do not share it; one seed gives it again."""
    torch.manual_seed(0)
    hvae, images = HVAE(CONFIG).eval(), torch.rand(5, 1, 8, 8).round()
    with torch.no_grad():
        steps = list(hvae.integrate(5, hvae.encode(images), noise=reference.noises(hvae, 5, 3, torch.float32)))
        assert torch.allclose(elbo(hvae, images, 3), -(hvae.nll(images, steps[-1].state) + sum(step.kl() for step in steps)))
    monkeypatch.setattr(refinement, "BATCH", 2)
    twice = elbo(hvae, images[:1].expand(4, -1, -1, -1), 3)
    assert torch.equal(twice, elbo(hvae, images[:1].expand(4, -1, -1, -1), 3))
    assert len(set(twice.tolist())) == 4


def test_times_run_on_through_the_refined_steps() -> None:
    times = [moment.time for moment in refined(HVAE(CONFIG), 1, 6).timetable]
    assert times == pytest.approx([0, 1 / 7, *(2 / 7 + k / 14 for k in range(6)), 5 / 7, 6 / 7])


def test_resolutions_where_a_cell_takes_several_steps() -> None:
    assert shared(HVAE(CONFIG)) == [1]

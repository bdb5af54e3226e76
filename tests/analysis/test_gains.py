"""Gains by power iteration against singular values of whole Jacobians; gradients against finite differences; D6's parts."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from analysis.claims import hvaes
from analysis.evidence import Context
from analysis.gains import cell_gains, largest_singular_value, power, state_gradients
from multires import data
from tests.analysis.test_replay import CONFIG, build


def test_the_gain_is_the_largest_singular_value_of_each_row() -> None:
    matrices = torch.randn(4, 6, 6, dtype=torch.float64)
    z = torch.randn(4, 6, dtype=torch.float64)
    found = largest_singular_value(lambda x: torch.einsum("bij,bj->bi", matrices, x), z, torch.Generator().manual_seed(0), 400)
    assert torch.allclose(found, torch.linalg.matrix_norm(matrices, 2), rtol=1e-6)


@pytest.mark.claim("D6")
def test_the_gain_of_a_cell_is_that_of_its_whole_jacobian() -> None:
    hvae, _, _ = build(CONFIG)
    with torch.no_grad():
        for parameter in hvae.parameters():
            parameter.mul_(2)  # so that singular values lie apart
    (step, *_) = hvae.integrate(2, generator=torch.Generator().manual_seed(3))
    cell, eps = hvae.cells[0], torch.zeros(1, 3, 1, 1, dtype=torch.float64)
    state = step.before[:1]
    jacobian = torch.func.jacrev(lambda z: cell(z, None, eps, 0.0).state)(state).reshape(8, 8)
    found = largest_singular_value(lambda z: cell(z, None, eps, 0.0).state, state, torch.Generator().manual_seed(0), 300)
    assert float(found) == pytest.approx(float(torch.linalg.matrix_norm(jacobian.detach(), 2)), rel=1e-6)


def test_gains_and_gradients_have_a_row_for_each_step_and_leave_no_gradient_behind() -> None:
    hvae, images, _ = build(CONFIG)
    assert cell_gains(hvae, 3, torch.Generator().manual_seed(0)).shape == (5, 3)
    gradients = state_gradients(hvae, images, torch.Generator().manual_seed(0))
    assert gradients.shape == (5, 3)
    assert (gradients > 0).all()
    assert all(parameter.grad is None for parameter in hvae.parameters())


def test_the_gradient_at_the_last_state_is_that_of_the_likelihood() -> None:
    hvae, images, _ = build(CONFIG)
    found = state_gradients(hvae, images, torch.Generator().manual_seed(0))[-1]
    with torch.no_grad():
        *_, last = hvae.integrate(3, hvae.encode(images), generator=torch.Generator().manual_seed(0))
    state = last.state.requires_grad_()
    hvae.nll(images, state).sum().backward()
    assert state.grad is not None
    derivatives = state.grad.flatten(1)
    cells = 64
    # as a function g with <g, v> = the derivative along v for every v, in L2
    assert torch.allclose(found, (cells * derivatives).square().sum(1).div(cells).sqrt())


def test_a_power_law_has_its_exponent() -> None:
    t = np.linspace(0.1, 1, 10)
    values = torch.from_numpy(2 * t[:, None] ** np.array([-1.1, -1.0, -0.9]))
    found = power(t.tolist(), values)
    assert found.value == pytest.approx(-1)
    assert found.low < -1 < found.high
    assert power(t.tolist(), values[:, :1]).high == math.inf


@pytest.mark.claim("D6")
def test_reverse_drifts_are_the_known_formulas() -> None:
    z = torch.linspace(0.9, 1.1, 5, dtype=torch.float64)[:, None]
    brownian, ornstein, _ = hvaes._processes()
    assert torch.allclose(brownian.reverse_drift(0.01, z), -(z - 1) / 0.01)
    mean, variance = math.exp(-1.1 * 0.01), 1.69 * (1 - math.exp(-2.2 * 0.01)) / 2.2
    assert torch.allclose(ornstein.reverse_drift(0.01, z), 1.1 * z - 1.69 * (z - mean) / variance)


@pytest.mark.claim("D6")
def test_a_reverse_diffusion_comes_back_to_its_point() -> None:
    """Backwards from Z_T = W_T along the reverse drift, with noise, to a small time: what is left has that time's variance."""
    (brownian, *_) = hvaes._processes()
    generator = torch.Generator().manual_seed(0)
    z = 1 + torch.randn(20_000, 1, generator=generator, dtype=torch.float64)
    times = np.geomspace(1, 0.01, 400)
    for before, after in pairwise(times):
        h = before - after
        z = z + brownian.reverse_drift(float(before), z) * h + math.sqrt(h) * torch.randn(z.shape, generator=generator)
    assert float(z.mean()) == pytest.approx(1, abs=0.005)
    assert float(z.var()) == pytest.approx(0.01, rel=0.05)


@pytest.mark.claim("D6")
def test_d6_says_what_the_network_does_beside_its_verdict() -> None:
    evidence = hvaes.d6.measure(Context(data.load("digits"), 0, "D6"))
    assert evidence.judge() == ("supported", "")
    assert "the gain of its cells goes trained t^" in evidence.note
    assert "No part of the verdict" in evidence.note
    for label in ("trained", "untrained"):
        value, low, high = evidence.arrays[f"slope {label}"]
        assert low <= value <= high
        assert ("not as 1/t" in evidence.note.split(label + " t^")[1].split(";")[0]) == (not low <= -1 <= high)

"""Fitted orders: known slopes are found, with intervals that hold them, and schemes have the orders that theory gives."""

import numpy as np
import pytest
import torch

from analysis import schemes
from analysis.orders import ERRORS, GROUPS, Errors, measure
from multires.diffusion import two_step_euler
from multires.exact import GeometricBrownianMotion, OrnsteinUhlenbeck


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("root", [True, False])
def test_a_power_law_has_its_order(order: float, root: bool) -> None:
    h = 2.0 ** -np.arange(7)
    noise = np.exp(0.01 * np.random.default_rng(0).standard_normal((GROUPS, 7)))
    errors = Errors(h, (3 * h**order) ** (2 if root else 1) * noise, root)
    slope = errors.slope()
    assert slope.low < order < slope.high
    assert slope.high - slope.low < 0.02
    assert slope.off(order) < 0.02 < slope.off(order + 0.1)
    assert np.allclose(errors.values, 3 * h**order, rtol=0.02)


def test_signs_cancel_in_a_weak_error_and_not_in_a_strong_one() -> None:
    z, exact = torch.tensor([[[1.0]], [[-1.0]]]), torch.zeros(2, 1, 1)
    found = {kind: float(error(z, exact).mean()) for kind, error in ERRORS.items()}
    assert found == {"strong": 1.0, "weak, mean": 0.0, "weak, square": 1.0}


@pytest.mark.claim("D2")
def test_consistent_schemes_have_the_same_order_and_inconsistent_ones_none() -> None:
    """So D2 cannot tell the first three apart: D3 and D5 do."""
    tried = {
        "two-step": two_step_euler,
        "swapped": schemes.swapped,
        "old state": schemes.at_old_state,
        "noise": schemes.noise_by_h,
        "twice": schemes.second_drift_twice,
    }
    start = torch.full((1000, 1, 1), 2.0, dtype=torch.float64)
    process, steps = OrnsteinUhlenbeck(1.0, 0.5), [16, 32, 64, 128]
    found = measure(process, start, 1.0, steps, tried, torch.Generator().manual_seed(0))
    slopes = {name: found[name, "strong"].slope().value for name in tried}
    assert all(abs(slopes[name] - 1) < 0.1 for name in ("two-step", "swapped", "old state"))
    assert all(abs(slopes[name]) < 0.2 for name in ("noise", "twice"))
    values = [found[name, "strong"].values for name in ("two-step", "swapped", "old state")]
    assert not np.allclose(values[0], values[1], rtol=0.05)
    assert not np.allclose(values[0], values[2], rtol=0.05)


@pytest.mark.claim("D2")
def test_multiplicative_noise_costs_half_an_order() -> None:
    start = torch.ones(2000, 1, 1, dtype=torch.float64)
    found = measure(
        GeometricBrownianMotion(-0.5, -0.5, 1.0),
        start,
        1.0,
        [32, 64, 128, 256],
        {"two-step": two_step_euler},
        torch.Generator().manual_seed(0),
    )
    assert found["two-step", "strong"].slope().value == pytest.approx(0.5, abs=0.1)

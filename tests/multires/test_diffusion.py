"""Steppers and their integrator: the definition, changes of resolution, and another library's integrator on the same noise."""

import pytest
import torch
from torch import Tensor

from multires.diffusion import SDE, Stage, integrate, resample, two_step_euler
from multires.errors import MultiresError
from multires.exact import BrownianBridge, GeometricBrownianMotion, HaarDiffusion, OrnsteinUhlenbeck
from multires.pooling import average
from multires.spaces import embed

SQUARE = SDE(lambda t, z: z.square() + t, lambda t, z: z.sin(), lambda t, z, dw: (1 + z) * dw)


def test_a_step_is_the_first_drift_with_noise_then_the_second_drift() -> None:
    z, dw = torch.randn(2, 1, 4, dtype=torch.float64), torch.randn(2, 1, 4, dtype=torch.float64)
    middle = z + (z * z + 0.3) * 0.1 + (1 + z) * dw
    assert torch.allclose(two_step_euler(SQUARE, 0.3, z, 0.1, dw), middle + middle.sin() * 0.1, rtol=1e-14)


def test_a_step_leaves_the_state_it_was_given() -> None:
    z, dw = torch.randn(2, 1, 4), torch.randn(2, 1, 4)
    before = z.clone(), dw.clone()
    two_step_euler(SQUARE, 0.0, z, 0.1, dw)
    assert torch.equal(z, before[0])
    assert torch.equal(dw, before[1])


def test_states_are_embedded_on_the_way_up_and_projected_on_the_way_down() -> None:
    z = torch.randn(2, 3, 4, 4)
    assert torch.equal(resample(z, 4), embed(z, 2))
    assert torch.equal(resample(z, 1), average(z))
    assert resample(z, 2) is z
    still = SDE(lambda t, z: 0 * z, lambda t, z: 0 * z, lambda t, z, dw: dw)
    schedule = [Stage(0, 1, 0.5), Stage(3, 2, 0.25), Stage(1, 1, 1.0)]
    noise = [torch.randn(2, 1, 2**j, 2**j) for j in (0, 3, 3, 1)]
    found = list(integrate(still, torch.zeros(2, 1, 2, 2), schedule, noise, start=1.0))
    assert [t for t, _ in found] == [1.5, 1.75, 2.0, 3.0]
    assert torch.allclose(found[1][1], embed(noise[0], 3) + noise[1])
    assert torch.allclose(found[3][1], average(embed(noise[0], 3) + noise[1] + noise[2], 2) + noise[3])


def test_the_drift_is_told_the_time() -> None:
    told: list[float] = []

    def drift(t: float, z: Tensor) -> Tensor:
        told.append(t)
        return 0 * z

    sde = SDE(drift, lambda t, z: 0 * z, lambda t, z, dw: dw)
    list(integrate(sde, torch.zeros(1, 1, 1), [Stage(0, 3, 0.5)], [torch.zeros(1, 1, 1)] * 3, start=2.0))
    assert told == [2.0, 2.5, 3.0]


@pytest.mark.parametrize("count", [0, 2, 4])
def test_each_step_needs_an_increment(count: int) -> None:
    with pytest.raises(MultiresError, match=f"{count} increments for 3 steps"):
        list(integrate(SQUARE, torch.zeros(1, 1, 1), [Stage(0, 3, 0.1)], [torch.zeros(1, 1, 1)] * count))


@pytest.mark.parametrize("wrong", [(-1, 1, 0.1), (0, -1, 0.1), (0, 1, 0.0), (0, 1, float("nan")), (0, 1, float("inf"))])
def test_a_stage_is_a_piece_of_time(wrong: tuple[int, int, float]) -> None:
    with pytest.raises(MultiresError, match="resolution and steps are 0 or more"):
        Stage(*wrong)


PROCESSES = [
    OrnsteinUhlenbeck(1.0, 0.5, 0.8),
    GeometricBrownianMotion(0.3, -0.9, 0.6),
    BrownianBridge(1.0, 2.0, share=0.3),
    HaarDiffusion(0.5, 0.3),
]


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: type(process).__name__)
def test_torchsde_takes_the_same_steps(process: OrnsteinUhlenbeck) -> None:
    """Its Euler scheme, on our noise: with the whole drift in m1 the two schemes are one; split, they part at order h^2."""
    torchsde = pytest.importorskip("torchsde")
    sde, n, h = process.sde(), 16, 2.0**-5
    start = torch.rand(3, 1, 8, dtype=torch.float64) + 0.5
    increments = [torch.randn(3, 1, 8, generator=torch.Generator().manual_seed(k), dtype=torch.float64) * h**0.5 for k in range(n)]

    class Wrapped(torch.nn.Module):
        noise_type, sde_type = "diagonal", "ito"

        def f(self, t: Tensor, y: Tensor) -> Tensor:
            z = y.view(3, 1, 8)
            return (sde.first_drift(float(t), z) + sde.second_drift(float(t), z)).flatten(1)

        def g(self, t: Tensor, y: Tensor) -> Tensor:
            z = y.view(3, 1, 8)
            return sde.diffusion(float(t), z, torch.ones_like(z)).flatten(1)

    class Noise:
        shape, dtype, device, levy_area_approximation = (3, 8), torch.float64, torch.device("cpu"), "none"

        def __call__(self, ta: Tensor, tb: Tensor, **rest: object) -> Tensor:
            return increments[round(float(ta) / h)].flatten(1)

    times = torch.arange(n + 1, dtype=torch.float64) * h
    theirs = torchsde.sdeint(Wrapped(), start.flatten(1), times, bm=Noise(), method="euler", dt=h)
    whole = SDE(lambda t, z: sde.first_drift(t, z) + sde.second_drift(t, z), lambda t, z: 0 * z, sde.diffusion)
    ours = [state for _, state in integrate(whole, start, [Stage(3, n, h)], increments)]
    assert torch.allclose(torch.stack(ours).flatten(2), theirs[1:], rtol=1e-12, atol=1e-12)
    split = [state for _, state in integrate(sde, start, [Stage(3, n, h)], increments)]
    assert 1e-6 < float((split[-1] - ours[-1]).abs().max()) < 10 * h

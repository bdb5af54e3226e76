"""Gaussians with independent entries, against torch.distributions and draws."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from multires.gaussians import Gaussian

numbers = st.floats(-3, 3)


@given(numbers, numbers, numbers, numbers)
def test_kl_is_the_known_one_and_never_negative(m1: float, s1: float, m2: float, s2: float) -> None:
    one, two = (Gaussian(*torch.tensor(pair, dtype=torch.float64)[:, None, None]) for pair in ((m1, s1), (m2, s2)))
    expected = kl_divergence(Normal(one.mean, one.deviation), Normal(two.mean, two.deviation)).sum()
    assert float(one.kl(two)) >= 0
    assert float(one.kl(two)) == pytest.approx(float(expected), rel=1e-9, abs=1e-14)
    assert float(one.kl(one)) == 0


def random(seed: int, shape: tuple[int, ...] = (4, 3, 2, 2)) -> Gaussian:
    generator = torch.Generator().manual_seed(seed)
    return Gaussian(*(0.5 * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)))


def test_kl_is_the_mean_log_ratio_of_draws() -> None:
    one, two = random(0), random(1)
    noise = torch.randn(20_000, *one.mean.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def density(gaussian: Gaussian, x: Tensor) -> Tensor:
        return Normal(gaussian.mean, gaussian.deviation).log_prob(x).flatten(2).sum(2)

    x = one.mean + one.deviation * noise
    ratios = density(one, x) - density(two, x)
    error = ratios.std(0) / len(ratios) ** 0.5
    assert ((one.kl(two) - ratios.mean(0)).abs() < 5 * error).all()
    assert torch.allclose(one.log_density(x[0]), density(one, x)[0], rtol=1e-12)


def test_over_a_time_means_and_variances_grow_in_proportion() -> None:
    gaussian = random(3)
    assert gaussian.over(1) is gaussian
    longer = gaussian.over(0.25)
    assert torch.allclose(longer.mean, gaussian.mean / 4)
    assert torch.allclose(longer.deviation.square(), gaussian.deviation.square() / 4)


def test_half_precision_is_summed_in_float32_and_float64_stays() -> None:
    half = Gaussian(torch.ones(1, 2, 2, 2).bfloat16(), torch.zeros(1, 2, 2, 2).bfloat16())
    assert half.kl(half).dtype == half.log_density(half.mean).dtype == torch.float32
    assert random(0).kl(random(1)).dtype == torch.float64


def test_gradients_of_kl_are_right_twice() -> None:
    one, two = random(0, (2, 1, 2, 1)), random(1, (2, 1, 2, 1))
    inputs = [x.clone().requires_grad_() for x in (one.mean, one.log_deviation, two.mean, two.log_deviation)]

    def kl(m1: Tensor, s1: Tensor, m2: Tensor, s2: Tensor) -> Tensor:
        return Gaussian(m1, s1).kl(Gaussian(m2, s2))

    assert torch.autograd.gradcheck(kl, inputs)
    assert torch.autograd.gradgradcheck(kl, inputs)

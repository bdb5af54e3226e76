"""Likelihoods of pixels against sums over all values, numeric gradients, SciPy, and their own samples."""

import math
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from multires.errors import MultiresError
from multires.likelihoods import Bernoulli, LogisticMixture
from tests.strategies import extreme_mixture_parameters, mixture_parameters

GREYS = torch.arange(256, dtype=torch.float64) / 255


def constant(values: list[float], count: int = 1, n: int = 1) -> Tensor:
    """One vector of parameters at every pixel of `count` images."""
    return torch.tensor(values, dtype=torch.float64)[None, :, None, None].expand(count, -1, n, n)


def plain_nll(x: Tensor, parameters: Tensor, mixtures: int) -> Tensor:
    """The discretised mixture by differences of logistic distribution functions, one pixel, with no care for rounding."""
    y = (2 * x - 1).double().numpy()
    p = parameters.double().numpy()
    weights = np.exp(p[:mixtures]) / np.exp(p[:mixtures]).sum()
    rest = p[mixtures:].reshape(len(y), -1, mixtures)
    total = 0.0
    for k in range(mixtures):
        means = rest[:, 0, k].copy()
        if len(y) == 3:
            c = np.tanh(rest[:, 2, k])
            means[1] += c[0] * y[0]
            means[2] += c[1] * y[0] + c[2] * y[1]
        product = weights[k]
        for value, mean, scale in zip(y, means, np.exp(np.maximum(rest[:, 1, k], -7)), strict=True):
            logistic = stats.logistic(mean, scale)
            low, high = value - 1 / 255, value + 1 / 255
            if value < -0.999:
                product *= logistic.cdf(high)
            elif value > 0.999:
                product *= logistic.sf(low)
            elif value > mean:  # on the side where the difference is one of small numbers
                product *= logistic.sf(low) - logistic.sf(high)
            else:
                product *= logistic.cdf(high) - logistic.cdf(low)
        total += product
    return torch.tensor(-math.log(total))


@given(mixture_parameters(1))
def test_grey_probabilities_sum_to_one(parameters: Tensor) -> None:
    likelihood = LogisticMixture(1, parameters.shape[1] // 3)
    nll = likelihood.nll(GREYS[:, None, None, None], parameters.expand(256, -1, 1, 1))
    assert (nll >= 0).all()
    assert float((-nll).exp().sum()) == pytest.approx(1, abs=1e-12)


@settings(max_examples=10)
@given(mixture_parameters(3), st.integers(0, 255))
def test_summed_over_green_and_blue_red_is_grey(parameters: Tensor, red: int) -> None:
    mixtures = parameters.shape[1] // 10
    rest = torch.cartesian_prod(GREYS, GREYS)
    images = torch.cat([torch.full_like(rest[:, :1], red / 255), rest], 1)[..., None, None]
    found = (-LogisticMixture(3, mixtures).nll(images, parameters.expand(len(rest), -1, 1, 1))).logsumexp(0)
    grey = -LogisticMixture(1, mixtures).nll(images[:1, :1], parameters[:, : 3 * mixtures])
    assert float(found) == pytest.approx(float(grey), rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("channels", [1, 3])
@given(data=st.data())
def test_the_mixture_is_the_difference_of_distribution_functions(channels: Literal[1, 3], data: st.DataObject) -> None:
    parameters = data.draw(mixture_parameters(channels, moderate=True))
    mixtures = parameters.shape[1] // (3 if channels == 1 else 10)
    x = torch.tensor([data.draw(st.sampled_from([0, 1, 100, 254, 255])) / 255 for _ in range(channels)], dtype=torch.float64)
    found = LogisticMixture(channels, mixtures).nll(x[None, :, None, None], parameters)
    assert float(found) == pytest.approx(float(plain_nll(x, parameters.flatten(), mixtures)), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("value", [0, 1, 128, 254, 255])
@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_are_those_of_differences(channels: int, value: int) -> None:
    likelihood = LogisticMixture(channels, 2)
    generator = torch.Generator().manual_seed(value)
    parameters = torch.randn(2, likelihood.parameters, 1, 1, generator=generator, dtype=torch.float64, requires_grad=True)
    images = torch.full((2, channels, 1, 1), value / 255, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p: likelihood.nll(images, p), parameters)


@pytest.mark.parametrize("mean", [-40.0, 40.0])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_value_far_from_every_mean_has_a_finite_likelihood_and_gradient(mean: float, value: float) -> None:
    parameters = constant([0.0, mean, -20.0]).float().clone().requires_grad_()
    nll = LogisticMixture(1, 1).nll(torch.full((1, 1, 1, 1), value), parameters)
    nll.sum().backward()
    assert nll.isfinite().all()
    assert parameters.grad is not None
    assert parameters.grad.isfinite().all()


@pytest.mark.parametrize(("beyond", "bound"), [(-12.0, -7.0), (41.0, 40.0), (88.0, 40.0)])
def test_log_scales_are_cut(beyond: float, bound: float) -> None:
    x = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64)
    low, floor = (LogisticMixture(1, 1).nll(x, constant([0.0, 0.1, scale])) for scale in (beyond, bound))
    assert torch.equal(low, floor)


@pytest.mark.parametrize("channels", [1, 3])
@given(data=st.data())
def test_of_extreme_parameters_values_and_gradients_are_finite(channels: int, data: st.DataObject) -> None:
    """In float32, in which networks are trained, at every grey value."""
    parameters = data.draw(extreme_mixture_parameters(channels)).expand(256, -1, 1, 1).clone().requires_grad_()
    likelihood = LogisticMixture(channels, parameters.shape[1] // (3 if channels == 1 else 10))
    nll = likelihood.nll(GREYS.float()[:, None, None, None].expand(-1, channels, 1, 1), parameters)
    nll.sum().backward()
    assert nll.isfinite().all()
    assert parameters.grad is not None
    assert parameters.grad.isfinite().all()
    sampled = likelihood.sample(parameters.detach(), torch.Generator().manual_seed(0))
    assert ((sampled >= 0) & (sampled <= 1)).all()


@given(extreme_mixture_parameters(1))
def test_of_extreme_parameters_the_probabilities_sum_to_one_in_float32(parameters: Tensor) -> None:
    """Up to rounding: y - m is off by up to 3 * 2^-24, so the end that two bins share by 6 * 2^-24 / s with s >= e^-7, in a density
    of at most 1/4; as bins are then 8.6 wide, one end counts: 1e-4. The sum over bins where s is large has less."""
    likelihood = LogisticMixture(1, parameters.shape[1] // 3)
    nll = likelihood.nll(GREYS.float()[:, None, None, None], parameters.expand(256, -1, 1, 1))
    assert (nll >= 0).all()
    assert float((-nll.double()).exp().sum()) == pytest.approx(1, abs=2e-4)


def test_what_all_weights_have_in_common_means_nothing() -> None:
    """To the last digit that is left of their differences: 1e6 and differences of eighths are exact in float32."""
    likelihood = LogisticMixture(1, 3)
    weights, rest = torch.tensor([0.5, -1.25, 2.0]), torch.tensor([-0.5, 0.1, 0.6, -3.0, -2.0, -4.0])
    here, far = (torch.cat([weights + offset, rest])[None, :, None, None] for offset in (0.0, 1e6))
    x = GREYS.float()[:, None, None, None]
    assert torch.equal(likelihood.nll(x, far.expand(256, -1, 1, 1)), likelihood.nll(x, here.expand(256, -1, 1, 1)))
    one, two = (likelihood.sample(p.expand(2000, -1, 1, 1), torch.Generator().manual_seed(0)) for p in (here, far))
    assert torch.equal(one, two)


@pytest.mark.parametrize("channels", [1, 3])
def test_samples_have_the_probabilities_that_nll_says(channels: int) -> None:
    """A chi-squared test over bins of the last channel given the ones before, by weighing each sample's own likelihood."""
    likelihood = LogisticMixture(channels, 3)
    generator = torch.Generator().manual_seed(3)
    one = torch.randn(1, likelihood.parameters, 1, 1, generator=generator, dtype=torch.float64)
    count = 20_000
    x = likelihood.sample(one.expand(count, -1, 1, 1), generator)
    assert ((x * 255).round() / 255 == x).all()
    assert x.min() == 0
    assert x.max() == 1
    if channels == 1:
        expected = (-likelihood.nll(GREYS[:, None, None, None], one.expand(256, -1, 1, 1))).exp().flatten().numpy() * count
        observed = np.bincount((x * 255).round().long().flatten().numpy(), minlength=256)
        bins = np.minimum(np.cumsum(expected) // (count / 40), 39).astype(int)
        e, o = np.bincount(bins, expected), np.bincount(bins, observed)
        assert stats.chisquare(o[e > 5], e[e > 5] * o[e > 5].sum() / e[e > 5].sum()).pvalue > 1e-3
    else:  # the mean of 1 / p over samples counts the colours; of p(x) under p, the collision probability
        p = (-likelihood.nll(x, one.expand(count, -1, 1, 1))).exp()
        codes = ((x * 255).round().long().flatten(1) * torch.tensor([65536, 256, 1])).sum(1)
        _, counts = codes.unique(return_counts=True)
        collisions = float((counts * (counts - 1)).sum()) / (count * (count - 1))
        assert collisions == pytest.approx(float(p.mean()), rel=0.15)


def test_samples_reach_as_far_as_the_logistic() -> None:
    """Beyond 6 scales on either side lie 0.49 %: 490 of 100,000, give or take 22."""
    likelihood = LogisticMixture(1, 1)
    parameters = torch.tensor([0.0, 0.0, math.log(0.1)], dtype=torch.float64)[None, :, None, None]
    x = 2 * likelihood.sample(parameters.expand(100_000, -1, 1, 1), torch.Generator().manual_seed(0)) - 1
    expected = 2 * 100_000 / (1 + math.exp(6.0 + 1 / 25.5))  # rounded away from 0.6, whose bin reaches half a bin further
    assert abs(int((x.abs() > 0.6 + 1 / 255).sum()) - expected) < 5 * math.sqrt(expected)


def test_the_mean_is_that_of_samples_where_nothing_is_cut_off() -> None:
    likelihood = LogisticMixture(3, 2)
    parameters = 0.2 * torch.randn(1, 20, 1, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    parameters[:, 2:].unflatten(1, (3, 3, 2))[:, :, 1] = -4.0
    x = likelihood.sample(parameters.expand(20_000, -1, 1, 1), torch.Generator().manual_seed(2))
    assert likelihood.mean(parameters).flatten().tolist() == pytest.approx(x.mean(0).flatten().tolist(), abs=3e-3)


def test_bernoulli() -> None:
    logits = torch.tensor([[-3.0, 0.5], [40.0, -200.0]])[None, None]
    likelihood = Bernoulli(1)
    q = logits.double().sigmoid()
    for x in (torch.zeros_like(logits), torch.ones_like(logits)):
        expected = -(x * q + (1 - x) * (-logits.double()).sigmoid()).log()
        assert torch.allclose(likelihood.nll(x, logits).double(), expected[:, 0], rtol=1e-6)
    assert torch.equal(likelihood.mean(logits), logits.sigmoid())
    x = likelihood.sample(logits.expand(10_000, -1, -1, -1), torch.Generator().manual_seed(0))
    assert torch.allclose(x.mean(0), q[0].float(), atol=0.02)
    two = torch.randn(3, 2, 4, 4)
    assert torch.allclose(Bernoulli(2).nll(torch.ones_like(two), two), torch.nn.functional.softplus(-two).sum(1))


def test_half_precision_is_summed_in_float32() -> None:
    p = torch.randn(1, 30, 2, 2)
    assert LogisticMixture(1, 10).nll(torch.zeros(1, 1, 2, 2), p.bfloat16()).dtype == torch.float32
    assert Bernoulli(1).nll(torch.zeros(1, 1, 2, 2), p[:, :1].bfloat16()).dtype == torch.float32


def test_other_numbers_of_channels_are_refused() -> None:
    with pytest.raises(MultiresError, match="2 channels: the mixture of logistics is for 1, grey, or 3, colour"):
        LogisticMixture(2, 10)


def test_samples_of_what_is_no_number_are_none() -> None:
    """A black image would hide it."""
    parameters = torch.tensor([math.nan, 0.0]).view(2, 1, 1, 1)
    one, other = Bernoulli(1).sample(parameters, torch.Generator().manual_seed(0))
    assert one.isnan().all()
    assert other.isfinite().all()

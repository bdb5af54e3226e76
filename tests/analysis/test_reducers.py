"""Reducers against the same numbers of all batches together."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analysis.reducers import Moments
from multires.errors import MultiresError


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(0, 3), st.sampled_from([0.0, 1.0, 1e6]))
def test_moments_are_those_of_all_batches_together(sizes: list[int], space: int, offset: float) -> None:
    generator = torch.Generator().manual_seed(sum(sizes))
    batches = [torch.randn(size, 3, *[4] * space, generator=generator, dtype=torch.float64) + offset for size in [*sizes, 2]]
    copies = [batch.clone() for batch in batches]
    moments = Moments()
    for batch in batches:
        moments.update((batch,), ())
    assert all(map(torch.equal, batches, copies)), "an update must not write"
    x = torch.cat(batches).transpose(0, 1).reshape(3, -1)
    assert moments.count == x.shape[1]
    torch.testing.assert_close(moments.mean, x.mean(1), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(moments.variance, x.var(1, correction=0), rtol=1e-9, atol=0)
    torch.testing.assert_close(moments.second, x.square().mean(1), rtol=1e-13, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_moments_are_float64_whatever_comes(dtype: torch.dtype) -> None:
    x = (torch.randn(64, 3, 8, 8) * 10).to(dtype)
    moments = Moments()
    moments.update((x,), ())
    assert moments.mean.dtype == moments.variance.dtype == torch.float64
    torch.testing.assert_close(moments.mean, x.double().mean((0, 2, 3)), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("dtype", "far"), [(torch.float32, 1e4), (torch.bfloat16, 10.0), (torch.int64, 1e6)])
def test_moments_of_values_far_from_zero_are_those_of_the_values_themselves(dtype: torch.dtype, far: float) -> None:
    x = (torch.randn(50, 3, 8, 8) * 10 + far).to(dtype)
    moments = Moments()
    for batch in x.split(20):
        moments.update((batch,), ())
    values = x.double().transpose(0, 1).reshape(3, -1)
    torch.testing.assert_close(moments.mean, values.mean(1), rtol=1e-13, atol=0)
    torch.testing.assert_close(moments.variance, values.var(1, correction=0), rtol=1e-9, atol=0)


def test_moments_of_vectors_are_of_one_channel() -> None:
    moments = Moments()
    for x in (torch.tensor([1.0, 2.0]), torch.tensor(6.0)):
        moments.update((x,), ())
    assert (moments.count, moments.mean.item()) == (3, 3.0)
    assert moments.variance.item() == pytest.approx(14 / 3)


def test_moments_of_other_channels_than_before_are_refused() -> None:
    moments = Moments()
    moments.update((torch.ones(1, 1, 2, 2),), ())
    with pytest.raises(MultiresError, match=r"^moments of 2 channels after 1: "):
        moments.update((torch.ones(1, 2, 2, 2),), ())
    assert moments.count == 4

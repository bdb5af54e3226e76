"""The spaces V_j: their inner product, embedding, evaluation, and restriction of functions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from multires import MultiresError
from multires.pooling import average
from multires.spaces import dimension, distance, embed, evaluate, inner, norm, require_levels, resolution, restrict
from tests.strategies import fields, tolerance


@given(fields(count=2))
def test_inner_is_the_mean_product(pair: list[Tensor]) -> None:
    f, g = pair
    expected = (f.double().numpy() * g.double().numpy()).mean(axis=tuple(range(2, f.ndim)))
    scale = (f.abs() * g.abs()).double().numpy().mean(axis=tuple(range(2, f.ndim)))
    assert (np.abs(inner(f, g).double().numpy() - expected) <= tolerance(f.dtype, f[0, 0].numel() + 2) * scale).all()


@given(fields())
def test_norm_is_the_root_mean_square(one: list[Tensor]) -> None:
    (f,) = one
    expected = np.sqrt((f.double().numpy() ** 2).mean(axis=tuple(range(2, f.ndim))))
    assert np.allclose(norm(f).double().numpy(), expected, rtol=tolerance(f.dtype, f[0, 0].numel() + 4), atol=0)


@pytest.mark.claim("A1")
@given(fields(dyadic=False), st.integers(0, 2))
def test_embed_copies_each_cell_and_pooling_undoes_it(one: list[Tensor], levels: int) -> None:
    (f,) = one
    finer = embed(f, levels)
    expected = f.numpy()
    for axis in range(2, f.ndim):
        expected = np.repeat(expected, 2**levels, axis)
    assert np.array_equal(finer.numpy(), expected)
    assert torch.equal(average(finer, levels), f)  # sums of 2^k equal numbers, halved k times, are exact


@pytest.mark.claim("A1")
@given(fields(), st.integers(0, 2), st.data())
def test_embed_is_an_isometry_that_keeps_values(one: list[Tensor], levels: int, data: st.DataObject) -> None:
    (f,) = one
    d = dimension(f)
    points = torch.tensor([[data.draw(st.floats(0, 1, exclude_max=True)) for _ in range(d)] for _ in range(5)], dtype=torch.float64)
    assert torch.equal(evaluate(embed(f, levels), points), evaluate(f, points))
    assert torch.allclose(norm(embed(f, levels)), norm(f), rtol=tolerance(f.dtype, 3 * f[0, 0].numel() * 2 ** (levels * d)), atol=0)


def test_evaluate_takes_the_cell_that_holds_the_point() -> None:
    f = torch.arange(8.0).reshape(1, 1, 2, 4)
    points = torch.tensor([[0.0, 0.0], [0.49, 0.25], [0.5, 0.999], [0.99, 0.5]])
    assert evaluate(f, points).tolist() == [[[0.0, 1.0, 7.0, 6.0]]]


@pytest.mark.parametrize("points", [torch.tensor([[1.0]]), torch.tensor([[-0.1]]), torch.tensor([[float("nan")]])])
def test_evaluate_refuses_points_outside(points: Tensor) -> None:
    with pytest.raises(MultiresError, match="outside the domain"):
        evaluate(torch.ones(1, 1, 4), points)


def test_evaluate_refuses_points_of_another_dimension() -> None:
    with pytest.raises(MultiresError, match=r"need shape \(count, 2\)"):
        evaluate(torch.ones(1, 1, 4, 4), torch.zeros(3, 1))


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("degree", [0, 1, 5])
def test_restrict_is_exact_for_polynomials(d: int, degree: int) -> None:
    j, n = 2, 4
    edges = np.arange(n + 1) / n
    degrees = [max(0, degree - axis) for axis in range(d)]  # another along each axis: none may stand for another
    expected = np.ones(())
    for power in degrees:
        expected = np.multiply.outer(
            expected, np.diff(edges ** (power + 1)) / (power + 1) * n
        )  # the mean of x^power over each cell
    found = restrict(lambda x: x.pow(torch.tensor(degrees)).prod(-1), j, d, nodes=3)
    assert np.allclose(found[0, 0].numpy(), expected, rtol=1e-14, atol=1e-15)


@pytest.mark.claim("A4")
@given(st.floats(-3, 3), st.floats(-3, 3), st.integers(0, 6))
def test_distance_of_a_ramp_is_its_slope_over_root_twelve(slope: float, offset: float, j: int) -> None:
    def ramp(x: Tensor) -> Tensor:
        return slope * x[..., 0] + offset

    assert math.isclose(distance(ramp, restrict(ramp, j, 1)), abs(slope) / math.sqrt(12) / 2**j, rel_tol=1e-9, abs_tol=1e-13)


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (torch.ones(1, 1, 4, dtype=torch.int64), r"torch.int64 tensor .* convert with x.double\(\)"),
        (torch.ones(1, 1, 4, dtype=torch.complex64), "floating point"),
        (torch.ones(4, 4), r"shape \(4, 4\) is not \(batch, channel, \*spatial\)"),
        (torch.ones(1, 1, 2, 2, 2, 2), "1 to 3 spatial axes"),
        (torch.ones(0, 1, 4), "holds no cells"),
    ],
)
def test_dimension_refuses(x: Tensor, text: str) -> None:
    with pytest.raises(MultiresError, match=text) as caught:
        dimension(x)
    assert "\n" not in str(caught.value)


def test_dimension_refuses_arrays() -> None:
    with pytest.raises(MultiresError, match="ndarray: expected a torch tensor"):
        dimension(np.ones((1, 1, 4)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sides", "nearest"),
    [
        ((3,), "4"),
        ((30, 31), "32 x 32"),
        ((5, 5, 5), "4 x 4 x 4"),
        ((6, 6), "8 x 8"),
        ((16, 32), "32 x 32"),
        ((48,), "64"),
        ((1, 2), "2 x 2"),
        ((100, 100), "128 x 128"),
    ],
)
def test_resolution_names_the_nearest_size_that_works(sides: tuple[int, ...], nearest: str) -> None:
    with pytest.raises(MultiresError, match=f"nearest that works is {nearest}$"):
        resolution(torch.ones(1, 1, *sides))


@given(st.integers(1, 3), st.integers(0, 4))
def test_resolution_is_the_binary_logarithm(d: int, j: int) -> None:
    assert resolution(torch.ones(1, 1, *[2**j] * d)) == j


@pytest.mark.parametrize(
    ("side", "levels", "nearest"), [(7, 1, "8"), (1, 1, "2"), (12, 3, "16"), (9, 3, "8"), (5, 2, "4"), (2, 3, "8")]
)
def test_require_levels_names_the_nearest_multiple(side: int, levels: int, nearest: str) -> None:
    with pytest.raises(MultiresError, match=f"nearest that works is {nearest}$"):
        require_levels(torch.ones(1, 1, side), levels)


def test_require_levels_refuses_a_negative_number() -> None:
    with pytest.raises(MultiresError, match="levels = -1"):
        require_levels(torch.ones(1, 1, 4), -1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_embed_keeps_dtype_and_device(dtype: torch.dtype, device: str) -> None:
    f = torch.ones(1, 2, 4, 4, dtype=dtype, device=device)
    assert (embed(f).dtype, embed(f).device) == (f.dtype, f.device)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_embed_and_inner_are_differentiable(d: int) -> None:
    f = torch.randn(1, 2, *[2] * d, dtype=torch.float64, generator=torch.Generator().manual_seed(d), requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: inner(embed(t), embed(t)), f)

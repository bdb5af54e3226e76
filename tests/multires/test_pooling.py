"""Average pooling as L2 projection for any field, and the other poolings against PyWavelets and plain loops."""

import itertools
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from multires import MultiresError
from multires.pooling import average, blur, lowpass, maximum, project, strided_convolution, subsample, synthesis
from multires.spaces import dimension, embed, inner, norm
from tests.strategies import fields, tolerance

WAVELETS = ["haar", "db2", "db3", "sym4", "coif1", "bior2.2", "bior4.4"]
CONTROLS: dict[str, Callable[[Tensor], Tensor]] = {
    "max": maximum,
    "subsample": subsample,
    "blur": blur,
    "db2": lambda x: lowpass(x, pywt.Wavelet("db2").dec_lo),
    "convolution": lambda x: strided_convolution(x, torch.full([3] * dimension(x), 3.0 ** -dimension(x)), origin=1),
}


def size(x: Tensor) -> Tensor:
    return norm(x.double())


def blocks(x: Tensor, levels: int) -> np.ndarray:
    """The mean of every block by a plain loop over exact fractions."""
    block, spatial = 2**levels, x.shape[2:]
    out = np.empty([*x.shape[:2], *(n // block for n in spatial)])
    for index in np.ndindex(*out.shape):
        cells = x.double().numpy()[(*index[:2], *(slice(k * block, (k + 1) * block) for k in index[2:]))]
        out[index] = float(sum(map(Fraction, cells.ravel().tolist())) / cells.size)
    return out


@pytest.mark.claim("B8")
@given(fields(coarsest=1, dyadic=False))
def test_average_is_the_mean_of_siblings_within_its_rounding_bound(one: list[Tensor]) -> None:
    (x,) = one
    bound = tolerance(x.dtype, dimension(x)) * blocks(x.abs(), 1)
    assert (np.abs(average(x).double().numpy() - blocks(x, 1)) <= bound).all()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("levels", [1, 2])
def test_halves_whose_sum_would_be_infinite_have_a_mean(layout: torch.memory_format, levels: int) -> None:
    x = torch.full((2, 3, 4, 4), 6e4, dtype=torch.float16).contiguous(memory_format=layout)
    assert torch.equal(average(x, levels), x[..., :: 2**levels, :: 2**levels])


@pytest.mark.claim("B8")
@given(fields(coarsest=2), st.integers(0, 2))
def test_average_over_levels_is_the_mean_of_blocks_within_its_rounding_bound(one: list[Tensor], levels: int) -> None:
    (x,) = one
    bound = tolerance(x.dtype, dimension(x) * (2**levels - 1)) * blocks(x.abs(), levels)
    assert (np.abs(average(x, levels).double().numpy() - blocks(x, levels)) <= bound).all()


@pytest.mark.claim("B1")
@given(fields(coarsest=1, dyadic=False, count=2))
def test_projection(pair: list[Tensor]) -> None:
    x, y = pair
    px, py, eps = project(x), project(y), tolerance(x.dtype, 16)
    assert torch.equal(project(px), px)
    assert (size(px) <= (1 + eps) * size(x)).all()
    assert (size(project(x - px)) <= eps * size(x)).all()
    difference = inner(px.double(), y.double()) - inner(x.double(), py.double())
    assert (difference.abs() <= eps * size(x) * size(y)).all()


@pytest.mark.claim("B3")
@given(fields(coarsest=2), st.data())
def test_composition(one: list[Tensor], data: st.DataObject) -> None:
    (x,) = one
    j = x.shape[-1].bit_length() - 1
    total = data.draw(st.integers(2, j))
    first = data.draw(st.integers(1, total - 1))
    eps = tolerance(x.dtype, 2 * dimension(x) * 2**total)
    assert (size(average(average(x, first), total - first) - average(x, total)) <= eps * size(x)).all()


@pytest.mark.claim("B4")
@given(fields(coarsest=1, dyadic=False, count=2))
def test_best_approximation(pair: list[Tensor]) -> None:
    x, other = pair
    v, px = embed(average(other)), project(x)
    whole = size(x - v) ** 2
    scale = (size(x) + size(v)) ** 2
    assert ((whole - size(x - px) ** 2 - size(px - v) ** 2).abs() <= tolerance(x.dtype, 32) * scale).all()


@pytest.mark.claim("B5")
@given(fields(coarsest=1, dyadic=False, count=2))
def test_adjoint(pair: list[Tensor]) -> None:
    x, other = pair
    y = average(other)
    difference = inner(average(x).double(), y.double()) - inner(x.double(), embed(y).double())
    assert (difference.abs() <= tolerance(x.dtype, 16) * size(x) * size(y)).all()


@pytest.mark.claim("A7")
@given(fields(coarsest=1))
def test_martingale(one: list[Tensor]) -> None:
    (x,) = one
    j = x.shape[-1].bit_length() - 1
    path = [project(x, level) for level in range(j + 1)]
    assert torch.equal(path[0], x)
    increments = sum(size(a - b) ** 2 for a, b in itertools.pairwise(path))
    assert ((size(x) ** 2 - size(path[-1]) ** 2 - increments).abs() <= tolerance(x.dtype, 256) * size(x) ** 2).all()
    assert (size(torch.stack([f.abs() for f in path]).amax(0)) <= 2 * (1 + 1e-6) * size(x)).all()


@pytest.mark.claim("B7")
@pytest.mark.parametrize(("d", "side"), [(1, 2), (1, 6), (1, 64), (2, 2), (2, 6), (3, 4)])
def test_projection_matrix_is_exact(d: int, side: int) -> None:
    cells = side**d
    basis = torch.eye(cells, dtype=torch.float64).reshape(cells, 1, *[side] * d)
    p = project(basis).reshape(cells, cells)
    label = np.ravel_multi_index(tuple(np.indices([side] * d) // 2), [side // 2] * d).ravel()
    assert np.array_equal(p.numpy(), (label[:, None] == label[None, :]) / 2**d)


@pytest.mark.claim("B6")
@pytest.mark.parametrize("name", WAVELETS)
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("side", [2, 4, 16])
def test_lowpass_is_pywavelets_approximation(name: str, d: int, side: int) -> None:
    x = np.random.default_rng(side).standard_normal((2, 2, *[side] * d))
    taps = pywt.Wavelet(name).dec_lo
    expected = pywt.dwtn(x, name, "periodization", axes=range(-d, 0))["a" * d] * 2 ** (-d / 2)
    found = lowpass(torch.from_numpy(x), taps)
    assert np.abs(found.numpy() - expected).max() <= 1e-14 * len(taps) ** d


@pytest.mark.parametrize("name", ["haar", "db2", "sym4", "coif1", "db8"])
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("side", [1, 2, 8])
def test_synthesis_is_pywavelets_of_an_approximation_alone(name: str, d: int, side: int) -> None:
    x, taps = np.random.default_rng(side).standard_normal((2, 2, *[side] * d)), pywt.Wavelet(name).dec_lo
    found = synthesis(torch.from_numpy(x), taps)
    expected = pywt.idwtn({"a" * d: x}, name, "periodization", axes=range(-d, 0)) * 2 ** (d / 2)
    assert np.abs(found.numpy() - expected).max() <= 1e-14 * len(taps) ** d
    assert np.abs(lowpass(found, taps).numpy() - x).max() <= 1e-9  # as orthogonal as the taps are tabulated
    assert name != "haar" or torch.equal(found.float(), embed(torch.from_numpy(x).float()))


@pytest.mark.parametrize("name", WAVELETS)
def test_synthesis_is_the_adjoint_of_the_lowpass_filter(name: str) -> None:
    taps, (x, y) = pywt.Wavelet(name).dec_lo, (torch.randn(1, 1, n, n, dtype=torch.float64) for n in (8, 4))
    assert float((lowpass(x, taps) * y).sum()) == pytest.approx(float((x * synthesis(y, taps)).sum()) / 4)


@pytest.mark.claim("B6")
@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("d", [1, 2, 3])
def test_every_other_pooling_keeps_constants_and_is_no_projection(name: str, d: int) -> None:
    pool = CONTROLS[name]
    x = torch.from_numpy(np.random.default_rng(d).standard_normal((1, 1, *[8] * d)))
    assert torch.allclose(pool(torch.ones_like(x)), torch.ones(1, 1, *[4] * d, dtype=x.dtype), atol=1e-9)
    assert norm(embed(pool(x)) - project(x)).item() > 0.05 * norm(x).item()


@given(fields(coarsest=1, dyadic=False))
def test_maximum_and_subsample_by_loops(one: list[Tensor]) -> None:
    (x,) = one
    d = dimension(x)
    corners = [
        x[(slice(None), slice(None), *(slice(k, None, 2) for k in offset))] for offset in itertools.product((0, 1), repeat=d)
    ]
    assert torch.equal(maximum(x), torch.stack(corners).amax(0))
    assert torch.equal(subsample(x), corners[0])


@given(fields(coarsest=1, dyadic=False), st.integers(1, 5), st.integers(-2, 6))
def test_strided_convolution_by_rolling(one: list[Tensor], width: int, origin: int) -> None:
    (x,) = one
    d, axes = dimension(x), tuple(range(2, x.ndim))
    kernel = torch.from_numpy(np.random.default_rng(width).standard_normal([width] * d))
    expected = torch.zeros_like(x.double())
    for index in np.ndindex(*kernel.shape):
        expected += kernel[index] * x.double().roll([origin - i for i in index], axes)
    found = strided_convolution(x, kernel, origin)
    assert (
        size(found - subsample(expected)) <= tolerance(x.dtype, 8 * width**d) * float(kernel.abs().sum()) * float(x.abs().max())
    ).all()


def test_blur_is_one_two_one() -> None:
    x = torch.tensor([[[1.0, 10.0, 100.0, 1000.0]]])
    assert blur(x).tolist() == [[[(1000 + 2 + 10) / 4, (10 + 200 + 1000) / 4]]]


@pytest.mark.parametrize("pool", [average, maximum, subsample, blur], ids=lambda pool: pool.__name__)
def test_odd_sides_are_refused(pool: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(MultiresError, match=r"7 x 7 cells, 1 levels: .* nearest that works is 8 x 8$"):
        pool(torch.ones(1, 1, 7, 7))


def test_kernels_and_taps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(MultiresError, match="kernel of 2 equal sides"):
        strided_convolution(torch.ones(1, 1, 4, 4), torch.ones(3), origin=0)
    with pytest.raises(MultiresError, match="kernel of 2 equal sides"):
        strided_convolution(torch.ones(1, 1, 4, 4), torch.ones(3, 2), origin=0)
    with pytest.raises(MultiresError, match=r"3 taps: .* even number"):
        lowpass(torch.ones(1, 1, 4), [0.5, 0.5, 0.5])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_dtype_and_device_are_kept(dtype: torch.dtype, d: int, device: str) -> None:
    x = torch.ones(1, 2, *[8] * d, dtype=dtype, device=device)
    for pool in (average, project, *CONTROLS.values()):
        y = pool(x)
        assert (y.dtype, y.device.type) == (dtype, device)
        assert torch.allclose(y, torch.ones_like(y), atol=1e-2)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("name", ["average", "project", *CONTROLS])
def test_gradients(name: str, d: int) -> None:
    pool = {"average": average, "project": project, **CONTROLS}[name]
    x = torch.from_numpy(np.random.default_rng(d).standard_normal((1, 2, *[4] * d))).requires_grad_()
    assert torch.autograd.gradcheck(pool, x)


@pytest.mark.claim("B5")
@pytest.mark.parametrize("d", [1, 2, 3])
def test_gradient_of_pooling_is_embedding(d: int) -> None:
    x = torch.randn(1, 1, *[4] * d, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = torch.randn(1, 1, *[2] * d, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad(average(x), x, y)
    assert torch.equal(gradient, embed(y) / 2**d)

"""The Haar transform: against PyWavelets band by band, its inverse, its norms, its gradients; compiled and by slicing."""

import os

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from multires import MultiresError, _kernel, haar
from multires.pooling import average
from multires.spaces import dimension, norm
from tests.strategies import fields, tolerance

NORMALIZATIONS: list[haar.Normalization] = ["orthonormal", "l2"]


def reference(x: Tensor, levels: int) -> list[np.ndarray | dict[str, np.ndarray]]:
    found: list[np.ndarray | dict[str, np.ndarray]] = pywt.wavedecn(
        x.double().numpy(), "haar", "periodization", levels, tuple(range(-dimension(x), 0))
    )
    return found


def assert_bands_equal(
    ours: haar.Coefficients, theirs: list[np.ndarray | dict[str, np.ndarray]], atol: float, scale: float = 1.0
) -> None:
    """Every level and every band, by name: nothing that either side lacks goes unseen."""
    assert len(ours) == len(theirs)
    assert isinstance(ours[0], Tensor)
    assert np.allclose(ours[0].double().numpy(), theirs[0] * scale, rtol=0, atol=atol)
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        assert isinstance(mine, dict)
        assert isinstance(other, dict)
        assert set(mine) == set(other)
        for name in other:
            assert mine[name].shape == other[name].shape
            assert np.allclose(mine[name].double().numpy(), other[name] * scale, rtol=0, atol=atol), name


@pytest.mark.claim("B2")
@given(one=fields(coarsest=0), normalization=st.sampled_from(NORMALIZATIONS), data=st.data())
def test_analysis_is_pywavelets(path: str, one: list[Tensor], normalization: haar.Normalization, data: st.DataObject) -> None:
    (x,) = one
    j, cells = x.shape[-1].bit_length() - 1, x[0, 0].numel()
    levels = data.draw(st.integers(0, j))
    scale = cells**-0.5 if normalization == "l2" else 1.0
    atol = tolerance(x.dtype, 8 * dimension(x) * (levels + 1)) * float(x.double().flatten(2).norm(dim=-1).max()) * scale
    assert_bands_equal(haar.analysis(x, levels, normalization=normalization), reference(x, levels), atol, scale)


@pytest.mark.claim("A3")
@given(one=fields(coarsest=0), normalization=st.sampled_from(NORMALIZATIONS), data=st.data())
def test_synthesis_inverts_analysis_and_norms_agree(
    path: str, one: list[Tensor], normalization: haar.Normalization, data: st.DataObject
) -> None:
    (x,) = one
    levels = data.draw(st.sampled_from([None, *range(x.shape[-1].bit_length())]))
    coefficients = haar.analysis(x, levels, normalization=normalization)
    eps = tolerance(x.dtype, 64)
    assert (norm(haar.synthesis(coefficients, normalization=normalization) - x) <= eps * norm(x)).all()
    length = haar.to_array(coefficients).double().flatten(2).norm(dim=-1)
    expected = norm(x.double()) if normalization == "l2" else x.double().flatten(2).norm(dim=-1)
    assert ((length - expected).abs() <= eps * expected).all()


@pytest.mark.claim("B2")
@given(one=fields(coarsest=1))
def test_pooling_cuts_the_finest_details_off(path: str, one: list[Tensor]) -> None:
    (x,) = one
    whole, pooled = haar.analysis(x, normalization="l2"), haar.analysis(average(x), normalization="l2")
    atol = tolerance(x.dtype, 64) * float(x.abs().max())
    theirs = [
        band.double().numpy() if isinstance(band, Tensor) else {k: v.double().numpy() for k, v in band.items()}
        for band in whole[:-1]
    ]
    assert_bands_equal(pooled, theirs, atol)


@pytest.mark.claim("A2")
@pytest.mark.parametrize(("d", "j"), [(1, 0), (1, 1), (1, 5), (2, 0), (2, 1), (2, 3), (3, 1), (3, 2)])
def test_basis_is_orthonormal(path: str, d: int, j: int) -> None:
    n = 2**j
    units = torch.eye(n**d, dtype=torch.float64).reshape(n**d, 1, *[n] * d)
    functions = haar.synthesis(haar.from_array(units), normalization="l2").flatten(1)
    assert torch.allclose(functions @ functions.T / n**d, torch.eye(n**d, dtype=torch.float64), atol=1e-13)


def test_four_pixels_by_hand() -> None:
    """[[1, 2], [3, 5]]: sum 11; down the rows -5, along them -3, across 1; halved."""
    x = torch.tensor([[[[1.0, 2.0], [3.0, 5.0]]]])
    approximation, details = haar.analysis(x)
    assert isinstance(approximation, Tensor)
    assert isinstance(details, dict)
    assert approximation.item() == 5.5
    assert {name: band.item() for name, band in details.items()} == {"da": -2.5, "ad": -1.5, "dd": 0.5}
    assert list(details) == ["da", "ad", "dd"]  # PyWavelets' cH, cV, cD


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1 << 17), (3, 2, 512), (2, 3, 128, 512), (1, 1, 1024, 1024), (5, 1, 32, 32), (1, 2, 64, 64, 64), (2, 1, 16, 32, 64)],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_compiled_and_slicing_give_the_same_bits(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """On sizes past every chunk of the kernel, one and two threads, contiguous or not."""
    if _kernel.LIBRARY is None:
        pytest.skip("multires was installed without a C compiler: there is nothing to compare")
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(shape)).to(dtype)
    levels = min(shape[2:]).bit_length() - 1
    threads = torch.get_num_threads()
    try:
        for count, field in ((1, x), (2, x), (3, x.transpose(0, 1))):
            torch.set_num_threads(count)
            compiled = haar.analysis(field, levels)
            back = haar.synthesis(compiled)
            with _kernel.disabled():
                assert torch.equal(haar.to_array(haar.analysis(field, levels)), haar.to_array(compiled))
                assert torch.equal(haar.synthesis(compiled), back)
            assert (norm(back - field) <= tolerance(dtype, 64) * norm(field)).all()
    finally:
        torch.set_num_threads(threads)


@given(one=fields(coarsest=0), data=st.data())
def test_one_array_form_is_pywavelets(one: list[Tensor], data: st.DataObject) -> None:
    (x,) = one
    levels = data.draw(st.integers(0, x.shape[-1].bit_length() - 1))
    coefficients = haar.analysis(x, levels)
    array = haar.to_array(coefficients)
    theirs = [band.numpy() if isinstance(band, Tensor) else {k: v.numpy() for k, v in band.items()} for band in coefficients]
    expected = pywt.coeffs_to_array(theirs, axes=tuple(range(-dimension(x), 0)))[0] if levels else theirs[0]
    assert np.array_equal(array.numpy(), expected)
    again = haar.from_array(array, levels)
    assert torch.equal(haar.to_array(again), array)
    assert [list(level) for level in again[1:]] == [list(level) for level in coefficients[1:]]


def test_rectangles_go_down_as_far_as_asked(path: str) -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 1, 12, 8)))
    assert_bands_equal(haar.analysis(x, 2), reference(x, 2), atol=1e-14)
    assert torch.allclose(haar.synthesis(haar.analysis(x, 2)), x, atol=1e-14)


@pytest.mark.parametrize(
    ("shape", "levels", "nearest"),
    [((1, 1, 6, 6), None, "8 x 8"), ((1, 1, 30, 31), None, "32 x 32"), ((1, 1, 6, 6), 2, "8 x 8"), ((1, 1, 7), 1, "8")],
)
def test_sizes_that_do_not_fit_are_refused(shape: tuple[int, ...], levels: int | None, nearest: str) -> None:
    with pytest.raises(MultiresError, match=f"nearest that works is {nearest}$"):
        haar.analysis(torch.ones(shape), levels)
    with pytest.raises(MultiresError, match=f"nearest that works is {nearest}$"):
        haar.from_array(torch.ones(shape), levels)


def test_other_bad_arguments_are_refused() -> None:
    x = torch.ones(1, 1, 4, 4)
    with pytest.raises(MultiresError, match="floating point"):
        haar.analysis(torch.ones(1, 1, 4, 4, dtype=torch.int32))
    with pytest.raises(MultiresError, match="expected 'orthonormal' or 'l2'"):
        haar.analysis(x, normalization="L2")  # type: ignore[arg-type]
    approximation, coarse, fine = haar.analysis(x)
    assert isinstance(fine, dict)
    assert isinstance(coarse, dict)
    for broken, text in (
        ([coarse, fine], "start with the approximation"),
        ([approximation, coarse, {"da": fine["da"]}], r"details 2 hold \['da'\]"),
        ([approximation, fine, coarse], "details 1 has shape"),
        ([approximation, approximation], "details 1 hold Tensor"),
        ([], "start with the approximation"),
        ([approximation, {**coarse, "dd": coarse["dd"].double()}], "band dd of details 1 is torch.float64"),
    ):
        with pytest.raises(MultiresError, match=text):
            haar.synthesis(broken)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_gradients(path: str, d: int) -> None:
    x = torch.from_numpy(np.random.default_rng(d).standard_normal((1, 2, *[4] * d))).requires_grad_()

    def transform(t: Tensor) -> Tensor:
        return haar.to_array(haar.analysis(t, normalization="l2"))

    def inverse(t: Tensor) -> Tensor:
        return haar.synthesis(haar.from_array(t), normalization="l2")

    for function in (transform, inverse):
        assert torch.autograd.gradcheck(function, x, check_forward_ad=True, check_batched_grad=True)
        assert torch.autograd.gradgradcheck(lambda t, f=function: f(t).square(), x)


def test_gradient_through_one_band_only(path: str) -> None:
    """What is not used has no gradient to give: backward meets missing cotangents."""
    x = torch.ones(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    approximation = haar.analysis(x)[0]
    assert isinstance(approximation, Tensor)
    approximation.sum().backward()
    assert torch.equal(x.grad, torch.full((1, 1, 4, 4), 0.25, dtype=torch.float64))


def test_vmap_and_jacobian(path: str) -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 1, 1, 8)))
    batched = torch.func.vmap(lambda t: haar.to_array(haar.analysis(t)))(x)
    assert torch.equal(batched, torch.stack([haar.to_array(haar.analysis(t)) for t in x]))
    back = torch.func.vmap(lambda t: haar.synthesis(haar.from_array(t)))(batched)
    assert torch.allclose(back, x)
    matrix = torch.func.jacrev(lambda t: haar.to_array(haar.analysis(t)))(x[0]).reshape(8, 8)
    assert torch.allclose(matrix @ matrix.T, torch.eye(8, dtype=torch.float64), atol=1e-14)


def test_tensors_without_memory_or_with_lazy_signs(path: str) -> None:
    """Fake tensors have no cells to read, and the imaginary part of a conjugate is a view whose sign torch still owes."""
    with FakeTensorMode():
        assert haar.synthesis(haar.analysis(torch.empty(1, 1, 8, 8))).shape == (1, 1, 8, 8)
    z = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 1, 8, 8)) * (1 + 2j))
    lazy, plain = z.conj().imag, z.conj().imag.clone()
    assert lazy.is_neg()
    assert torch.equal(haar.to_array(haar.analysis(lazy)), haar.to_array(haar.analysis(plain)))
    assert torch.equal(haar.synthesis(haar.from_array(lazy)), haar.synthesis(haar.from_array(plain)))


def test_a_compiler_can_trace_it() -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 1, 8, 8)))
    traced = torch.compile(lambda t: haar.to_array(haar.analysis(t)), backend="eager", fullgraph=True)
    assert torch.equal(traced(x), haar.to_array(haar.analysis(x)))


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_dtype_and_device_are_kept(dtype: torch.dtype, d: int, device: str) -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 1, *[8] * d))).to(device, dtype)
    array, back = haar.to_array(haar.analysis(x)), haar.synthesis(haar.analysis(x))
    assert (array.dtype, back.dtype, array.device.type) == (dtype, dtype, device)
    assert (norm(back.double() - x.double()) <= tolerance(dtype, 8 * d) * norm(x.double()) * 2).all()


def test_a_forked_child_can_transform() -> None:
    """Threads do not survive a fork; a data loader's worker must not hang on them."""
    x = torch.ones(8, 1, 128, 128)
    haar.analysis(x)
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        haar.analysis(x)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(_kernel.LIBRARY is None, reason="multires was installed without a C compiler")
def test_the_kernel_leaves_its_input_alone() -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 2, 64, 64)))
    before = x.clone()
    coefficients = haar.analysis(x)
    kept = haar.to_array(coefficients).clone()
    haar.synthesis(coefficients)
    assert torch.equal(x, before)
    assert torch.equal(haar.to_array(coefficients), kept)

"""Linear CKA by its unbiased estimator, against sums over indices written out."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from analysis.probes import CKA
from multires import MultiresError


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def hsic(x: Tensor, y: Tensor) -> float:
    """HSIC_1 as Song et al. write it (2012, equation 5), by sums over indices."""
    n = len(x)
    k, m = ([[float(a @ b) for b in z.flatten(1)] for a in z.flatten(1)] for z in (x, y))
    pairs = list(itertools.permutations(range(n), 2))
    trace = sum(k[i][j] * m[j][i] for i, j in pairs)
    sums = sum(k[i][j] for i, j in pairs) * sum(m[i][j] for i, j in pairs)
    chain = sum(k[i][j] * m[j][l] for i, j in pairs for l in range(n) if l != j)  # noqa: E741
    return (trace + sums / ((n - 1) * (n - 2)) - 2 * chain / (n - 2)) / (n * (n - 3))


def cka(*batches: tuple[Tensor, Tensor]) -> float:
    found = CKA()
    for x, y in batches:
        found.update(x, y)
    return found.value


def related(seed: int, n: int) -> tuple[Tensor, Tensor]:
    x = draw(seed, n, 3, 2)
    return x, (x.flatten(1) @ draw(99, 6, 5) + 2 * draw(seed + 1, n, 5))[..., None, None]


@pytest.mark.parametrize("sizes", [(4,), (9,), (5, 8, 4)])
def test_cka_is_its_sums_written_out(sizes: tuple[int, ...]) -> None:
    batches = [related(10 * n, n) for n in sizes]
    xy, xx, yy = (sum(hsic(b[i], b[j]) for b in batches) for i, j in ((0, 1), (0, 0), (1, 1)))
    assert cka(*batches) == pytest.approx(xy / math.sqrt(xx * yy), rel=1e-9)


@given(st.integers(4, 12), st.integers(0, 99))
def test_cka_of_anything_with_itself_is_one(n: int, seed: int) -> None:
    x, y = related(seed, n)
    assert cka((x, x)) == pytest.approx(1, rel=1e-12)
    assert cka((x, y), (y, x)) == pytest.approx(cka((y, x), (x, y)), rel=1e-12)
    assert abs(cka((x, y))) <= 1 + 1e-12


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "orthogonal": lambda x: x.flatten(1) @ torch.linalg.qr(draw(5, 6, 6))[0],
    "scaled": lambda x: -1e5 * x,
    "shifted": lambda x: x + 1e5 * draw(6, 3, 2),
}


@pytest.mark.parametrize("name", CHANGES)
def test_cka_ignores_turns_scales_and_shifts(name: str) -> None:
    x, y = related(0, 12)
    assert cka((CHANGES[name](x), y)) == pytest.approx(cka((x, y)), rel=1e-9)
    assert cka((x * torch.tensor([1.0, 9.0]), y)) != pytest.approx(cka((x, y)), rel=1e-2)


def test_cka_of_independent_features_is_zero_where_the_biased_one_is_not() -> None:
    values, biased = [], []
    for seed in range(300):
        x, y = draw(2 * seed, 20, 8), draw(2 * seed + 1, 20, 8)
        values.append(cka((x, y)))
        k, m = ((z - z.mean(0)) @ (z - z.mean(0)).T for z in (x, y))
        biased.append(float((k * m).sum() / (k.norm() * m.norm())))
    error = float(np.std(values) / math.sqrt(len(values)))
    assert abs(np.mean(values)) <= 3 * error < 0.03
    assert min(biased) > 0.1


def test_cka_of_constant_features_is_refused() -> None:
    for value in (0.0, 0.1, 1 / 3, 1e6 / 7):
        x = torch.full((7, 3), value, dtype=torch.float64)
        with pytest.raises(MultiresError, match="constant features"):
            cka((x, draw(0, 7, 3)))
        with pytest.raises(MultiresError, match="constant features"):
            cka((draw(0, 7, 3), x))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([(3, 3)], "3 images in x, 3 in y: .*4 or more"),
        ([(5, 4)], "5 images in x, 4 in y"),
        ([], "0 batches"),
    ],
)
def test_what_has_no_cka_is_refused_in_one_line(pairs: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(MultiresError, match=message) as caught:
        cka(*((torch.ones(n, 2), torch.ones(m, 2)) for n, m in pairs))
    assert "\n" not in str(caught.value)

"""Every Hypothesis strategy of the tests, and the tolerances they are compared with."""

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

DTYPES = [torch.float64, torch.float32]
MOST_CELLS = {1: 5, 2: 3, 3: 2}  # the finest resolution drawn, for each d


def tolerance(dtype: torch.dtype, operations: int) -> float:
    """The a-priori relative error of that many rounded operations: gamma_k = k u / (1 - k u), u the unit roundoff."""
    k = operations * torch.finfo(dtype).eps / 2
    return k / (1 - k)


def values(shape: tuple[int, ...]) -> st.SearchStrategy[np.ndarray]:
    """Arrays of floats that float32 holds exactly, of sizes whose squares neither overflow nor vanish."""
    number = st.floats(-1024, 1024, width=32, allow_subnormal=False).map(lambda v: 0.0 if abs(v) < 2**-10 else v)
    return hnp.arrays(np.float64, shape, elements=number)


@st.composite
def shapes(draw: st.DrawFn, coarsest: int = 0, dyadic: bool = True) -> tuple[int, ...]:
    """(batch, channel, *spatial): equal dyadic sides of resolution `coarsest` or finer; else any even sides."""
    d = draw(st.integers(1, 3))
    lead = (draw(st.integers(1, 3)), draw(st.integers(1, 2)))
    if dyadic:
        return (*lead, *[2 ** draw(st.integers(coarsest, max(coarsest, MOST_CELLS[d])))] * d)
    return (*lead, *(2 * draw(st.integers(1, 4)) for _ in range(d)))


@st.composite
def fields(draw: st.DrawFn, coarsest: int = 0, dyadic: bool = True, count: int = 1) -> list[Tensor]:
    """`count` fields of one shape and dtype."""
    shape = draw(shapes(coarsest, dyadic))
    dtype = draw(st.sampled_from(DTYPES))
    return [torch.from_numpy(draw(values(shape))).to(dtype) for _ in range(count)]

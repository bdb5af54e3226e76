"""Claims B7 and B8: a proof of B1 to B5 in exact rational arithmetic, and the rounding of floating-point pooling."""

from collections.abc import Iterator

import numpy as np
import torch

from analysis import oracle
from analysis.defects import Pool
from analysis.evidence import Check, Context, Control, Evidence, claim
from analysis.measure import dtype_name, sample
from multires.pooling import average, blur, maximum
from multires.spaces import dimension, embed

LARGEST = {1: 64, 2: 16, 3: 4}
DENOMINATOR = 4  # of the weights along each axis, for average, max and [1 2 1] pooling and their squares
SAMPLED_BLOCKS = 128


def violations(pool: Pool, side: int, d: int) -> dict[str, tuple[int, int]]:
    """For each of B1 to B5 on one grid: how many exact identities between basis vectors are violated, and how many there are.

    float64 halves and adds the entries 0 and 1 of basis vectors without rounding, so the outputs are rationals, compared
    as fractions. P is linear, which is tried on integers: what holds for basis vectors holds for every x. Two enter in linear form:
    B2 as <pool e, w> = <e, embed w> for the Haar functions w of V_(j-1) by their definition, where the common factor of
    each resolution drops out; B4 as <e - P e, v> = 0, which is its polarisation. |P x| <= |x| follows from B1's other parts.
    """
    cells, coarse = side**d, (side // 2) ** d
    basis = torch.eye(cells, dtype=torch.float64).reshape(cells, 1, *[side] * d)
    fine_functions = torch.eye(coarse, dtype=torch.float64).reshape(coarse, 1, *[side // 2] * d)

    def exact(x: torch.Tensor) -> np.ndarray:
        return oracle.to_fractions(x.reshape(len(x), -1).numpy())

    def count(*differences: np.ndarray) -> tuple[int, int]:
        return sum(int((difference != 0).sum()) for difference in differences), sum(difference.size for difference in differences)

    def flat(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1)

    haar = _haar_functions(side // 2, d)
    identity, pooled = exact(basis), exact(pool(basis))
    averaged = truth = oracle.exact_average(identity.reshape(basis.shape), d)
    p = exact(embed(pool(basis)))
    up = exact(embed(fine_functions))
    details = torch.from_numpy(_sign_patterns(side, d))
    steps = []
    level, x = 1, pool(basis)
    while x.shape[-1] % 2 == 0:
        level, x, truth = level + 1, pool(x), oracle.exact_average(truth, d)
        at_once = average(basis, level) if pool is average else x
        steps += [exact(at_once) - exact(x), exact(x) - truth.reshape(cells, -1)]
    return {
        "linearity": count(*_linearity(pool, side, d)),
        "B1": count(
            exact(embed(pool(embed(pool(basis))))) - p,
            p - p.T,
            exact(embed(pool(embed(fine_functions)))) - up,
            exact(pool(details)),
            oracle.exact_average((identity - p).reshape(basis.shape), d),
        ),
        "B2": count(_integers(pooled, d) @ flat(haar).T * 2**d - flat(oracle.repeat(haar, d)).T * DENOMINATOR**d),
        "B3": count(pooled - flat(averaged), *steps),
        "B4": count(_integers(identity - p, d) @ _integers(up, d).T),
        "B5": count(pooled / coarse - up.T / cells),
    }


def _linearity(pool: Pool, side: int, d: int) -> list[np.ndarray]:
    """pool(a x + b y) - a pool(x) - b pool(y), without rounding: integers of 20 bits and their sums over a block fit float64."""
    rng = np.random.default_rng(side)
    x, y = (torch.from_numpy(rng.integers(-(2**20), 2**20, (8, 1, *[side] * d)).astype(float)) for _ in range(2))
    return [(pool(a * x + b * y) - a * pool(x) - b * pool(y)).numpy() for a, b in ((1, 1), (-1, 0), (3, -5))]


def _sign_patterns(side: int, d: int) -> np.ndarray:
    """The basis of U_(j-1): on each block of 2^d cells, every product of (1, 1) and (1, -1) but the constant one."""
    patterns = [np.sign(values) for (_, name, _), values in oracle.haar_functions(1, d).items() if "d" in name]
    rows = []
    for block in np.ndindex(*[side // 2] * d):
        for pattern in patterns:
            row = np.zeros([side] * d)
            row[tuple(slice(2 * i, 2 * i + 2) for i in block)] = pattern
            rows.append(row)
    return np.stack(rows)[:, None]


def _integers(x: np.ndarray, d: int) -> np.ndarray:
    """Fractions times a common denominator, so that NumPy can multiply matrices of them exactly."""
    scaled = x * DENOMINATOR**d
    if any(value.denominator != 1 for value in scaled.ravel()):
        raise ValueError(f"a pooling with weights that are no multiples of 1/{DENOMINATOR} along each axis")
    return np.asarray(scaled.astype(np.int64))


def _haar_functions(side: int, d: int) -> np.ndarray:
    """Signs of the Haar functions of a grid, one a row; where the side is not dyadic, on blocks of its dyadic part."""
    deepest = side & -side
    local = [np.sign(values).astype(np.int64) for values in oracle.haar_functions(deepest.bit_length() - 1, d).values()]
    rows = np.zeros(((side // deepest) ** d, len(local), *[side] * d), dtype=np.int64)
    for row, block in zip(rows, np.ndindex(*[side // deepest] * d), strict=True):
        inside = tuple(slice(i * deepest, (i + 1) * deepest) for i in block)
        row[(slice(None), *inside)] = local
    return rows.reshape(-1, *[side] * d)


def grids() -> Iterator[tuple[int, int]]:
    """Every (d, side) with an even side up to the largest of that dimension."""
    for d, largest in LARGEST.items():
        yield from ((d, side) for side in range(2, largest + 1, 2))


@claim(
    "B7",
    "Proof by basis: B1 to B5 hold exactly, in rationals, for all basis vectors of even grids to 64, 16 x 16 and 4 x 4 x 4 cells.",
    formula=r"\text{B1 to B5 for all } e_k \in \mathbb{Q}^{n^d},\qquad n \le 64,\ 16,\ 4 \text{ for } d = 1, 2, 3",
    kind="exact",
    control="max pooling; [1 2 1] blur: the same count on the 8 x 8 grid",
    functions=["multires.pooling.average", "multires.spaces.embed"],
)
def b7(context: Context) -> Evidence:
    """Count violated identities: none may be."""
    del context  # a proof needs no data
    tally: dict[tuple[int, str], list[int]] = {}
    for d, side in grids():
        for statement, (violated, total) in violations(average, side, d).items():
            entry = tally.setdefault((d, statement), [0, 0])
            entry[0] += violated
            entry[1] += total
    checks = [
        Check(f"{statement}, d = {d}, sides to {LARGEST[d]}: violated of {total:,} identities", violated, 0)
        for (d, statement), (violated, total) in tally.items()
    ]
    broken = {"max pooling": violations(maximum, 8, 2), "[1 2 1] blur": violations(blur, 8, 2)}
    controls = [
        Control(f"{name}, {statement} on 8 x 8", broken[name][statement][0], 0)
        for name, statements in [("max pooling", ("linearity", "B4", "B5")), ("[1 2 1] blur", ("B1", "B2", "B3"))]
        for statement in statements
    ]
    total = sum(entry[1] for entry in tally.values())
    return Evidence(checks, controls, note=f"{total:,} identities between rationals, on {len(list(grids()))} grids")


def rounding(x: torch.Tensor, levels: int, rng: np.random.Generator, arithmetic: torch.dtype, off: float = 0) -> float:
    """The largest error of pooling in `arithmetic`, over sampled blocks, in units of u |x| averaged over the block.

    u is the unit roundoff of x's own dtype; the true means are exact fractions of x's values. The result is first moved by
    `off` of these units.
    """
    d, block = dimension(x), 2**levels
    pooled = (average(x.to(arithmetic), levels).double() + off * unit_roundoff(x.dtype) * average(x.double().abs(), levels)).numpy()
    values = x.double().numpy()
    worst, u = 0.0, unit_roundoff(x.dtype)
    for flat in rng.integers(pooled.size, size=min(SAMPLED_BLOCKS, pooled.size)):
        where = np.unravel_index(flat, pooled.shape)
        inside = values[(*where[:2], *(slice(k * block, (k + 1) * block) for k in where[2:]))].ravel()
        exact = oracle.to_fractions(inside)
        error = abs(oracle.to_fractions(pooled[where].reshape(1))[0] - exact.sum() / block**d)
        size = abs(exact).sum() / block**d
        worst = max(worst, float(error / size) / u if size else (float("inf") if error else 0.0))
    return worst


def _levels(count: int) -> str:
    return f"{count} level" + "s" * (count > 1)


def unit_roundoff(dtype: torch.dtype) -> float:
    """The largest relative error of rounding to nearest: half the distance from 1 to the next number."""
    return torch.finfo(dtype).eps / 2


@claim(
    "B8",
    "Rounding: the error of average pooling stays under its a-priori bound in float64, float32 and bfloat16.",
    formula=r"|\operatorname{fl}(\operatorname{pool} x) - \operatorname{pool} x| \le \gamma_k \operatorname{pool}|x|,"
    r"\quad \gamma_k = \tfrac{k u}{1 - k u},\quad k = d\,(2^{\text{levels}} - 1)",
    kind="exact",
    control="results moved by twice their bound; the next lower precision against the same bound",
    functions=["multires.pooling.average"],
)
def b8(context: Context) -> Evidence:
    """Compare sampled blocks with exact fractions; errors and bounds in units of u."""
    checks: dict[tuple[str, str], Check] = {}
    lower = {torch.float64: torch.float32, torch.float32: torch.bfloat16}
    controls: dict[str, Control] = {}
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        for x in sample(context, dtype):
            d = dimension(x)
            deepest = (x.shape[-1] & -x.shape[-1]).bit_length() - 1
            for levels in {1, min(3, deepest)}:
                k = d * (2**levels - 1)
                bound = k / (1 - k * unit_roundoff(dtype))
                name, precision = f"error / u, {_levels(levels)}, d = {d}", dtype_name(dtype)
                measured = rounding(x, levels, context.rng, dtype)
                if (name, precision) not in checks or not measured <= checks[name, precision].measured:
                    checks[name, precision] = Check(name, measured, bound, precision)
                what = f"moved by twice the bound, {_levels(levels)}, d = {d}, {precision}"
                moved = rounding(x, levels, context.rng, dtype, off=2 * bound + 1)  # 1: float64 rounds the move itself
                if moved > (controls[what].measured if what in controls else 0):  # zeros cannot be moved
                    controls[what] = Control(what, moved, bound)
                if dtype in lower and levels == 1:
                    what = f"{dtype_name(lower[dtype])} against the bound of {precision}, d = {d}"
                    broken = rounding(x, levels, context.rng, lower[dtype])
                    if what not in controls or broken > controls[what].measured:
                        controls[what] = Control(what, broken, bound)
    return Evidence(
        list(checks.values()),
        list(controls.values()),
        note=f"{SAMPLED_BLOCKS} sampled blocks a field, true means in exact fractions",
    )

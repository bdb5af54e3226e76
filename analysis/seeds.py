"""Networks trained once with each of several seeds: intervals over seeds, and differences that are paired by them."""

from collections.abc import Iterable
from statistics import mean
from typing import Any

import numpy as np
from scipy import stats

LEVEL = 0.95
PLAIN = "own-3"  # what the networks of a study are held against
Row = dict[str, Any]


def interval(values: list[float], level: float = LEVEL) -> tuple[float, float]:
    """The t-interval of the mean over seeds; of one seed, it is everything."""
    if len(values) < 2:
        return -np.inf, np.inf
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values))
    return mean(values) - half, mean(values) + half


def plain(rows: Iterable[Row]) -> Row | None:
    """The row of a study that the others are held against; None where its runs are not finished."""
    return next((row for row in rows if row["network"] == PLAIN), None)


def over(row: Row, base: Row) -> list[float]:
    """What a network's NLL is over that of another one, for each seed that both have."""
    other = dict(zip(base["seeds"], base["nll"], strict=True))
    return [nll - other[seed] for seed, nll in zip(row["seeds"], row["nll"], strict=True) if seed in other]


def with_interval(values: list[float], form: str) -> str:
    """The mean over seeds, with its interval where there are several."""
    if not values:
        return "-"
    low, high = interval(values)
    return f"{mean(values):{form}}" + (f" ({low:{form}} to {high:{form}})" if len(values) > 1 else "")

"""Importing this package registers every claim."""

from analysis.claims import (
    brownian,
    convergence,
    diffusions,
    exactness,
    hvaes,
    learned,
    pooling,
    sampled,
    sharing,
    spaces,
    twins,
    unets,
)

__all__ = [
    "brownian",
    "convergence",
    "diffusions",
    "exactness",
    "hvaes",
    "learned",
    "pooling",
    "sampled",
    "sharing",
    "spaces",
    "twins",
    "unets",
]

"""Claims and evidence: the spine that the command, the tests, the report and the docs all read.

A claim is one function, registered under its id with `@claim`; it measures and returns `Evidence`. Every quantity is a
*defect*, a distance from what the claim says: a check must stay at or below its bound, a control, the same defect where
the claim is false, must exceed its floor. A NaN does neither. So a check that cannot fail shows up as a control that passes.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from time import perf_counter
from types import FunctionType
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor

from multires.data import Images
from multires.errors import MultiresError

Kind = Literal["exact", "convergence", "statistical"]
PICTURED = 256  # cells a side
Verdict = Literal["supported", "not supported", "skipped"]


class Skipped(Exception):
    """Raised by a claim that cannot be measured here, with the reason: its images or its weights are not of a kind it can use."""


@dataclass(frozen=True)
class Check:
    """One defect of the claim, with the bound it must not exceed."""

    what: str
    measured: float
    bound: float
    dtype: str = "float64"

    @property
    def holds(self) -> bool:
        """Whether the measured defect is within its bound; false for NaN."""
        return self.measured <= self.bound

    @property
    def ratio(self) -> float:
        """How much of the bound is used; above 1 the check fails."""
        if math.isnan(self.measured):
            return math.inf
        return self.measured / self.bound if self.bound else (0.0 if self.holds else math.inf)


@dataclass(frozen=True)
class Control:
    """The same defect on something for which the claim is false, with the floor it must exceed."""

    what: str
    measured: float
    floor: float

    @property
    def fails(self) -> bool:
        """Whether the control fails as it must; a defect that is not finite proves nothing."""
        return math.isfinite(self.measured) and self.measured > self.floor


@dataclass(frozen=True)
class Evidence:
    """What a claim measured, and arrays for its figure."""

    checks: list[Check]
    controls: list[Control]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    note: str = ""

    @property
    def worst(self) -> Check:
        """The check furthest past its bound; where all hold, the one nearest to it in float64, the precision of exact claims.

        A difference that has to be at most 0, and is below, has no such share: it comes before those that have.
        """
        return max(self.checks, key=lambda check: (not check.holds, check.dtype == "float64", check.measured < 0, check.ratio))

    @property
    def weakest(self) -> Control:
        """The control that comes nearest to passing."""
        return min(
            self.controls,
            key=lambda control: (control.fails, control.measured / control.floor if control.floor else control.measured),
        )

    def judge(self) -> tuple[Verdict, str]:
        """Return the verdict and, if it is not 'supported', which check or control is the reason."""
        if not self.checks or not self.controls:
            return "not supported", "nothing was checked" if not self.checks else "there is no control"
        if not all(check.holds for check in self.checks):
            check = self.worst
            return "not supported", f"{check.what}: {check.measured:.3g} exceeds {check.bound:.3g}"
        if not all(control.fails for control in self.controls):
            control = self.weakest
            return "not supported", f"control passes, {control.what}: {control.measured:.3g} is not above {control.floor:.3g}"
        return "supported", ""


@dataclass(frozen=True)
class Context:
    """What a claim may use: the images, and randomness of its own that the seed and its id fix."""

    images: Images
    seed: int
    id: str
    full: bool = False
    """Whether all test images are used where the first ones would do."""

    @cached_property
    def rng(self) -> np.random.Generator:
        """A NumPy generator that depends on the seed and the claim alone, not on what ran before."""
        return np.random.default_rng([self.seed, *self.id.encode()])

    @property
    def pictured(self) -> Tensor:
        """What figures show of the data: the first image's first channel, of a large one the middle, as (1, 1, y, x) in float64."""
        image = self.images.batches[0][:1, :1].double()
        top, left = (max(side - PICTURED, 0) // 2 for side in image.shape[-2:])
        return image[..., top : top + PICTURED, left : left + PICTURED]

    def normal(self, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Independent standard normal values."""
        return torch.from_numpy(self.rng.standard_normal(shape)).to(dtype)


@dataclass(frozen=True)
class Statement:
    """One checkable statement of docs/theory.md, and where it is measured."""

    id: str
    sentence: str
    formula: str
    """LaTeX."""
    kind: Kind
    control: str
    """What must fail, in words."""
    functions: tuple[str, ...]
    """The public code that it is about."""
    source: str
    """File and line of the function that measures it, as 'analysis/claims/pooling.py:38'."""


@dataclass(frozen=True)
class Claim(Statement):
    """A statement with the function that measures it."""

    measure: Callable[[Context], Evidence]


@dataclass(frozen=True)
class Result:
    """What measuring one claim gave."""

    claim: Statement
    verdict: Verdict
    reason: str
    evidence: Evidence | None
    seconds: float


GROUPS = {
    "A": "Spaces",
    "B": "Average pooling is L2 projection",
    "C": "U-Nets",
    "D": "Multi-resolution diffusions",
    "E": "Trained HVAEs",
}
"""What the letters of ids stand for."""
REGISTRY: dict[str, Claim] = {}


def claim(
    id: str, sentence: str, *, formula: str, kind: Kind, control: str, functions: Iterable[str]
) -> Callable[[Callable[[Context], Evidence]], Claim]:
    """Register a function as the claim `id`; the arguments are those of `Statement`."""

    def register(measure: Callable[[Context], Evidence]) -> Claim:
        if id in REGISTRY:
            raise ValueError(f"claim {id} is registered twice")
        line = cast(FunctionType, measure).__code__.co_firstlineno
        source = f"{measure.__module__.replace('.', '/')}.py:{line}"
        REGISTRY[id] = Claim(id, sentence, formula, kind, control, tuple(functions), source, measure)
        return REGISTRY[id]

    return register


def select(ids: Iterable[str]) -> list[Claim]:
    """Return the claims named by id (B2) or letter (B), in order; all of them when none is named."""
    names = list(ids)
    wanted = [name.upper() for name in names]
    known = sorted(REGISTRY, key=lambda id: (id[0], int(id[1:])))
    for name in names:
        if not any(name.upper() in (id, id[0]) for id in known):
            raise MultiresError(f"no claim {name!r}: known are {', '.join(known)}, or a letter for its group")
    return [REGISTRY[id] for id in known if not wanted or id in wanted or id[0] in wanted]


def run(claims: Iterable[Claim], images: Images, seed: int, full: bool = False) -> Iterator[Result]:
    """Measure the claims one by one. An exception inside a claim makes it 'not supported', with the exception as reason;

    Skipped, which a claim raises where it cannot be measured, makes it 'skipped'.
    """
    for each in claims:
        start = perf_counter()
        evidence: Evidence | None = None
        try:
            evidence = each.measure(Context(images, seed, each.id, full))
            verdict, reason = evidence.judge()
        except Skipped as why:
            verdict, reason = "skipped", str(why)
        except Exception as error:
            verdict, reason = "not supported", f"{type(error).__name__}: {error}"
        yield Result(each, verdict, reason, evidence, perf_counter() - start)

"""Two runs side by side: what is not the same."""

import math
from dataclasses import dataclass
from typing import Literal

from analysis.evidence import Result
from analysis.record import ABOUT, Run

ROUNDING = 0.01  # of a bound: what another machine's rounding may move a defect by


@dataclass(frozen=True)
class Change:
    """How a claim's result differs from the one beside it."""

    kind: Literal["verdict", "numbers", "same", "alone"]
    text: str


def claims(run: Run, other: Run) -> dict[str, Change]:
    """The change of each claim of `run` against `other`."""
    there = {result.claim.id: result for result in other.results}
    return {result.claim.id: _change(result, there.get(result.claim.id)) for result in run.results}


def missing(run: Run, other: Run) -> list[str]:
    """The claims of `other` alone."""
    here = {result.claim.id for result in run.results}
    return [result.claim.id for result in other.results if result.claim.id not in here]


def circumstances(run: Run, other: Run) -> list[tuple[str, str, str]]:
    """What they were measured with, where it differs: (name, here, there)."""
    pairs = [(name, str(getattr(run, name)), str(getattr(other, name))) for name in ABOUT if name != "versions"]
    names = dict.fromkeys([*run.versions, *other.versions])
    pairs += [(name, run.versions.get(name, "-"), other.versions.get(name, "-")) for name in names]
    return [(name, here, there) for name, here, there in pairs if here != there]


def _change(here: Result, there: Result | None) -> Change:
    if there is None:
        return Change("alone", "not in the other run")
    mine, theirs = _numbers(here), _numbers(there)
    shared = mine.keys() & theirs.keys()
    apart = {what: _apart(*mine[what], theirs[what][0]) for what in shared}
    moved = {what: by for what, by in apart.items() if by > ROUNDING}
    parts = [f"was {there.verdict}"] if here.verdict != there.verdict else []
    if moved:
        most = max(moved, key=lambda what: moved[what])
        parts.append(f"{len(moved)} of {len(shared)} numbers differ, by {100 * moved[most]:.3g} % of their bound at most ({most})")
    if unlike := len(mine.keys() ^ theirs.keys()):
        parts.append(f"{unlike} checks or controls are in one run only")
    if not parts:
        rounded = sum(by > 0 for by in apart.values())
        said = f"the same numbers, {rounded} of {len(shared)} within {100 * ROUNDING:g} % of their bound" if rounded else "the same"
        return Change("same", said)
    return Change("verdict" if here.verdict != there.verdict else "numbers", "; ".join(parts))


def _numbers(result: Result) -> dict[str, tuple[float, float]]:
    """Each number with its bound or floor."""
    if result.evidence is None:
        return {}
    checks = {f"{check.what}, {check.dtype}": (check.measured, check.bound) for check in result.evidence.checks}
    return checks | {f"control {control.what}": (control.measured, control.floor) for control in result.evidence.controls}


def _apart(x: float, bound: float, y: float) -> float:
    """|x - y| over the bound; 0 where both are the same, or neither is a number."""
    if x == y or (math.isnan(x) and math.isnan(y)):
        return 0.0
    if not (math.isfinite(x) and math.isfinite(y)):
        return math.inf
    return abs(x - y) / (abs(bound) or max(abs(x), abs(y)))

"""The spine: what counts as a check that holds, a control that fails, a verdict; selecting and running claims."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis import claims, evidence
from analysis.evidence import Check, Claim, Context, Control, Evidence, claim, run, select
from multires import MultiresError
from multires.data import Images

assert claims
IMAGES = Images("ones", "one image", (torch.ones(1, 1, 4, 4),))
GOOD, BAD = Check("good", 1e-16, 1e-13), Check("bad", 0.5, 1e-13)
FAILING, PASSING = Control("failing", 0.5, 1e-3), Control("passing", 1e-16, 1e-3)


@pytest.mark.parametrize(
    ("measured", "bound", "holds"),
    [(0, 0, True), (-0.1, 0, True), (0.1, 0, False), (1, 1, True), (1.1, 1, False), (math.nan, 1, False), (math.inf, 1, False)],
)
def test_a_check_holds_at_its_bound_and_not_for_nan(measured: float, bound: float, holds: bool) -> None:
    assert Check("", measured, bound).holds is holds
    assert (Check("", measured, bound).ratio <= 1) is holds


@pytest.mark.parametrize(
    ("measured", "floor", "fails"), [(1, 0, True), (1, 1, False), (0, 0, False), (math.nan, 0, False), (math.inf, 0, False)]
)
def test_a_control_fails_above_its_floor_and_not_for_what_is_not_finite(measured: float, floor: float, fails: bool) -> None:
    assert Control("", measured, floor).fails is fails


@pytest.mark.parametrize(
    ("checks", "controls", "verdict", "reason"),
    [
        ([GOOD], [FAILING], "supported", ""),
        ([GOOD, BAD], [FAILING], "not supported", "bad: 0.5 exceeds 1e-13"),
        ([GOOD], [FAILING, PASSING], "not supported", "control passes, passing: 1e-16 is not above 0.001"),
        ([], [FAILING], "not supported", "nothing was checked"),
        ([GOOD], [], "not supported", "there is no control"),
        ([Check("nan", math.nan, 1)], [FAILING], "not supported", "nan: nan exceeds 1"),
        ([GOOD], [Control("nan", math.nan, 0)], "not supported", "control passes, nan: nan is not above 0"),
    ],
)
def test_verdicts(checks: list[Check], controls: list[Control], verdict: str, reason: str) -> None:
    assert Evidence(checks, controls).judge() == (verdict, reason)


def test_the_headline_is_float64_unless_something_else_fails() -> None:
    single = Check("single", 9e-7, 1e-6, "float32")
    assert Evidence([GOOD, single], [FAILING]).worst is GOOD
    broken = Check("single", 2e-6, 1e-6, "float32")
    assert Evidence([GOOD, broken], [FAILING]).worst is broken
    assert Evidence([GOOD], [FAILING, PASSING]).weakest is PASSING


def test_every_claim_is_registered_in_order() -> None:
    counts = {"A": 7, "B": 8, "C": 7, "D": 6, "E": 6}
    assert [each.id for each in select([])] == [f"{letter}{k}" for letter, count in counts.items() for k in range(1, count + 1)]
    assert [each.id for each in select(["b2", "A"])] == [f"A{k}" for k in range(1, 8)] + ["B2"]


@pytest.mark.parametrize("name", ["Z", "B9", "", "B22"])
def test_an_unknown_claim_is_refused(name: str) -> None:
    with pytest.raises(MultiresError, match=f"no claim '{name}': known are A1, A2"):
        select([name])


def test_an_id_is_taken_once() -> None:
    with pytest.raises(ValueError, match="registered twice"):
        claim("A1", "", formula="", kind="exact", control="", functions=[])(lambda context: Evidence([], []))


def _claim(measure: object) -> Claim:
    return Claim("X1", "", "", "exact", "", (), "", measure)  # type: ignore[arg-type]


def test_an_exception_in_a_claim_is_a_verdict() -> None:
    def broken(context: Context) -> Evidence:
        raise RuntimeError("no such thing")

    (result,) = run([_claim(broken)], IMAGES, 0)
    assert (result.verdict, result.reason, result.evidence) == ("not supported", "RuntimeError: no such thing", None)


def test_a_stop_is_no_verdict() -> None:
    def stopped(context: Context) -> Evidence:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run([_claim(stopped)], IMAGES, 0))


def test_randomness_depends_on_seed_and_claim_alone() -> None:
    def draw(seed: int, id: str) -> np.ndarray:
        return Context(IMAGES, seed, id).rng.standard_normal(4)

    assert np.array_equal(draw(1, "A6"), draw(1, "A6"))
    assert not np.array_equal(draw(1, "A6"), draw(2, "A6"))
    assert not np.array_equal(draw(1, "A6"), draw(1, "B6"))


def test_the_registry_is_what_its_entries_say() -> None:
    for id, each in evidence.REGISTRY.items():
        assert id == each.id
        assert each.sentence.endswith(".")
        assert each.formula
        assert each.control
        for name in each.functions:
            module, _, function = name.rpartition(".")
            assert callable(getattr(__import__(module, fromlist=[function]), function))


def test_a_difference_below_zero_is_shown_before_shares_of_bounds() -> None:
    difference, share = Check("what it costs", -0.01, 0.0, "float32"), Check("share", 0.99, 1.0, "float32")
    control = [Control("other", 2.0, 1.0)]
    assert Evidence([share, difference], control).worst is difference
    assert Evidence([share, replace(difference, measured=0.01)], control).judge() == (
        "not supported",
        "what it costs: 0.01 exceeds 0",
    )
    assert Evidence([replace(difference, measured=0.0), share], control).worst is share

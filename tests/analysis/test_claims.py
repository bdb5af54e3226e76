"""Every claim on small real data, and on images that offer the controls nothing: verdicts, controls, reproducibility."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis import claims
from analysis.evidence import REGISTRY, Context, Evidence, run, select
from analysis.measure import fields, films, gap, keep_worst, lines, relative
from multires import data
from multires.data import Images
from multires.spaces import embed

assert claims
DIGITS = replace(data.load("digits"), batches=(data.load("digits").batches[0][:64],))
ON_IMAGES = ["A1", "A3", "A7", "B1", "B2", "B3", "B4", "B5", "B6", "B8"]
CONSTANT = Images(
    "constant",
    "white, black, and the smallest images there are",
    (torch.ones(2, 3, 16, 16), torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 4, 4)),
)


NOT_SUPPORTED = {"C6": "control passes, others / own band, skip at level 0: untrained "}


@pytest.mark.parametrize("id", [id for id in REGISTRY if not id.startswith("E")])  # those say what was found: test_learned.py
def test_supported(id: str, measured: dict[str, Evidence]) -> None:
    """All but those known not to be, which still have all that makes a verdict."""
    evidence = measured[id]
    verdict, reason = evidence.judge()
    assert verdict == ("not supported" if id in NOT_SUPPORTED else "supported")
    assert reason.startswith(NOT_SUPPORTED.get(id, ""))
    assert all(check.holds for check in evidence.checks)
    assert all(np.isfinite(check.measured) and check.bound >= 0 for check in evidence.checks)
    finite = {name: values for name, values in evidence.arrays.items() if values.dtype.kind == "f" and name != "margins"}
    assert all(np.isfinite(values).all() for values in finite.values())


@pytest.mark.parametrize("id", ["A1", "A3", "A7", "B1", "B2", "B3", "B4", "B5", "C1", "C3"])
def test_every_check_by_name_has_a_control_that_fails(id: str, measured: dict[str, Evidence]) -> None:
    """No check over fields is one that nothing can fail."""
    checks = {check.what.rsplit(", d = ", 1)[0] for check in measured[id].checks}
    failing = {control.what.rsplit(": ", 1)[0] for control in measured[id].controls if control.fails}
    assert checks <= failing


@pytest.mark.parametrize("id", ["C2", "C3", "C5", "C6"])
def test_images_too_small_for_the_networks_are_skipped_with_a_reason(id: str) -> None:
    (result,) = run(select([id]), DIGITS, 0)
    assert result.verdict == "skipped"
    assert "digits" in result.reason
    assert "32 x 32" in result.reason


def test_images_that_do_not_vary_have_no_covariance_to_learn() -> None:
    (result,) = run(select(["C4"]), replace(CONSTANT, batches=CONSTANT.batches[2:]), 0)
    assert (result.verdict, result.reason) == (
        "skipped",
        "constant: in no patch of 2 x 2 cells does anything vary: there are no details to find",
    )


CONSTANTS = Images("constants", "", (torch.linspace(0.1, 0.9, 40)[:, None, None, None].expand(-1, 1, 64, 64).contiguous(),))


@pytest.mark.parametrize("id", ["C2", "C3", "C4", "C5", "C6"])
def test_images_that_are_constant_say_nothing_about_networks(id: str) -> None:
    (result,) = run(select([id]), CONSTANTS, 0)
    assert (result.verdict, result.reason.partition(":")[0]) == ("skipped", "constants")


def test_images_without_fine_details_have_none_to_lose() -> None:
    coarse = torch.rand(40, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    (result,) = run(select(["C6"]), Images("coarse", "", (embed(coarse, 2),)), 0)
    assert (result.verdict, result.reason) == ("skipped", "coarse: the patches have no details at level 1 to lose")


def test_margins_of_the_other_poolings_are_what_they_are(measured: dict[str, Evidence]) -> None:
    """Max pooling and subsampling compose and are idempotent on V_(j-1); what they break is the rest."""
    arrays = measured["B6"].arrays
    at = {
        name: dict(zip(arrays["statements"], row, strict=True))
        for name, row in zip(arrays["poolings"], arrays["margins"], strict=True)
    }
    assert at["max"]["B3"] == at["subsample"]["B3"] == 0
    assert np.isnan(at["low-pass db2"]["B3"])
    assert all(at[name]["B5"] > 0.01 for name in at if name not in ("average", "low-pass haar"))


@pytest.mark.parametrize("id", [id for id in REGISTRY if id.startswith("B") and id not in ("B7", "B8")])
def test_group_b_agrees_with_pywavelets_to_rounding(id: str, measured: dict[str, Evidence]) -> None:
    for check in measured[id].checks:
        assert check.measured <= (1e-13 if check.dtype == "float64" else 1e-6)


@pytest.mark.parametrize("id", ON_IMAGES)
def test_images_without_structure_do_not_excuse_the_controls(id: str) -> None:
    assert REGISTRY[id].measure(Context(CONSTANT, 1, id)).judge() == ("supported", "")


def test_the_same_seed_gives_the_same_evidence(measured: dict[str, Evidence]) -> None:
    for id in ("A6", "B6", "B8"):
        assert REGISTRY[id].measure(Context(DIGITS, 0, id)).checks == measured[id].checks
    assert REGISTRY["A6"].measure(Context(DIGITS, 1, "A6")).checks != measured["A6"].checks


def test_brownian_intervals_cover_over_many_seeds() -> None:
    """At 1e-6 none may be outside; and the intervals are not idle: the largest deviation uses up a good part of them."""
    ratios = []
    for seed in range(6):
        evidence = REGISTRY["A6"].measure(Context(DIGITS, seed, "A6"))
        assert evidence.judge() == ("supported", "")
        ratios.append(max(check.ratio for check in evidence.checks))
    assert 0.35 < max(ratios) < 1


def test_all_images_are_measured_on() -> None:
    """One wrong value in the last image of the last batch is seen."""
    images = torch.zeros(300_000, 1, 4, 4)
    images[-1, 0, 3, 3] = 7
    seen = [float(x.max()) for x in fields(Context(Images("many", "", (images,)), 0, "B1"), torch.float32)]
    assert seen[-1] == 7


def test_fields_have_every_dimension_and_the_values_of_the_images() -> None:
    image = torch.arange(64.0).reshape(1, 1, 8, 8)
    assert lines(image).shape == (1, 8, 8)
    film = films(image)
    assert film.shape == (1, 1, 4, 4, 4)
    for frame in range(4):
        assert torch.equal(film[0, 0, frame], image[0, 0, :4, frame : frame + 4])
    shapes = [x.ndim - 2 for x in fields(Context(DIGITS, 0, "B1"), torch.float64)]
    assert set(shapes) == {1, 2, 3}


def test_relative_and_worst_do_not_lose_nan_or_zero_scales() -> None:
    zero, one, nan = torch.zeros(1, 1), torch.ones(1, 1), torch.full((1, 1), torch.nan)
    assert relative(zero, zero) == 0
    assert relative(one, zero) == np.inf
    assert np.isnan(relative(nan, one))
    assert gap(torch.full((1, 1, 4), 3.0), np.ones((1, 1, 4)), torch.full((1, 1, 4), 4.0)) == 0.5
    tally: dict[str, float] = {}
    for value in (1.0, np.nan, 2.0):
        keep_worst(tally, "x", value)
    assert np.isnan(tally["x"])

"""Claims E1, E4, E5 and E6 on the digits, which need no download: what their checks measure, and what their verdicts rest on."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from analysis import figures, reference
from analysis.claims import learned, sampled
from analysis.evidence import Context, Evidence, Skipped
from multires import data, pretrained
from multires.hvae_configs import HVAERun
from tests.analysis.test_clock import drifting
from tests.analysis.test_refinement import CONFIG

REFERENCE = reference.reference
CONTEXT = {id: Context(data.load("digits"), 0, id) for id in ("E1", "E4", "E5", "E6")}


@pytest.fixture(scope="module", autouse=True)
def digits() -> Iterator[None]:
    """The reference of a machine without MNIST."""
    net, run = pretrained.load_hvae("hvae-digits")
    found = "hvae-digits", net, run, reference.hvae_runs.held_out(run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "reference", lambda candidates=reference.CANDIDATES: found)
        learned._inferred.cache_clear()
        yield
    learned._inferred.cache_clear()


@pytest.fixture(scope="module")
def evidence(digits: None) -> dict[str, Evidence]:
    return {claim.id: claim.measure(CONTEXT[claim.id]) for claim in (learned.e1, sampled.e4, learned.e5)}


@pytest.mark.claim("E1")
def test_the_norm_of_an_untrained_network_grows_too_so_e1_is_not_supported(evidence: dict[str, Evidence]) -> None:
    found = evidence["E1"]
    assert all(check.holds for check in found.checks)
    passing = [control.what for control in found.controls if not control.fails]
    assert "1 - correlation of norm and depth, 95 %: untrained" in passing
    assert all(": untrained" in what or ": times one step late" in what for what in passing)
    assert not any("correlation" in what and "one step late" in what for what in passing)
    # within a resolution steps are told apart, in whatever order
    assert (
        "1 - R^2 of time within resolutions, read from means of channels, 95 %: times one step late within each resolution"
        in passing
    )
    # with biases as large as those that were learned each cell's states have a mean of their own, and that tells the time
    assert "1 - R^2 of time at all steps, read from means of channels, 95 %: untrained, with shuffled biases" in passing
    failing = [control.what for control in found.controls if control.fails]
    for scope in ("at all steps", "within resolutions"):
        assert f"1 - R^2 of time {scope}, read from means of channels, 95 %: untrained" in failing
    assert found.judge()[0] == "not supported"
    assert found.note.startswith("hvae-digits, ")


@pytest.mark.claim("E1")
def test_the_biases_of_the_control_are_the_learned_ones_in_another_order() -> None:
    _, trained, run, _ = reference.reference()
    plain, net, again, other = (reference.untrained(run) for _ in range(4))
    for each, seed in ((net, 0), (again, 0), (other, 1)):
        reference.bias(each, trained, seed)
    for name, parameter in net.named_parameters():
        learned, before = trained.get_parameter(name), plain.get_parameter(name)
        if name.startswith("starts.") or name.endswith("bias"):
            assert torch.equal(parameter.flatten().sort().values, learned.flatten().sort().values)
            assert learned.any()
            assert not before.any()
            assert not torch.equal(parameter, learned)
        else:
            assert torch.equal(parameter, before)
        assert torch.equal(parameter, again.get_parameter(name))
    assert any(not torch.equal(p, other.get_parameter(name)) for name, p in net.named_parameters())


@pytest.mark.claim("E4")
def test_samples_come_to_images_as_latents_are_given(evidence: dict[str, Evidence]) -> None:
    found = evidence["E4"]
    assert found.judge() == ("supported", "")
    assert len(found.checks) == len(found.controls) == 2
    assert "ELBO of 359 test images" in found.note
    assert "of 5,026 samples" in found.note
    error = found.arrays["error"][:, 0]
    assert error[-1] < 0.5 * error[0]
    assert len(found.arrays["elbo of samples"]) == len(found.arrays["temperatures"]) == 10


@pytest.mark.claim("E4")
def test_e4_sees_samples_that_are_like_images_and_latents_that_tell_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples that are images again, and errors to another image: each fails the checks that it should."""
    monkeypatch.setattr(sampled, "MANY", 400)
    _, net, _, images = reference.reference()
    like = "ELBO of images over that of samples"
    with monkeypatch.context() as patch:
        patch.setattr(
            sampled.sampling, "elbo_of_samples", lambda hvae, count, t, seed: sampled.sampling.elbo(net, images[:count], seed + 9)
        )
        found = sampled.e4.measure(CONTEXT["E4"])
        assert found.judge()[1].startswith(like)
    errors = sampled.sampling.errors
    monkeypatch.setattr(sampled.sampling, "errors", lambda hvae, x, seed: errors(hvae, x, seed)[::-1])
    failing = [check.what for check in sampled.e4.measure(CONTEXT["E4"]).checks if not check.holds]
    assert [what.split(",")[0] for what in failing] == ["error given all latents over that given none"]


@pytest.mark.claim("E5")
def test_on_the_digits_haar_is_not_the_best_basis_and_untrained_states_carry_it_too(evidence: dict[str, Evidence]) -> None:
    found = evidence["E5"]
    best, carried = found.checks  # one resolution lies between the finest and the coarsest
    assert not best.holds
    assert carried.holds
    assert found.judge()[0] == "not supported"
    assert found.judge()[1].startswith("Haar over the best other basis, 4 x 4, 95 %: ")
    untrained, another = found.controls
    assert not untrained.fails
    assert another.fails
    assert another.measured == pytest.approx(1, abs=0.05)  # another image's states explain nothing
    assert "untrained haar" in found.note


@pytest.mark.claim("E6")
def test_e6_sees_a_drift_that_is_one_in_time_and_steps_that_are_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Constant drifts come to the same likelihood in any number of steps, and to another one with steps of full length."""
    net = drifting(CONFIG).float()
    images = torch.ones(300, 1, 8, 8)
    monkeypatch.setattr(reference, "reference", lambda candidates=(): ("by hand", net, HVAERun(CONFIG, binarise="dynamic"), images))
    found = sampled.e6.measure(CONTEXT["E6"])
    assert found.judge() == ("supported", "")
    assert found.note.startswith("by hand, 250 test images; changes")
    assert sampled.e6.measure(Context(data.load("digits"), 0, "E6", full=True)).note.startswith("by hand, 300 test images; changes")
    assert "4 x 4 0.0 to 0.0 and 0.0 to 0.0 (h = 1: " in found.note
    assert f" {100 * found.controls[0].measured:.1f} to " in found.note
    assert max(check.measured for check in found.checks) < 1e-5
    assert found.arrays["refined 4 counts"].tolist() == [2, 3, 4, 6]
    assert len(figures.render("E6", found)) > 5000


def test_the_change_of_an_elbo_has_two_ends() -> None:
    whole = torch.full((100,), -50.0)
    change = torch.linspace(-1, 3, 100)
    near, far = sampled._changed(whole + change, whole)
    assert near < 1 / 50 < far
    assert near + far == pytest.approx(2 / 50)
    assert sampled._changed(whole, whole) == (0, 0)


@pytest.mark.parametrize("id", ["E1", "E4", "E5"])
def test_figures_draw_and_have_a_caption(id: str, evidence: dict[str, Evidence]) -> None:
    assert len(figures.render(id, evidence[id])) > 5000
    assert id in figures.CAPTIONS
    assert all(np.isfinite(values).all() for values in evidence[id].arrays.values() if values.dtype.kind == "f")


def test_where_no_weights_can_be_used_it_says_so() -> None:
    with pytest.raises(Skipped, match="of hvae-none and hvae-nowhere none ships"):
        REFERENCE(("hvae-none", "hvae-nowhere"))

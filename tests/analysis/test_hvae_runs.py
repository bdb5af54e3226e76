"""Training an HVAE from its command to its weights: bit for bit the same, also when interrupted, and evaluated; wrong calls."""

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from analysis import hvae_runs, runs, sheets
from analysis.resolution_line import read, write
from multires import bounds, pretrained
from multires.data import Images
from multires.hvae import HVAE
from multires.hvae_configs import Resolution
from multires.training import Evaluated, Record, Saved, Step
from tests.analysis.tiny_hvae import TINY, call, go, losses


def test_one_seed_gives_the_same_losses_and_weights_also_when_interrupted(
    trained: tuple[Path, list[Record]], tmp_path: Path
) -> None:
    folder, records = trained
    assert len(losses(records)) == 200
    begun = go(tmp_path / "half", until=93)
    rest = go(tmp_path / "half")
    assert any(isinstance(record, Saved) and record.step == 70 for record in begun)
    assert losses(begun)[:70] + losses(rest) == losses(records)
    whole, half = (load_file(place / runs.WEIGHTS) for place in (folder, tmp_path / "half"))
    assert all(torch.equal(tensor, half[name]) for name, tensor in whole.items())
    other = go(tmp_path / "other", replace(TINY, training=replace(TINY.training, seed=1)), until=5)
    assert losses(other)[0] != losses(records)[0]


def test_a_compiled_network_trains_alike_and_is_saved_under_its_own_names(
    trained: tuple[Path, list[Record]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `accelerate launch --dynamo_backend ...` asks; this backend traces the whole network and then computes as torch does."""
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "EAGER")
    torch._dynamo.utils.counters.clear()
    AcceleratorState._reset_state()  # it reads the environment once a process
    try:
        records = go(tmp_path / "compiled", replace(TINY, training=replace(TINY.training, steps=10, save_every=5)))
    finally:
        AcceleratorState._reset_state()
    assert torch._dynamo.utils.counters["frames"]["ok"] >= 1
    assert losses(records) == pytest.approx(losses(trained[1])[:10], rel=1e-6)
    assert set(load_file(tmp_path / "compiled" / runs.WEIGHTS)) == set(load_file(trained[0] / runs.WEIGHTS))


def test_it_learns_and_says_how(trained: tuple[Path, list[Record]]) -> None:
    folder, records = trained
    steps = [record for record in records if isinstance(record, Step)]
    assert sum(losses(records)[-20:]) < 0.9 * sum(losses(records)[:20])
    kl, nll = steps[-1].details["kl"], steps[-1].details["nll"]
    assert isinstance(kl, list)
    assert isinstance(nll, float)
    assert len(kl) == 3
    assert (nll + sum(kl)) / 64 == pytest.approx(steps[-1].loss, rel=1e-5)
    tested = [record for record in records if isinstance(record, Evaluated)]
    assert [record.step for record in tested] == [70, 140, 200]
    assert (folder / sheets.NAME).read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / runs.SOURCES).read_text())["step"] == 0


def test_a_sheet_is_drawn_at_each_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[Path, int]] = []
    monkeypatch.setattr(hvae_runs.sheets, "write", lambda net, test, history, path: drawn.append((path, len(history["test"]))))
    go(tmp_path, replace(TINY, training=replace(TINY.training, steps=6, save_every=2)))
    assert drawn == [(tmp_path / sheets.NAME, before) for before in (0, 1, 2)]


def test_in_bfloat16_likelihood_and_kl_are_those_of_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """The likelihood of the very state in float32; blocks compute in half the digits."""
    net, images = hvae_runs.fresh(TINY), hvae_runs.held_out(TINY)[:8]
    with torch.autocast("cpu", torch.bfloat16):
        *_, last = net.integrate(8, net.encode(images), generator=torch.Generator().manual_seed(0))
        nll, kl = net.nll(images, last.state), last.kl()
    assert nll.dtype == kl.dtype == last.state.dtype == torch.float32
    assert last.second_drift.dtype == torch.bfloat16
    assert torch.equal(nll, net.nll(images, last.state))
    (nll.mean() + kl.mean()).backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in net.parameters())


def test_the_card_says_what_the_weights_are(trained: tuple[Path, list[Record]]) -> None:
    folder, records = trained
    net, run = pretrained.load_hvae(folder)
    card = pretrained.card(folder, "hvae")
    assert run == TINY
    assert card["parameters"] == sum(p.numel() for p in net.parameters())
    assert card["test_images"] == len(hvae_runs.held_out(run)) == 359
    assert card["steps"] == 200
    (last,) = [record for record in records if isinstance(record, Evaluated) and record.step == 200]
    elbo = torch.cat([part.elbo for part in bounds.bounds(net, hvae_runs.held_out(run), 0, hvae_runs.TEST_SEED)])
    assert card["elbo"]["nats"] == pytest.approx(float(elbo.double().mean()), rel=1e-9) == pytest.approx(-last.test_loss, rel=1e-5)
    assert card["elbo"]["standard_error"] == pytest.approx(float(elbo.double().std()) / 359**0.5)
    assert card["elbo"]["bits_per_dimension"] == pytest.approx(last.test_loss / 64 / 0.6931471805599453, rel=1e-5)
    assert [step for step, _ in card["history"]["test"]] == [70, 140, 200]
    assert len(card["history"]["training"]) == 100


def test_data_that_changed_under_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, grey = tmp_path / "x.npy", np.random.default_rng(0).random((40, 8, 8), dtype=np.float32)
    np.save(path, grey)
    run = replace(TINY, data=str(path), training=replace(TINY.training, steps=2, save_every=2))
    go(tmp_path / "run", run)
    np.save(path, 3 * grey)
    assert call("evaluate", str(tmp_path / "run")) == 2
    assert re.fullmatch(r"multires: .*x.npy: values from .*; an HVAE models pixels in \[0, 1\]\n", capsys.readouterr().err)


def test_a_test_loss_that_is_not_finite_ends_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The losses of training are finite, and what is saved may be looked into."""
    real = bounds.bounds
    monkeypatch.setattr(
        bounds, "bounds", lambda *arguments: (replace(part, elbo=part.elbo * math.nan) for part in real(*arguments))
    )
    run = replace(TINY, training=replace(TINY.training, steps=6, save_every=3))
    found = [record for record in go(tmp_path / "run", run) if isinstance(record, Evaluated)]
    assert [math.isnan(record.test_loss) for record in found] == [True, True]


@pytest.mark.parametrize("group", ["a", "1", "1.5", "true", "null", "[]", "a=b"])
def test_a_group_may_have_any_name(group: str) -> None:
    resolution = Resolution(8, 2, 3, group=group)
    assert read(write(resolution)) == resolution


def test_evaluate_prints_draws_and_ships(
    trained: tuple[Path, list[Record]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = trained
    arguments = ["--draws", "20", "--sheet", str(tmp_path / "s.png"), "--ship", str(tmp_path), "--json", str(tmp_path / "e.json")]
    assert call("evaluate", str(folder), *arguments) == 0
    printed = capsys.readouterr().out
    assert re.search(r"ELBO +-\d+\.\d+ \+- \d+\.\d+ nats +\d+\.\d+ bits/dim\n +L_20 ", printed)
    assert "359 test images of digits, 256 grey values" in printed
    shipped = tmp_path / "hvae-digits.safetensors"
    card, measured = pretrained.card(shipped, "hvae"), json.loads((tmp_path / "e.json").read_text())
    assert {tensor.dtype for tensor in load_file(shipped).values()} == {torch.float16}
    assert card["elbo"] == measured["elbo"]
    assert measured["importance"]["nats"] > measured["elbo"]["nats"]
    assert card["command"].startswith("multires train hvae")
    assert call("evaluate", str(shipped), "--json", str(tmp_path / "again.json")) == 0  # what ships is what was measured
    assert json.loads((tmp_path / "again.json").read_text())["elbo"] == measured["elbo"]
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


def test_one_image_has_no_standard_error(
    trained: tuple[Path, list[Record]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("evaluate", str(trained[0]), "--images", "1", "--json", str(tmp_path / "e.json")) == 0
    assert re.search(r"ELBO +-\d+\.\d+ nats of one image +\d+\.\d+ bits/dim\n", capsys.readouterr().out)
    assert json.loads((tmp_path / "e.json").read_text())["elbo"]["standard_error"] is None


def test_a_card_of_nothing_but_the_run_is_enough_for_a_sheet(
    trained: tuple[Path, list[Record]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = pretrained.card(trained[0], "hvae")
    shutil.copy(trained[0] / runs.WEIGHTS, tmp_path / "mine.safetensors")
    (tmp_path / "mine.json").write_text(json.dumps({name: card[name] for name in ("kind", "run")}))
    assert call("evaluate", str(tmp_path / "mine.safetensors"), "--images", "9", "--sheet", str(tmp_path / "s.png")) == 0
    assert f"{card['parameters']:,} parameters; 9 test images of digits" in capsys.readouterr().out
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


def test_a_place_that_cannot_be_shipped_to_is_known_before_anything_is_measured(
    trained: tuple[Path, list[Record]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bounds, "bounds", lambda *arguments: pytest.fail("measured, with nowhere to ship it"))
    (tmp_path / "file").write_text("mine")
    assert call("evaluate", str(trained[0]), "--ship", str(tmp_path / "file")) == 2
    assert re.fullmatch(r"multires: .*file: cannot be written .*\n", capsys.readouterr().err)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_sheet_is_drawn_of_any_number_of_channels(tmp_path: Path) -> None:
    for channels in (1, 2, 3, 4):
        hvae = HVAE(replace(TINY.model, channels=channels, likelihood="bernoulli"))
        sheets.write(hvae, torch.rand(5, channels, 8, 8).round(), {}, tmp_path / "sheet.png")
        if channels == 2:
            black_and_white = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)], 1)
            assert sheets.rebuilt(hvae, black_and_white)[:8, :8].unique().tolist() == [0.5]  # the mean of its channels


def test_pixels_are_drawn_anew_at_each_step_and_once_for_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-grey images, so that only the draws differ."""
    grey = Images("grey", "", (torch.full((40, 1, 8, 8), 0.5),))
    monkeypatch.setattr(hvae_runs.data, "load", lambda name: grey)
    run = replace(TINY, model=replace(TINY.model, likelihood="bernoulli"), binarise="dynamic")
    train, _ = hvae_runs.images(run)
    one, again, other = (hvae_runs.batch_of(step, run, train)[0] for step in (0, 0, 1))
    assert set(one.unique().tolist()) == {0, 1}
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    test = hvae_runs.held_out(run)
    fixed = torch.bernoulli(torch.full_like(test, 0.5), generator=torch.Generator().manual_seed(hvae_runs.TEST_SEED))
    assert torch.equal(test, fixed)
    assert torch.equal(hvae_runs.held_out(replace(run, training=replace(run.training, seed=9))), fixed)
    assert hvae_runs.held_out(replace(run, binarise="threshold")).max() == 0  # a half is not above a half


def test_nats_are_free_in_the_first_tenth_and_the_course_is_the_elbo_all_the_same(tmp_path: Path) -> None:
    run = replace(TINY, training=replace(TINY.training, steps=40, save_every=40), free_nats=50.0)
    train, _ = hvae_runs.images(run)
    free = [hvae_runs.batch_of(step, run, train)[1:] for step in range(40)]
    assert all(torch.equal(nats, torch.full((8,), 50.0)) for (nats,) in free[:4])
    assert not any(free[4:])
    steps = [record for record in go(tmp_path, run) if isinstance(record, Step)]
    elbos = []
    for step in steps:
        nll, kl = step.details["nll"], step.details["kl"]
        assert isinstance(nll, float)
        assert isinstance(kl, list)
        counted = [max(each, 50.0) for each in kl] if step.step <= 4 else kl
        assert step.loss * 64 == pytest.approx(nll + sum(counted), rel=1e-3)
        elbos.append(nll + sum(kl))
    assert [value for _, value in sheets.history(tmp_path / "log.jsonl")["training"]] == pytest.approx(elbos)


def test_cards_are_of_all_test_images_and_of_their_pixels_inside_the_border(tmp_path: Path) -> None:
    count = 5200
    np.save(tmp_path / "many.npy", np.random.default_rng(0).integers(0, 256, (count, 4, 4)) / 255)
    model = replace(TINY.model, resolutions=(Resolution(4, 0, 1), Resolution(1)), border=1)
    training = replace(TINY.training, steps=2, save_every=2)
    go(tmp_path / "run", replace(TINY, data=str(tmp_path / "many.npy"), model=model, training=training))
    trained = pretrained.card(tmp_path / "run")
    assert call("evaluate", str(tmp_path / "run"), "--draws", "0", "--json", str(tmp_path / "card.json")) == 0
    for card in (trained, json.loads((tmp_path / "card.json").read_text())):
        assert card["test_images"] == len(hvae_runs.held_out(runs.read(tmp_path / "run"))) > hvae_runs.TEST_IMAGES  # type: ignore[arg-type]
        elbo = card["elbo"]
        assert elbo["bits_per_dimension"] == pytest.approx(-elbo["nats"] / (2 * 2 * math.log(2)))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["evaluate", "hvae-none"], "no weights 'hvae-none': shipped are"),
        (["evaluate", "unet-max"], "not the card of an HVAE's weights"),
        (["evaluate", "unet-max", "--draws", "-1"], "draws are 0 or more"),
        (["evaluate", "README.md"], "README.md: weights are .safetensors files with their card beside them"),
        (["train", "hvae", "digits", "--likelihood", "bernoulli"], "binarise = 'no' with likelihood 'bernoulli'"),
        (["train", "hvae", "digits", "--resolutions", "size=16", "size=4"], "no room for disjoint patches of 16 x 16"),
        (["train", "hvae", "digits", "--resolutions", "size=8,deep=3"], "unknown field 'deep'"),
        (["train", "hvae", "natural", "--data", "{npy}"], "values from -1 to 1; an HVAE models pixels in"),
        (["train", "unet", "denoise", "--resume", "{hvae}"], "say only: train hvae digits --resume"),
    ],
)
def test_wrong_calls_get_one_line_and_leave_nothing(
    arguments: list[str], says: str, trained: tuple[Path, list[Record]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", np.linspace(-1, 1, 40 * 64 * 64).reshape(40, 64, 64))
    arguments = [part.format(npy=tmp_path / "x.npy", hvae=trained[0]) for part in arguments]
    if arguments[0] == "train" and "--resume" not in arguments:
        arguments += ["--out", str(tmp_path / "out")]
    assert call(*arguments) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

"""The rows of `multires bench hvae`: complete, consistent, and of the right things; its times are nobody's test."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from analysis import bench_hvae, hvae_work
from analysis.cli import main
from analysis.peak import peak_mib
from analysis.undone import BY_TENSOR, IN_SAMPLING, UNDONE, within
from multires.hvae import HVAE
from multires.hvae_configs import HVAE_PRESETS, Resolution

LEVELS = (Resolution(8, 1, 2, 8), Resolution(4, 1, 1, 8))
COLOUR = HVAE_PRESETS["cifar10"]
TINY = replace(COLOUR, model=replace(COLOUR.model, resolutions=LEVELS, mixtures=2), training=replace(COLOUR.training, batch=2))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    mnist = HVAE_PRESETS["mnist"]
    monkeypatch.setattr(bench_hvae, "COLOUR", TINY)
    monkeypatch.setattr(bench_hvae, "RUNS", {"mnist": replace(mnist, model=replace(mnist.model, resolutions=LEVELS))})
    monkeypatch.setattr(bench_hvae, "PUBLISHED", {"vdvae tiny": TINY})
    monkeypatch.setattr(bench_hvae, "SECONDS_BESIDE", 0.02)
    for module in (bench_hvae, hvae_work):
        monkeypatch.setattr(module, "THREADS", 1)  # two that wait for each other on a busy machine take minutes
        monkeypatch.setattr(module, "SECONDS_ALONE", 0.02)


def test_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    compiled: list[hvae_work.Work] = []
    monkeypatch.setattr(hvae_work.Work, "compile", lambda work: compiled.append(work))  # it would take half a minute
    monkeypatch.setattr(bench_hvae.shutil, "which", lambda name: name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    threads = torch.get_num_threads()
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "hvae", "--json", str(tmp_path / "bench.json")])
    assert stopped.value.code == 0
    assert torch.get_num_threads() == threads
    assert torch.channels_last != torch.contiguous_format
    rows = json.loads((tmp_path / "bench.json").read_text())["rows"]
    timed = [row for row in rows if row["ratio"] is not None]
    cases = [f"{case}, colour{how}" for how in ("", ", compiled") for case in hvae_work.CASES]
    assert [row["case"] for row in timed] == [f"{case}, batch 2" for case in cases]
    assert [type(work.net) for work in compiled] == [HVAE]
    for row in timed:
        assert row["ratio"] == pytest.approx(row["peers"]["plain"] / row["ours_s"])
    values = {row["case"]: row["value"] for row in rows if row["ratio"] is None}
    compiling = [case for case in values if case.startswith("compiling")]
    assert compiling == [f"compiling, colour: {case}, s" for case in hvae_work.CASES]
    shares = [values[f"training step, colour: {part}, %"] for part in ("forward", "backward", "optimiser")]
    assert sum(shares) == pytest.approx(100)
    undone = {"training step": [*UNDONE, BY_TENSOR], "sampling": [*IN_SAMPLING]}
    cases = [f"{case}, colour: {name} / as it is" for case, names in undone.items() for name in names]
    assert [case for case in values if case.endswith(" / as it is")] == cases
    presets = {"mnist": 32, "vdvae tiny": 2}
    rates = [f"{name}: {case}, images/s, batch {batch}" for name, batch in presets.items() for case in hvae_work.CASES]
    assert [case for case in values if "images/s" in case] == rates
    seconds = {row["case"]: row["ours_s"] for row in rows}
    for rate in rates:
        assert values[rate] * seconds[rate] == pytest.approx(int(rate.rpartition(" ")[2]))
    if peak_mib() is not None:
        assert len([case for case in values if "MiB above" in case]) == 4 * len(hvae_work.CASES)
    assert all(value >= 0 for value in values.values())
    out = capsys.readouterr().out
    assert "plain ms" in out
    assert "images/s" in out


def test_rows_of_an_accelerator_are_over_the_plain_reading_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """On this machine's CPU, under the name of a device."""
    compiled: dict[hvae_work.Work, dict[str, bool]] = {}
    monkeypatch.setattr(hvae_work.Work, "compile", lambda work, **options: compiled.update({work: options}))
    seen: list[tuple[str, bool, dict[str, bool] | None]] = []

    def watched(call: Callable[[hvae_work.Work], None], work: hvae_work.Work) -> None:
        found = (type(work.net).__name__, torch.is_autocast_enabled("cpu"), compiled.get(work))
        if found not in seen:
            seen.append(found)
        call(work)

    for case, call in hvae_work.CASES.items():
        monkeypatch.setitem(hvae_work.CASES, case, partial(watched, call))
    rows = list(bench_hvae._accelerated("cpu"))
    cases = [f"{case}, colour, cpu{precision}" for case in hvae_work.CASES for precision in ("", ", bfloat16")]
    ways = ("", ", compiled", ", CUDA graphs")
    assert [row["case"] for row in rows] == [f"{case}{how}, batch 2" for how in ways for case in cases]
    ran = [("HVAE", in_bfloat16, options) for options in (None, {}, {"triton.cudagraphs": True}) for in_bfloat16 in (False, True)]
    assert [found for found in seen if found[0] == "HVAE"] == ran
    assert [found for found in seen if found[0] != "HVAE"] == [("PlainVDVAE", False, None)]
    monkeypatch.setattr(bench_hvae, "alone", lambda run, case, device: (1.0, None))
    on_cuda = [row["case"] for row in bench_hvae._presets("cuda")]
    assert on_cuda[0] == "mnist: training step on cuda, images/s, batch 32"
    assert len(on_cuda) == len(set(on_cuda)) == 2 * len(hvae_work.CASES)


def test_compiled_work_draws_and_learns_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a compiler that traces the whole and then computes as torch does; Inductor takes a minute."""
    real = torch.compile
    asked = []

    def compiler(call: Callable[..., object], options: dict[str, object]) -> Callable[..., object]:
        asked.append(options)
        return real(call, backend="aot_eager", fullgraph=True)

    monkeypatch.setattr(torch, "compile", compiler)
    torch.manual_seed(0)
    work, other = hvae_work.ours(TINY), hvae_work.ours(TINY)
    other.net.load_state_dict(work.net.state_dict())
    other.images = work.images
    work.compile(**{"triton.cudagraphs": True})
    results = []
    for each in (work, other):
        torch.manual_seed(1)
        each.train()
        results.append((each.net.sample(2), each.loss().detach()))
    assert torch.equal(results[0][0], results[1][0])
    assert results[0][1].item() == pytest.approx(results[1][1].item(), rel=1e-6)
    assert asked == [{"fallback_random": True, "triton.cudagraphs": True}] * 2


def test_all_that_is_timed_is_what_it_says() -> None:
    mine, theirs = hvae_work.ours(TINY), hvae_work.plain(TINY)
    assert [work.optimizer.defaults["fused"] for work in (mine, theirs)] == [True, None]
    assert len(mine.parameters) == 1 < len(theirs.parameters)
    for work in (mine, theirs):
        before = [parameter.clone() for parameter in work.net.parameters()]
        work.evaluate()
        work.sample()
        assert all(torch.equal(a, b) for a, b in zip(before, work.net.parameters(), strict=True))
        work.train()
        assert not all(torch.equal(a, b) for a, b in zip(before, work.net.parameters(), strict=True))
        assert all(parameter.grad is None or not parameter.grad.any() for parameter in work.net.parameters())


def test_what_is_measured_is_the_case_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, str]] = []
    for each in hvae_work.CASES:
        monkeypatch.setitem(hvae_work.CASES, each, lambda work, each=each: called.append((each, type(work.net).__name__)))
    hvae_work._measured(TINY, "sampling", "plain", torch.get_num_threads(), 0.0, "cpu")
    assert set(called) == {("sampling", "PlainVDVAE")}
    called.clear()
    found = hvae_work.in_turns({"first": TINY, "second": TINY}, "evaluation")
    assert list(found) == ["first", "second"]
    assert set(called) == {("evaluation", "HVAE")}
    assert hvae_work.in_turns({}, "evaluation") == {}


def test_the_layout_is_undone_and_comes_back() -> None:
    with UNDONE["contiguous layout"]():
        net = hvae_work.ours(TINY).net
        assert all(parameter.is_contiguous() for parameter in net.parameters())
    assert not all(parameter.is_contiguous() for parameter in hvae_work.ours(TINY).net.parameters())


@pytest.mark.parametrize("name", UNDONE)
def test_what_is_undone_computes_the_same(name: str) -> None:
    """Loss and gradients, although the code that is left out was not called."""
    work = hvae_work.ours(TINY)
    work.net.double()
    work.images = work.images.double()
    found = []

    def losses() -> None:
        torch.manual_seed(0)
        loss = work.loss()
        found.append([loss, *torch.autograd.grad(loss, list(work.net.parameters()))])

    losses()
    within(UNDONE[name], losses)()
    for with_it, without in zip(*found, strict=True):
        assert torch.allclose(with_it, without, rtol=1e-9, atol=1e-12)
    in_float64_the_same = ("contiguous layout", "GELU by torch, not oneDNN")
    assert any(not torch.equal(a, b) for a, b in zip(*found, strict=True)) or name in in_float64_the_same

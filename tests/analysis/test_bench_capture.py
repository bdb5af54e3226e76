"""The benchmark of capture: its rows, and ratios that one slow turn does not move."""

import pytest
import torch

from analysis import bench_capture


def test_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_capture, "SHAPE", (2, 3, 8, 8))
    monkeypatch.setattr(bench_capture, "REPETITIONS", 1)
    monkeypatch.setattr(bench_capture, "IMAGES", (1_000, 10_000))
    threads = torch.get_num_threads()
    *timed, memory = bench_capture.capture_rows()
    assert torch.get_num_threads() == threads
    cases = [(row["case"].split(",")[0], row["case"].rpartition(", ")[2]) for row in timed]
    nets = [("modules", "24 channels"), ("functions", "24 channels"), ("shipped U-Net's poolings", "unet-average")]
    assert len(cases) == 6
    for index, (pooled, what) in enumerate(nets):
        case = cases[2 * index][0]
        assert pooled in case
        assert cases[2 * index : 2 * index + 2] == [(case, what), (case, "CPU time")]
    for row in timed:
        assert row["ratio"] == pytest.approx(row["peers"]["plain forward"] / row["ours_s"])
    assert memory["ratio"] is None
    assert memory["value"] < 18 < bench_capture.growth(1_000, 10_000, "Keep") / 2  # a busy machine gives pages back late


def test_ratios_are_medians_of_turns_so_that_a_slow_turn_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_capture, "REPETITIONS", 5)
    now, costs = 0.0, {"ours": 3.0, "plain": 2.0}
    called: list[str] = []

    def call(name: str) -> None:
        nonlocal now
        called.append(name)
        now += costs[name] * (50 if called.count(name) == 6 else 1)

    by_clock, by_another = bench_capture.paired(lambda: call("ours"), lambda: call("plain"), [lambda: now, lambda: 10 * now])
    assert by_clock == pytest.approx((2 / 3, 3, 2))
    assert by_another == pytest.approx((2 / 3, 30, 20))
    assert called[0] != called[4]  # either goes first in turn

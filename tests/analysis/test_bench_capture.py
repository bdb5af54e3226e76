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
    cost = [("capture of pooling modules", time) for time in ("24 channels", "CPU time")]
    assert cases == [*cost, *(("capture of pooling functions", time) for _, time in cost)]
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

    found = bench_capture.paired(lambda: call("ours"), lambda: call("plain"), lambda: now)
    assert found == pytest.approx((2 / 3, 3, 2))
    assert called[0] != called[2 * (bench_capture.CALLS_A_TURN + 1)]  # either goes first in turn

"""The rows of `multires bench audit`: what they compare; its times are nobody's test."""

import pytest

from analysis import bench_audit
from multires.configs import UNetConfig


def test_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_audit, "CONFIG", UNetConfig(channels=1, widths=(4, 8)))
    monkeypatch.setattr(bench_audit, "SIDE", 16)
    monkeypatch.setattr(bench_audit, "BATCHES", (2,))
    times, memory = bench_audit.audit_rows()
    assert "2 x 1 x 16 x 16" in times["case"]
    assert times["ratio"] == pytest.approx(times["peers"]["plain forward"] / times["ours_s"])
    assert times["ratio"] < 1  # an audit runs the network, several times
    assert memory["value"] >= 1
    assert memory["ours_s"] == times["ours_s"]


def test_the_network_is_as_large_as_it_is_said_to_be() -> None:
    assert 25e6 < sum(parameter.numel() for parameter in bench_audit.UNet(bench_audit.CONFIG).parameters()) < 35e6

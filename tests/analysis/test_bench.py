"""The benchmark's rows: complete, consistent, and of the right things; its times are nobody's test."""

import json
from pathlib import Path

import pytest
import torch

from analysis import bench
from analysis.cli import main
from multires import _kernel


def test_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench, "SHAPES", ((1, 2, 16, 16),))
    monkeypatch.setattr(bench, "SCALING", range(4, 9, 2))
    monkeypatch.setattr(bench, "SECONDS", 0.02)
    threads = torch.get_num_threads()
    with pytest.raises(SystemExit) as stopped:
        main(["bench", "haar", "--json", str(tmp_path / "bench.json")])
    assert stopped.value.code == 0
    assert torch.get_num_threads() == threads
    rows = json.loads((tmp_path / "bench.json").read_text())["rows"]
    timed = [row for row in rows if row["ratio"] is not None]
    paths = ["compiled", "slicing"] if _kernel.LIBRARY else ["slicing"]
    assert [row["case"] for row in timed] == [
        f"{direction} 1 x 2 x 16 x 16, {path}" for path in paths for direction in ("forward", "inverse", "gradient")
    ]
    for row in timed:
        assert row["ratio"] == pytest.approx(min(row["peers"].values()) / row["ours_s"])
        assert row["copies"] == pytest.approx(row["ours_s"] / row["copy_s"])
        assert set(row["peers"]) == ({"ptwt"} if row["case"].startswith("gradient") else {"PyWavelets", "ptwt"})
    values = {row["case"]: row["value"] for row in rows if row["ratio"] is None}
    assert 1 < values.pop("peak memory / input, forward of 2^26 cells", 2) < 3
    assert list(values) == ["exponent of cost, 2^4 to 2^8 cells"]
    out = capsys.readouterr().out
    assert "PyWavelets ms" in out
    assert "exponent of cost" in out

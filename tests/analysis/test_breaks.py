"""Break one line of a copy of the project, and see `multires verify` name the claims that fell."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BREAKS = {
    "max instead of average pooling": (
        "multires/pooling.py",
        "x = (blocks.select(axis + 1, 0) + blocks.select(axis + 1, 1)) * 0.5",
        "x = torch.maximum(blocks.select(axis + 1, 0), blocks.select(axis + 1, 1))",
        {"B1", "B2", "B3", "B4", "B5"},
    ),
    "blocks summed instead of averaged when going down at once": (
        "multires/pooling.py",
        "blocks.mean(axis + 1)",
        "blocks.sum(axis + 1)",
        {"B3"},
    ),
    "the sign of cV, by slicing": (
        "multires/_transform.py",
        "_split_into(bands[half:], torch.sub(p, q, out=scratch), axis - 1, scale)",
        "_split_into(bands[half:], torch.sub(q, p, out=scratch), axis - 1, scale)",
        {"A2", "B2"},
    ),
    "the sign of cV, traced": (
        "multires/_transform.py",
        "return [p + q, p - q] if axis == 2 else _split(p + q, axis - 1) + _split(p - q, axis - 1)",
        "return [p + q, p - q] if axis == 2 else _split(p + q, axis - 1) + _split(q - p, axis - 1)",
        {"A2"},
    ),
    "details dealt out under each other's names": (
        "multires/haar.py",
        '"ad"[band >> axis & 1] for axis in range(d)',
        '"ad"[band >> (d - 1 - axis) & 1] for axis in range(d)',
        {"A2", "B2"},
    ),
    "embedding shifted by a cell": (
        "multires/spaces.py",
        "x = x.repeat_interleave(2**levels, axis)",
        "x = x.repeat_interleave(2**levels, axis).roll(1, axis)",
        {"A1", "B1", "B4", "B5"},
    ),
    "coefficients of another norm": (
        "multires/haar.py",
        "rest / math.sqrt(math.prod(spatial))",
        "rest / math.prod(spatial)",
        {"A2", "A3", "B2"},
    ),
    "inner product without the cell volume": (
        "multires/spaces.py",
        "(f * g).flatten(2).mean(-1)",
        "(f * g).flatten(2).sum(-1)",
        {"A5", "B4"},
    ),
    "one precision lower inside": (
        "multires/pooling.py",
        "        blocks = x.unflatten(axis, (-1, 2**levels))",
        "        blocks = x.float().to(x.dtype).unflatten(axis, (-1, 2**levels))",
        {"B1", "B8"},
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_line_makes_claims_fall(name: str, tmp_path: Path) -> None:
    file, line, broken, expected = BREAKS[name]
    for package in ("multires", "analysis"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    text = (tmp_path / file).read_text()
    assert text.count(line) == 1, f"{file} no longer holds the line this test breaks"
    (tmp_path / file).write_text(text.replace(line, broken))
    asked = sorted(expected)
    done = subprocess.run(
        [sys.executable, "-m", "analysis", "verify", *asked, "--data", "digits", "--out", str(tmp_path / "out")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    record = json.loads((tmp_path / "out" / "evidence.json").read_text())
    assert {each["id"] for each in record["claims"] if each["verdict"] == "not supported"} == expected
    for id in expected:
        assert f"{id} not supported: " in done.stdout

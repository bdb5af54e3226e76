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
        {"B3", "C4"},
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
        'mode="nearest")',
        'mode="nearest").roll(1, -1)',
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
    "a skip shifted by a cell": (
        "multires/unet.py",
        "skips.append(self.skips[level](x - embed(coarse)))",
        "skips.append(self.skips[level](x - embed(coarse)).roll(1, -1))",
        {"C1"},
    ),
    "average pooling that is max pooling, in U-Nets": ("multires/unet.py", '"average": average', '"average": maximum', {"C2"}),
    "absolute instead of squared errors to train on": (
        "multires/tasks.py",
        "(net(x) - target).square().mean()",
        "(net(x) - target).abs().mean()",
        {"C3"},
    ),
    "s instead of s^2 in the Wiener filter": (
        "analysis/wiener.py",
        "self.covariance + self.noise**2 * self.identity",
        "self.covariance + self.noise * self.identity",
        {"C4"},
    ),
    "low-pass filters turned around": (
        "multires/pooling.py",
        "for tap in reversed(taps)]",
        "for tap in taps]",
        {"C5"},
    ),
    "means over half of each cell": (
        "multires/spaces.py",
        "torch.from_numpy((t + 1) / 2)) / n",
        "torch.from_numpy((t + 1) / 4)) / n",
        {"C7"},
    ),
    "cells of Brownian motion without their volume": (
        "multires/brownian.py",
        "math.sqrt(math.prod(normals.shape[2:]) * h)",
        "math.sqrt(h)",
        {"D1"},
    ),
    "noise scaled by h": (
        "multires/diffusion.py",
        "sde.diffusion(t, state, dw), h)",
        "sde.diffusion(t, state, dw * h**0.5), h)",
        {"D2", "D3"},
    ),
    "the integrator's second drift at the old state": (
        "multires/diffusion.py",
        "sde.second_drift(t, middle), h)",
        "sde.second_drift(t, state), h)",
        {"D3", "D4", "D5"},
    ),
    "a cell's second drift at the old state": (
        "multires/cells.py",
        "second = self.second_drift(middle, time)",
        "second = self.second_drift(state, time)",
        {"D5"},
    ),
    "twice the variance of a process from a point": (
        "multires/exact.py",
        "-math.expm1(-2 * rate * h) / (2 * rate)",
        "-math.expm1(-2 * rate * h) / rate",
        {"D6"},
    ),
    "latents that are given but not taken": (
        "multires/hvae.py",
        "latent = latents[number].to(state) if number < len(latents) else None",
        "latent = None",
        {"E4"},
    ),
}
TRAINED = {"C2", "C3", "C5"}  # they need patches of 32 x 32, which digits are too small for; fewer will do here
FEWER = {
    "analysis/shipped.py": ("FIT, HELD = 384, 192", "FIT, HELD = 48, 24"),
    "analysis/claims/unets.py": ("MANY_PATCHES, CONTROL_PATCHES = 1000, 64", "MANY_PATCHES, CONTROL_PATCHES = 64, 16"),
}


def replace_line(path: Path, line: str, other: str) -> None:
    text = path.read_text()
    assert text.count(line) == 1, f"{path} no longer holds the line this test breaks"
    path.write_text(text.replace(line, other))


def copy_of_the_project(folder: Path) -> None:
    for package in ("multires", "analysis"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    for file, (line, fewer) in FEWER.items():
        replace_line(folder / file, line, fewer)


def verify(folder: Path, asked: set[str]) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run the copy's own command; return what it did and the claims that fell."""
    images = "natural" if asked & TRAINED else "digits"
    done = subprocess.run(
        [sys.executable, "-m", "analysis", "verify", *sorted(asked), "--data", images, "--out", str(folder / "out")],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    record = json.loads((folder / "out" / "evidence.json").read_text())
    return done, {each["id"] for each in record["claims"] if each["verdict"] == "not supported"}


def test_the_claims_of_trained_networks_stand_in_an_unbroken_copy(tmp_path: Path) -> None:
    """What makes them fall below is the break, not the few patches."""
    copy_of_the_project(tmp_path)
    done, fallen = verify(tmp_path, TRAINED)
    assert not fallen, done.stdout
    assert done.returncode == 0
    assert "skipped" not in done.stdout


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_line_makes_claims_fall(name: str, tmp_path: Path) -> None:
    file, line, broken, expected = BREAKS[name]
    copy_of_the_project(tmp_path)
    replace_line(tmp_path / file, line, broken)
    done, fallen = verify(tmp_path, expected)
    assert done.returncode == 1, done.stdout + done.stderr
    assert fallen == expected
    for id in expected:
        assert f"{id} not supported: " in done.stdout

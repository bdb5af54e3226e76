"""`multires audit` on code and on weights, and the mistakes that can be made with it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from analysis import builders, cli
from multires import vdvae
from multires.hvae import HVAE
from multires.hvae_configs import HVAEConfig, Resolution

CODE = """
import torch
from torch import nn

class Net(nn.Sequential):
    pass

def build():
    return Net(nn.Conv2d(3, 4, 3, padding=1), nn.AvgPool2d(2), nn.Upsample(scale_factor=2), nn.Conv2d(4, 3, 1))

ready = build()
number = 3

def listed():
    return [build()]

def raises():
    raise KeyError("one\\ntwo")

def leaves():
    raise SystemExit(0)
"""
SMALL = HVAEConfig(
    (Resolution(8, 1, 1), Resolution(4, 1, 1)), channels=3, width=16, latents=4, likelihood="logistic-mixture", mean=0.5, std=0.25
)


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MULTIRES_DATA", str(tmp_path / "data"))
    Path("net_of_a_user.py").write_text(CODE)
    Path("broken_net.py").write_text("import nothing_of_this_name\n")
    Path("script.py").write_text("import sys\nsys.exit(2)\n")


def called(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(["audit", *arguments])
    return int(str(caught.value.code))


def test_code_by_file_and_by_module(capsys: pytest.CaptureFixture[str]) -> None:
    for network in ("net_of_a_user.py:build", "net_of_a_user:build", "net_of_a_user.py:ready"):
        assert called(network, "--input", "4x3x16x16", "--json", "a.json", "--figure", "a.png") == 0
        out = capsys.readouterr().out
        assert f"{network}: Net, 127 parameters; 4 x 3 x 16 x 16, standard normal noise" in out
        assert " 1 Haar projection, exact\n 2 Haar embedding, exact\n" in out
        found = json.loads(Path("a.json").read_text())
        assert [(site["kind"], site["path"], site["verdict"]) for site in found["sites"]] == [
            ("average pooling", "1", "Haar projection, exact"),
            ("interpolation (nearest)", "2", "Haar embedding, exact"),
        ]
        assert Path("a.png").read_bytes().startswith(b"\x89PNG")
        Path("a.json").unlink()


def test_images_of_a_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("net_of_a_user.py:build", "--data", "natural", "--input", "8x3x32x32") == 0
    assert "8 x 3 x 32 x 32, images of natural, grey in all 3 channels" in capsys.readouterr().out


def test_a_network_of_one_resolution(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("torch.nn:Identity", "--input", "4x3x32x32") == 0
    out = capsys.readouterr().out
    assert "no site found" in out
    assert "cells" not in out


def test_weights(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    names = {"0.weight": (4, 3, 3, 3), "0.bias": (4,), "3.weight": (3, 4, 1, 1), "3.bias": (3,)}
    save_file({name: torch.randn(shape) for name, shape in names.items()}, "w.safetensors")
    assert called("net_of_a_user.py:build", "--weights", "w.safetensors", "--input", "1x3x8x8") == 0
    capsys.readouterr()
    save_file({"0.weight": torch.zeros(4, 3, 3, 3)}, "w.safetensors")
    assert called("net_of_a_user.py:build", "--weights", "w.safetensors", "--input", "1x3x8x8") == 2
    assert "is missing" in capsys.readouterr().err


def test_shipped_networks(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("hvae-digits") == 0
    out = capsys.readouterr().out
    assert "images of digits as the network's task has them" in out
    assert out.count("Haar projection, exact") == out.count("Haar embedding, exact") == 2
    assert called("unet-max", "--input", "2x1x32x32") == 0
    assert capsys.readouterr().out.count(" not linear: sliced max; ") == 4


def test_openai_state_dict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    save_file({name: tensor.contiguous() for name, tensor in vdvae.to_openai(HVAE(SMALL)).items()}, "theirs.safetensors")
    assert called("theirs.safetensors", "--input", "2x3x8x8") == 2
    assert "none of openai/vdvae's published networks (cifar-10: " in capsys.readouterr().err
    monkeypatch.setitem(vdvae.PRESETS, "small", SMALL)
    assert called("theirs.safetensors", "--input", "2x3x8x8", "--json", "v.json") == 0
    kinds = [(site["kind"], site["verdict"]) for site in json.loads(Path("v.json").read_text())["sites"]]
    assert kinds == [("average pooling", "Haar projection, exact"), ("interpolation (nearest)", "Haar embedding, exact")]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing_of_this_name:build"], "importing it raised ModuleNotFoundError"),
        (["missing.py:build"], "missing.py: no such file"),
        (["broken_net.py:build"], "broken_net.py: importing it raised ModuleNotFoundError"),
        (["net_of_a_user.py:buil"], "has no 'buil'; the nearest: build"),
        (["net_of_a_user.py:number"], "is a int: name what returns a torch.nn.Module"),
        (["net_of_a_user.py:listed"], "returned a list"),
        (["net_of_a_user.py:raises"], "raises() raised KeyError"),
        (["net_of_a_user.py:leaves"], "leaves() raised SystemExit: 0"),
        (["script.py:build"], "script.py: importing it raised SystemExit: 2"),
        (["net_of_a_user.py:build", "--input", "99999x3x9999x9999"], "--input 99999x3x9999x9999: takes 111,735 GiB or more"),
        (["net_of_a_user.py:build"], "on what? --input"),
        (["net_of_a_user.py:build", "--input", "1x4x8x8"], "Net raised RuntimeError"),
        (["net_of_a_user.py:build", "--input", "1x3x0x8"], "--input 1x3x0x8"),
        (["net_of_a_user.py:build", "--input", "images"], "--input images"),
        (["net_of_a_user.py:build", "--input", "1x3x8x8", "--weights", "missing.safetensors"], "missing.safetensors: no such file"),
        (["net_of_a_user.py:build", "--data", "nothing"], "no data set or file 'nothing'"),
        (["net_of_a_user.py:build", "--data", "natural", "--input", "1x3x8x16"], "images are square"),
        (["net_of_a_user.py:build", "--data", "natural", "--input", "9999x3x64x64"], "kept back"),
        (["hvae-digits", "--weights", "w.safetensors"], "names weights already"),
        (["hvae-digit"], "no weights 'hvae-digit'"),
        (["hvae-mnist"], "mnist"),
        (["net_of_a_user.py:build", "--input", "1x3x8x8", "--json", "."], "is a folder"),
    ],
)
def test_mistakes(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path for path in Path().rglob("*") if "__pycache__" not in path.parts}
    extra = [] if "--json" in arguments else ["--json", "a.json", "--figure", "a.png"]
    assert called(*arguments, *extra) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("multires: ")
    assert err.count("\n") == 1
    assert says in err
    assert {path for path in Path().rglob("*") if "__pycache__" not in path.parts} == before


def test_not_safetensors_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"a": torch.zeros(1)}, "alone.safetensors")
    assert called("alone.safetensors", "--input", "1x3x8x8") == 2
    assert "no card alone.json beside it" in capsys.readouterr().err


def test_reconstruction_is_the_networks_own() -> None:
    """Its likelihood's parameters are those that the ELBO is computed from, with the same noise."""
    torch.manual_seed(0)
    hvae, x = HVAE(SMALL).eval(), torch.rand(2, 3, 8, 8)
    torch.manual_seed(1)
    parameters = builders.Reconstruction(hvae)(x)
    torch.manual_seed(1)
    nll, _ = hvae(x)
    torch.testing.assert_close(hvae.likelihood.nll(x, parameters).flatten(1).sum(1), nll)


def test_a_figure_of_no_known_format_is_refused_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("net_of_a_user.py:build", "--input", "1x3x8x8", "--figure", "new/net.xyz") == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", "multires: new/net.xyz: figures are written as .svg, .pdf, .png\n")
    assert not Path("new").exists()

"""VDVAE's presets and weights against facts about openai/vdvae, and values that its network gave in float64."""

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file, save
from torch import Tensor

from multires import vdvae
from multires.errors import MultiresError
from multires.hvae import HVAE
from multires.hvae_configs import HVAEConfig, Resolution

FIXTURES = Path(__file__).parents[1] / "fixtures"
EXPECTED = json.loads((FIXTURES / "openai_vdvae_small.json").read_text())["expected"]
INPUTS = load_file(FIXTURES / "openai_vdvae_small.inputs.safetensors")
SMALL = HVAEConfig(  # enc_blocks 8x2,8d2,4x2,4d4,1x1 and dec_blocks 1x1,4m1,4x2,8m4,8x2
    (Resolution(8, 2, 3), Resolution(4, 2, 3), Resolution(1, 1, 1)),
    channels=3,
    width=16,
    latents=4,
    likelihood="logistic-mixture",
    mean=120.63838 / 255,
    std=64.16736 / 255,
)


def state() -> dict[str, Tensor]:
    return load_file(FIXTURES / "openai_vdvae_small.state.safetensors")


@pytest.mark.parametrize(
    ("name", "parameters", "steps", "blocks"),
    [
        ("cifar-10", 39_145_700, 43, 33),
        ("imagenet-32", 119_280_868, 78, 48),
        ("imagenet-64", 125_005_860, 75, 65),
        ("ffhq-256", 114_874_852, 66, 68),
    ],
)
def test_published_networks_have_their_sizes(name: str, parameters: int, steps: int, blocks: int) -> None:
    with torch.device("meta"):
        hvae = HVAE(vdvae.preset(name))
    assert sum(parameter.numel() for parameter in hvae.parameters()) == parameters
    assert len(hvae.cells) == hvae.config.steps == steps
    assert len(hvae.encoder.blocks) == blocks


@pytest.mark.parametrize(
    ("name", "encoder", "decoder", "shift", "scale"),
    [  # hps.py and data.py of openai/vdvae; shift and scale of pixels from 0 to 255
        (
            "cifar-10",
            "32x11,32d2,16x6,16d2,8x6,8d2,4x3,4d4,1x3",
            "1x1,4m1,4x2,8m4,8x5,16m8,16x10,32m16,32x21",
            -120.63838,
            1 / 64.16736,
        ),
        (
            "imagenet-32",
            "32x15,32d2,16x9,16d2,8x8,8d2,4x6,4d4,1x6",
            "1x2,4m1,4x4,8m4,8x9,16m8,16x19,32m16,32x40",
            -116.2373,
            1 / 69.37404,
        ),
        (
            "imagenet-64",
            "64x11,64d2,32x20,32d2,16x9,16d2,8x8,8d2,4x7,4d4,1x5",
            "1x2,4m1,4x3,8m4,8x7,16m8,16x15,32m16,32x31,64m32,64x12",
            -115.92961967,
            1 / 69.37404,
        ),
        (
            "ffhq-256",
            "256x3,256d2,128x8,128d2,64x12,64d2,32x17,32d2,16x7,16d2,8x5,8d2,4x5,4d4,1x4",
            "1x2,4m1,4x3,8m4,8x4,16m8,16x9,32m16,32x21,64m32,64x13,128m64,128x7,256m128",
            -112.8666757481,
            1 / 69.84780273,
        ),
    ],
)
def test_published_networks_have_their_blocks_and_scale_pixels_as_published(
    name: str, encoder: str, decoder: str, shift: float, scale: float
) -> None:
    config, sizes, blocks, cells = vdvae.preset(name), list[int](), Counter[int](), Counter[int]()
    for size, kind, count in re.findall(r"(\d+)([xd])(\d+)", encoder):
        if kind == "x":
            sizes.append(int(size))
            blocks[int(size)] += int(count)
    for size, kind, count in re.findall(r"(\d+)([xm])(\d+)", decoder):
        cells[int(size)] += int(count) if kind == "x" else 1  # m: one that also reads the coarser state
    assert [(r.size, r.encoder_blocks, r.steps) for r in config.resolutions] == [(n, blocks[n], cells[n]) for n in sizes]
    assert (255 * 0.3 + shift) * scale == pytest.approx((0.3 - config.mean) / config.std, rel=1e-12)


def test_every_key_of_cifar_10_has_its_shape() -> None:
    with torch.device("meta"):
        hvae = HVAE(vdvae.preset("cifar-10"))
    keys = json.loads((FIXTURES / "openai_vdvae_cifar10_keys.json").read_text())
    assert {key: list(tensor.shape) for key, tensor in vdvae.to_openai(hvae).items()} == keys


@pytest.mark.parametrize("kind", ["zero", "given"])
def test_the_network_gives_the_published_codes_values(kind: str) -> None:
    hvae = vdvae.from_openai(state(), SMALL).double()
    images = INPUTS["pixels"].permute(0, 3, 1, 2).double() / 255
    noise = [INPUTS[f"eps_{k:02d}"].double() * (kind == "given") for k in range(SMALL.steps)]
    with torch.no_grad():
        steps = list(hvae.integrate(len(images), hvae.encode(images), noise=noise))
        distortion = hvae.nll(images, steps[-1].state).mean() / hvae.dimensions
    kl = torch.stack([step.kl() for step in steps]).mean(1)
    rate, expected = kl.sum() / hvae.dimensions, EXPECTED[kind]
    assert float(distortion) == pytest.approx(expected["distortion"], rel=1e-6)
    assert float(rate) == pytest.approx(expected["rate"], rel=1e-6)
    assert float(distortion + rate) == pytest.approx(expected["elbo"], rel=1e-6)
    if kind == "zero":
        assert kl.tolist() == pytest.approx(expected["kl_per_block_nats"], rel=1e-6)
        last = (steps[-1].state * hvae.gain + hvae.bias).detach()
        wanted = INPUTS["state_out_zero"].double()
        assert float((last - wanted).norm() / wanted.norm()) < 1e-6


def test_export_and_import_are_each_others_inverse() -> None:
    given = state()
    back = vdvae.to_openai(vdvae.from_openai(given, SMALL))
    assert set(back) == set(given)
    assert all(torch.equal(back[key], given[key]) for key in given)
    torch.manual_seed(1)
    hvae = HVAE(SMALL)
    again = vdvae.from_openai(vdvae.to_openai(hvae), SMALL)
    assert all(torch.equal(tensor, again.state_dict()[key]) for key, tensor in hvae.state_dict().items())


def test_what_is_exported_can_be_saved_and_comes_back() -> None:
    """safetensors takes contiguous tensors alone, and an HVAE has its channels last."""
    hvae = HVAE(SMALL)
    assert not all(tensor.is_contiguous() for tensor in hvae.state_dict().values())
    again = vdvae.from_openai(load(save(vdvae.to_openai(hvae))), SMALL)
    assert all(torch.equal(tensor, again.state_dict()[key]) for key, tensor in hvae.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_weights_of_other_precisions_are_taken_in_float32(dtype: torch.dtype) -> None:
    given = {key: tensor.to(dtype) for key, tensor in state().items()}
    back = vdvae.to_openai(vdvae.from_openai(given, SMALL))
    assert all(torch.equal(back[key], tensor.float()) for key, tensor in given.items())
    assert {tensor.dtype for tensor in back.values()} == {torch.float32}


def test_the_keys_of_data_parallel_are_known() -> None:
    given = state()
    back = vdvae.to_openai(vdvae.from_openai({f"module.{key}": tensor for key, tensor in given.items()}, SMALL))
    assert set(back) == set(given)
    assert all(torch.equal(back[key], given[key]) for key in given)


def test_the_state_dict_is_copied() -> None:
    given = state()
    hvae = vdvae.from_openai(given, SMALL)
    given["decoder.gain"].zero_()
    vdvae.to_openai(hvae)["decoder.gain"].zero_()
    assert hvae.gain.abs().sum() > 0


def test_other_state_dicts_are_refused_in_one_line() -> None:
    whole = state()
    key = "decoder.dec_blocks.3.z_proj.weight"
    for wrong, reason in (
        ({k: v for k, v in whole.items() if k != key}, f"{key} is missing \\(1 of {len(whole)} keys are\\)"),
        (whole | {"decoder.dec_blocks.7.z_proj.weight": whole[key]}, "decoder.dec_blocks.7.z_proj.weight has no place"),
        (whole | {key: whole[key][:-1]}, f"{key} has shape \\(15, 4, 1, 1\\); this configuration's is \\(16, 4, 1, 1\\)"),
        ({}, "is missing \\(247 of 247"),
        (whole | {7: whole[key], "x": whole[key]}, "state dict: 7 has no place"),
        (whole | {key: whole[key].tolist()}, f"{key} is list; weights are tensors of floating-point numbers"),
        (whole | {key: None}, f"{key} is NoneType; weights"),
        (whole | {key: whole[key].long()}, f"{key} is a tensor of torch.int64"),
        (whole | {key: whole[key].to_sparse()}, rf"{key} is a tensor of torch.float32 \(torch.sparse_coo, on cpu\); weights"),
        (whole | {key: whole[key].to("meta")}, rf"{key} is a tensor of torch.float32 \(torch.strided, on meta\); weights"),
        (whole | {key: whole[key].to(torch.complex64)}, rf"{key} is a tensor of torch.complex64 \(.*\); weights"),
        ({("" if k == key else "module.") + k: v for k, v in whole.items()}, "is missing"),
        (whole | {key: whole[key] * torch.inf}, f"{key} has values that are NaN or infinite"),
        (whole | {key: torch.full_like(whole[key], torch.nan)}, f"{key} has values that are NaN"),
        (whole | {key: whole[key].double() * 1e300}, f"{key} has values that are NaN or infinite, as torch.float32"),
    ):
        with pytest.raises(MultiresError, match=reason) as caught:
            vdvae.from_openai(wrong, SMALL)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        replace(SMALL, time_input=True),
        replace(SMALL, normalise=True),
        replace(SMALL, resolutions=(Resolution(8, 2, 3, shared=True), *SMALL.resolutions[1:])),
        replace(SMALL, likelihood="bernoulli"),
        replace(SMALL, channels=1),
        replace(SMALL, cell_bottleneck=0.5),
        replace(SMALL, resolutions=(Resolution(8, 2, 3, width=8), *SMALL.resolutions[1:])),
    ],
    ids=["time", "normalised", "shared", "bernoulli", "grey", "cell bottleneck", "finest width"],
)
def test_what_vdvae_has_not_cannot_be_exchanged(config: HVAEConfig) -> None:
    with pytest.raises(MultiresError, match=r"\A.*; this configuration differs\Z"):
        vdvae.to_openai(HVAE(config))
    with pytest.raises(MultiresError, match=r"\A.*; this configuration differs\Z"):
        vdvae.from_openai(state(), config)


def test_another_width_below_the_finest_resolution_can_be_exchanged() -> None:
    hvae = HVAE(replace(SMALL, resolutions=(SMALL.resolutions[0], Resolution(4, 2, 3, width=8), SMALL.resolutions[2])))
    again = vdvae.from_openai(vdvae.to_openai(hvae), hvae.config)
    assert all(torch.equal(tensor, again.state_dict()[key]) for key, tensor in hvae.state_dict().items())


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(MultiresError, match="no published network 'cifar': known are cifar-10, imagenet-32"):
        vdvae.preset("cifar")

"""VDVAE, the published HVAE: its configurations, and its weights from and to the names that openai/vdvae gives them.

Its network is an `HVAE` with a cell of its own at each step. Architectures and the statistics of the data by which its inputs
are scaled are those of openai/vdvae (hps.py, data.py). Source: arXiv 2011.10650.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from multires import checkpoints
from multires.errors import MultiresError
from multires.hvae import HVAE
from multires.hvae_configs import HVAEConfig, Resolution


def _config(width: int, mean: float, std: float, *resolutions: tuple[int, int, int]) -> HVAEConfig:
    return HVAEConfig(
        tuple(Resolution(size, blocks, steps) for size, blocks, steps in resolutions),
        channels=3,
        width=width,
        latents=16,
        likelihood="logistic-mixture",
        mean=mean / 255,
        std=std / 255,
    )


PARALLEL = "module."
PRESETS = {
    "cifar-10": _config(384, 120.63838, 64.16736, (32, 11, 22), (16, 6, 11), (8, 6, 6), (4, 3, 3), (1, 3, 1)),
    "imagenet-32": _config(512, 116.2373, 69.37404, (32, 15, 41), (16, 9, 20), (8, 8, 10), (4, 6, 5), (1, 6, 2)),
    "imagenet-64": _config(512, 115.92961967, 69.37404, (64, 11, 13), (32, 20, 32), (16, 9, 16), (8, 8, 8), (4, 7, 4), (1, 5, 2)),
    "ffhq-256": _config(
        512,
        112.8666757481,
        69.84780273,
        (256, 3, 1),
        (128, 8, 8),
        (64, 12, 14),
        (32, 17, 22),
        (16, 7, 10),
        (8, 5, 5),
        (4, 5, 4),
        (1, 4, 2),
    ),
}


def preset(name: str) -> HVAEConfig:
    """The configuration of a published network: 'cifar-10', 'imagenet-32', 'imagenet-64' or 'ffhq-256'."""
    if name not in PRESETS:
        raise MultiresError(f"no published network {name!r}: known are {', '.join(PRESETS)}")
    return PRESETS[name]


def _names(hvae: HVAE) -> dict[str, str]:
    """From our names to those of openai/vdvae."""
    config = hvae.config
    plain = replace(config, time_input=False, normalise=False, cell_bottleneck=None, likelihood="logistic-mixture", channels=3)
    finest = config.width_at(config.resolutions[0])
    if plain != config or len(hvae.cells) != config.steps or finest != config.width:
        raise MultiresError(
            "openai/vdvae has a cell of its own at each step, no time input, no normalisation, one bottleneck, colour, a mixture of"
            " logistics, and at the finest resolution the width that is named for all; this configuration differs"
        )
    names = {"encoder.stem": "encoder.in_conv", "encoder.blocks": "encoder.enc_blocks", "head": "decoder.out_net.out_conv"}
    for cell in range(len(hvae.cells)):
        for ours, theirs in (("posterior", "enc"), ("prior", "prior"), ("projection", "z_proj"), ("residual", "resnet")):
            names[f"cells.{cell}.{ours}"] = f"decoder.dec_blocks.{cell}.{theirs}"
    found = {}
    for key in hvae.state_dict():
        if key in ("gain", "bias") or key.startswith("starts."):
            found[key] = "decoder." + key.replace("starts", "bias_xs")
        else:
            owner = next(name for name in names if key.startswith(f"{name}."))
            found[key] = names[owner] + key.removeprefix(owner)
    return found


def from_openai(state_dict: Mapping[str, Tensor], config: HVAEConfig) -> HVAE:
    """The HVAE of a configuration with the weights of an openai/vdvae state dict, in evaluation mode.

    Where all keys begin with 'module.', as DataParallel writes them, that is taken off.
    Raises MultiresError, which names the first, for a key that is missing or in surplus, for another shape, and for what is no
    tensor of finite floating-point numbers.
    """
    if all(str(key).startswith(PARALLEL) for key in state_dict):
        state_dict = {str(key).removeprefix(PARALLEL): value for key, value in state_dict.items()}
    with torch.device("meta"):
        hvae = HVAE(config)
    names = _names(hvae)
    if missing := [theirs for theirs in names.values() if theirs not in state_dict]:
        raise MultiresError(f"state dict: {missing[0]} is missing ({len(missing)} of {len(names)} keys are)")
    if extra := sorted(map(str, set(state_dict) - set(names.values()))):
        raise MultiresError(f"state dict: {extra[0]} has no place in this configuration ({len(extra)} of {len(state_dict)} keys)")
    for ours, tensor in hvae.state_dict().items():
        found = state_dict[names[ours]]
        if not isinstance(found, Tensor) or not found.is_floating_point() or found.layout != torch.strided or found.is_meta:
            what = f"a tensor of {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
            where = f" ({found.layout}, on {found.device})" if isinstance(found, Tensor) else ""
            raise MultiresError(f"state dict: {names[ours]} is {what}{where}; weights are tensors of floating-point numbers")
        if tensor.shape != found.shape:
            raise MultiresError(
                f"state dict: {names[ours]} has shape {tuple(found.shape)}; this configuration's is {tuple(tensor.shape)}"
            )
        if not bool(found.to(tensor.dtype).isfinite().all()):
            raise MultiresError(
                f"state dict: {names[ours]} has values that are NaN or infinite, as {tensor.dtype}; weights are finite"
            )
    hvae = hvae.to_empty(device="cpu")
    checkpoints.load_into(hvae, {ours: state_dict[theirs] for ours, theirs in names.items()}, "state dict")
    return hvae.eval()


def to_openai(hvae: HVAE) -> dict[str, Tensor]:
    """The weights under the names of openai/vdvae, for its code to load."""
    names = _names(hvae)
    # contiguous: safetensors take no other, and ours may have their channels last
    return {names[key]: t.detach().clone(memory_format=torch.contiguous_format) for key, t in hvae.state_dict().items()}

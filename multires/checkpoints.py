"""Weights and the state of a training on disk: safetensors for tensors, JSON for the rest, nothing half-written, no pickle.

A checkpoint is a folder, named by its step, that is written beside its place and renamed into it: it is there whole or not at
all. Weights are one safetensors file and one JSON file, the *card*, that says what the network is and where it comes from.
"""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from multires import files
from multires.errors import MultiresError

STATE = "state.json"
NAME = re.compile("[0-9]{8,}")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; MultiresError where it is missing or damaged."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise MultiresError(f"{path}: no such file") from None
    except (OSError, SafetensorError) as error:
        raise MultiresError(f"{path}: not a whole safetensors file ({error})") from None


def unshared(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a module's state, each under the first of the names that tie it: tied weights are stored once."""
    first: dict[tuple[int, torch.Size], tuple[str, Tensor]] = {}
    for name, tensor in module.state_dict().items():
        first.setdefault((tensor.data_ptr() if tensor.numel() else id(tensor), tensor.shape), (name, tensor))
    return dict(first.values())


def load_into(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Copy tensors that `unshared` gave into a module of the same names and shapes.

    Raises MultiresError, and changes nothing, where names, shapes or kinds of numbers differ, and where values are not finite.
    """
    own = unshared(module)
    if missing := sorted(set(own) - set(tensors)):
        raise MultiresError(f"{where}: {missing[0]} is missing ({len(missing)} of {len(own)} tensors are)")
    if extra := sorted(set(tensors) - set(own)):
        raise MultiresError(f"{where}: {extra[0]} belongs to another network ({len(extra)} of {len(tensors)} tensors do)")
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            raise MultiresError(f"{where}: {name} has shape {tuple(tensors[name].shape)}, the network's is {tuple(tensor.shape)}")
        if tensor.is_floating_point() != tensors[name].is_floating_point():
            raise MultiresError(f"{where}: {name} is of {tensors[name].dtype}, the network's is of {tensor.dtype}")
        if not bool(tensors[name].to(tensor.dtype).isfinite().all()):
            raise MultiresError(f"{where}: {name} has values that are NaN or infinite, as {tensor.dtype}; weights are finite")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def write_weights(path: Path, module: nn.Module, card: Mapping[str, Any], dtype: torch.dtype | None = None) -> None:
    """Write `path` (.safetensors) and its card beside it (.json), floating-point tensors in `dtype` if one is given."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in unshared(module).items()}
    if dtype is not None:
        tensors = {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}
    files.require_writable(path)
    files.write_json(path.with_suffix(".json"), card)  # first: whoever finds weights finds their card
    files.write(path, save(tensors))


def steps(folder: Path) -> list[int]:
    """The steps of the checkpoints in a folder, in order."""
    return sorted(int(path.name) for path in folder.glob("[0-9]*") if NAME.fullmatch(path.name) and (path / STATE).is_file())


def write(folder: Path, step: int, parts: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> Path:
    """Write the checkpoint of a step, then remove the older ones: `parts` are files of tensors by name, `state` is JSON."""
    place, beside = folder / f"{step:08d}", folder / f".{step:08d}"
    if (place / STATE).is_file():  # it came from the same run at the same step: keep what is whole
        return place
    try:
        for unfinished in (beside, place):
            shutil.rmtree(unfinished, ignore_errors=True)
        beside.mkdir(parents=True)
        for name, tensors in parts.items():
            (beside / f"{name}.safetensors").write_bytes(save({key: t.detach().cpu().contiguous() for key, t in tensors.items()}))
        files.write_json(beside / STATE, state)
        for file in beside.iterdir():
            with file.open("rb+") as written:
                os.fsync(written.fileno())
        beside.rename(place)
    except (OSError, SafetensorError) as error:
        raise MultiresError(f"{place}: cannot be written ({error})") from None
    for before in steps(folder):
        if before < step:
            shutil.rmtree(folder / f"{before:08d}")
    return place

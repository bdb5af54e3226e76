"""All of a training that changes from step to step, and its way into a checkpoint and back."""

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from multires import checkpoints, files
from multires.errors import MultiresError
from multires.flat import flatten

BYTES = 16384  # room for the state of Python's or NumPy's generator as JSON, padded so that processes have rows of one length


class State:
    """Model, average of the weights, optimiser, schedule and counts; with several processes, each holds its own."""

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        learning_rate: float,
        weight_decay: float,
        ema: float,
        share: Callable[[int], float],
        identity: str = "",
    ) -> None:
        self.accelerator, self.step, self.seconds = accelerator, 0, 0.0
        self.skipped = self.skipped_in_a_row = 0
        self.identity = identity
        # copied before `prepare`, which has the forward pass of what it is given compute in lower precision
        self.ema = AveragedModel(model, accelerator.device, multi_avg_fn=get_ema_multi_avg_fn(ema), use_buffers=True)
        self.model = accelerator.prepare(model)
        self.parameters = flatten(self.bare)  # once they are where they will stay
        optimizer = torch.optim.AdamW(self.parameters, learning_rate, weight_decay=weight_decay, fused=True)
        self.optimizer = accelerator.prepare(optimizer)
        # on the bare optimizer: one step of ours is one step of the schedule, however many processes share it
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer.optimizer, share)

    @property
    def bare(self) -> nn.Module:
        """The model without what Accelerate wrapped around it."""
        module: nn.Module = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        return module

    def save(self, folder: Path) -> Path:
        """Write a checkpoint; with several processes each hands its random state to the first, which writes."""
        states = self.accelerator.gather(_random_tensors(self.accelerator.device))
        place = folder / f"{self.step:08d}"
        if self.accelerator.is_main_process:
            optimizer = self.optimizer.optimizer.state_dict()
            moments = {f"{i}.{name}": torch.as_tensor(t) for i, entry in optimizer["state"].items() for name, t in entry.items()}
            parts = {
                "model": checkpoints.unshared(self.bare),
                "ema": checkpoints.unshared(self.ema),
                "optimizer": moments,
                "random": states,
            }
            state = {
                "step": self.step,
                "seconds": self.seconds,
                "skipped": self.skipped,
                "skipped_in_a_row": self.skipped_in_a_row,
                "processes": self.accelerator.num_processes,
                "precision": self.accelerator.mixed_precision,
                "identity": self.identity,
                "moments": sorted(moments),
                "groups": optimizer["param_groups"],
                "schedule": self.scheduler.state_dict(),
            }
            place = checkpoints.write(folder, self.step, parts, state)
        self.accelerator.wait_for_everyone()
        return place

    def load(self, folder: Path) -> None:
        """Take up the newest checkpoint of a folder, if there is one."""
        found = checkpoints.steps(folder)
        if not found:
            return
        place = folder / f"{found[-1]:08d}"
        try:
            self._take_up(place)
        except (KeyError, IndexError, AttributeError, TypeError, ValueError, RuntimeError) as error:
            raise MultiresError(f"{place}: not a checkpoint of this training ({type(error).__name__}: {error})") from None

    def _take_up(self, place: Path) -> None:
        state = files.read_json(place / checkpoints.STATE)
        checkpoints.load_into(self.bare, checkpoints.read_tensors(place / "model.safetensors"), str(place))
        checkpoints.load_into(self.ema, checkpoints.read_tensors(place / "ema.safetensors"), str(place))
        entries: dict[int, dict[str, Tensor]] = {}
        parameters = [parameter for group in self.optimizer.optimizer.param_groups for parameter in group["params"]]
        moments = checkpoints.read_tensors(place / "optimizer.safetensors")
        if sorted(moments) != state["moments"]:
            raise ValueError("optimizer.safetensors holds other moments than were written")
        for key, tensor in moments.items():
            index, _, name = key.partition(".")
            parameter = parameters[int(index)]
            if tensor.shape == parameter.shape:  # fused optimisers take moments to lie in memory as their parameters do
                tensor = torch.empty_like(parameter).copy_(tensor)
            elif name != "step":  # and read as far as their parameters reach
                raise ValueError(f"moment {key} has shape {tuple(tensor.shape)}, its parameter {tuple(parameter.shape)}")
            entries.setdefault(int(index), {})[name] = tensor
        self.optimizer.optimizer.load_state_dict({"state": entries, "param_groups": state["groups"]})
        self.scheduler.load_state_dict(state["schedule"])
        if state["precision"] != self.accelerator.mixed_precision:
            raise ValueError(f"computed with mixed precision {state['precision']!r}, now {self.accelerator.mixed_precision!r}")
        if state["identity"] != self.identity:
            raise ValueError("it was written by a run of other settings")
        if state["step"] != int(place.name):
            raise ValueError(f"step {state['step']!r} in a folder named {place.name}")
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.skipped, self.skipped_in_a_row = int(state["skipped"]), int(state["skipped_in_a_row"])
        if state["processes"] == self.accelerator.num_processes:
            rows = checkpoints.read_tensors(place / "random.safetensors")
            _set_random(rows, self.accelerator.process_index, self.accelerator.device)


def random_states(device: torch.device) -> dict[str, Any]:
    """The states of the global generators: Python's, NumPy's, torch's, and the device's where it has one of its own."""
    numpy = np.random.get_state(legacy=False)  # noqa: NPY002 - the global generator is what has to be kept
    states = {"python": random.getstate(), "numpy": numpy, "torch": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_random_states(states: Mapping[str, Any], device: torch.device) -> None:
    """Put the global generators into the states that `random_states` gave."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def _random_tensors(device: torch.device) -> dict[str, Tensor]:
    """The same as one row of bytes each, so that processes can be stacked."""
    states = random_states(device)
    states["numpy"]["state"] = {name: np.asarray(value).tolist() for name, value in states["numpy"]["state"].items()}
    for name in ("python", "numpy"):
        states[name] = torch.frombuffer(bytearray(json.dumps(states[name]).encode().ljust(BYTES)), dtype=torch.uint8)
    return {name: row[None].to(device) for name, row in states.items()}


def _set_random(rows: Mapping[str, Tensor], process: int, device: torch.device) -> None:
    states: dict[str, Any] = {name: row[process] for name, row in rows.items()}
    python, states["numpy"] = (json.loads(bytes(states[name].tolist())) for name in ("python", "numpy"))
    states["python"] = (python[0], tuple(python[1]), python[2])
    set_random_states(states, device)

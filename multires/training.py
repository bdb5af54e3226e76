"""One training loop for every model: a generator of typed records.

It knows no model: it is given a module, a loss, and a function from a step's number to that step's batch, so the position in
the data is the number of the step. Accelerate places it on what there is (CPU, one GPU, several, several machines, bfloat16), as
`accelerate launch` was told; each process takes its share of the same global batch, so the losses do not depend on how many there
are. Checkpoints hold everything that the next step depends on: a run that was stopped goes on bit for bit on the same device.
"""

import contextlib
import json
import math
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from types import FrameType

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import GradientAccumulationPlugin, parse_flag_from_env, set_seed
from torch import Tensor, nn

from multires import files, memory
from multires.configs import TrainingConfig
from multires.errors import MultiresError
from multires.finite import first_not_finite
from multires.flat import attached
from multires.state import State, random_states, set_random_states

Batch = tuple[Tensor, ...]
Batches = Callable[[int], Batch]
"""From the number of a step to its global batch: tensors with the batch as first axis, the same in every process."""
Loss = Callable[[nn.Module, Batch], tuple[Tensor, Mapping[str, Tensor]]]
"""The mean over a batch, and what else goes into the log; it calls the module it is given, which may be wrapped, and leaves its
gradients where they are: `zero_grad(set_to_none=False)`, if it needs them."""
CHECKPOINTS, LOG = "checkpoints", "log.jsonl"


@dataclass(frozen=True)
class Started:
    """The run begins, or goes on after `step` steps."""

    step: int
    parameters: int
    device: str
    processes: int


@dataclass(frozen=True)
class Step:
    """One step was taken: the loss before it, the gradient's norm before it was shortened, and the seconds it took.

    `skipped` counts the updates left out so far; `details` is what the loss gave besides its value.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    seconds: float
    skipped: int = 0
    details: Mapping[str, float | list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluated:
    """The averaged weights were evaluated after `step` steps."""

    step: int
    test_loss: float


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written."""

    step: int
    path: str


@dataclass(frozen=True)
class Finished:
    """All steps were taken; `model` has the averaged weights. `seconds` counts the time in steps over all sessions."""

    step: int
    seconds: float
    model: nn.Module


Record = Started | Step | Evaluated | Saved | Finished


class Stopped(KeyboardInterrupt):
    """Ctrl-C, after the step it came in was finished and saved."""


def processes() -> PartialState:
    """Accelerate's view of this process among the others of the run, if there are any.

    Accelerate joins processes on CPUs only if it is told that there is nothing else; left alone each would run for itself.
    """
    return PartialState(cpu=_cpu_only())


def leave() -> None:
    """Part from the other processes of the run, if there are any: threads of the group must not outlive the interpreter."""
    processes().destroy_process_group()


def _cpu_only() -> bool:
    return parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()


def schedule(config: TrainingConfig) -> Callable[[int], float]:
    """The learning rate of a step as a share of the largest: linear over the warm-up, then half a cosine to zero."""

    def share(step: int) -> float:
        if step < config.warmup:
            return (step + 1) / config.warmup
        return 0.5 * (1 + math.cos(math.pi * (step - config.warmup) / max(1, config.steps - config.warmup)))

    return share


class _Log:
    """Records as lines of JSON; on resuming, the lines after the checkpoint are cut off, they will be written again."""

    def __init__(self, path: Path, step: int, writes: bool) -> None:
        self.path, self.writes = path, writes
        if writes:
            files.require_writable(path)
            kept = []
            for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
                with contextlib.suppress(ValueError, TypeError, KeyError):  # a line cut short when the machine stopped, or damaged
                    record = json.loads(line)
                    if 0 < step >= record["step"] and record["record"] != "finished":
                        kept.append(line)
            files.write(path, "".join(line + "\n" for line in kept).encode())

    def __call__(self, record: Record) -> Record:
        if self.writes:
            fields = {name: value for name, value in vars(record).items() if name != "model"}
            files.append_json(self.path, {"record": type(record).__name__.lower(), **fields})
        return record


class _Interrupt:
    """Turns the first Ctrl-C into a note, so that a step is never cut in two; the second stops at once."""

    def __init__(self, active: bool) -> None:
        self.came, self._active = False, active and threading.current_thread() is threading.main_thread()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.came:
            raise KeyboardInterrupt
        self.came = True

    def __enter__(self) -> "_Interrupt":
        if self._active:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._active:
            signal.signal(signal.SIGINT, self._before)


def fit(
    model: nn.Module,
    loss: Loss,
    batches: Batches,
    config: TrainingConfig,
    directory: Path,
    evaluate: Callable[[nn.Module], float] | None = None,
    tensorboard: bool = False,
    identity: str = "",
) -> Iterator[Record]:
    """Train a model, from the newest checkpoint in `directory` if there is one, and yield what happens.

    Writes `directory`/log.jsonl, and a checkpoint every `save_every` steps and at the end; with `tensorboard` also that log.
    `evaluate` is given the averaged weights whenever a checkpoint is written. The global random generators are seeded.
    `identity` says what the run is, in any words: a checkpoint that was written under other ones is refused.
    Ctrl-C finishes the step, saves and raises Stopped; with several processes the run goes on from its last checkpoint.

    Raises MultiresError where the batch cannot be shared evenly, where the loss takes gradients away or is no longer finite, with
    the module in which numbers first are not, and where more updates in a row than `config.skip_limit` are left out.
    """
    accelerator = Accelerator(
        cpu=_cpu_only(),
        log_with="tensorboard" if tensorboard else None,
        project_dir=directory,
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),  # else the launcher's would divide each gradient
    )
    if config.batch % accelerator.num_processes:
        raise MultiresError(
            f"batch = {config.batch}: {accelerator.num_processes} processes share it evenly, so it must be a multiple of that"
        )
    if tensorboard:
        accelerator.init_trackers("tensorboard")
    if accelerator.device.type == "cpu":
        memory.keep_freed()
    set_seed(config.seed, device_specific=True)
    state = State(accelerator, model, config.learning_rate, config.weight_decay, config.ema, schedule(config), identity)
    state.load(directory / CHECKPOINTS)
    log = _Log(directory / LOG, state.step, accelerator.is_main_process)
    parameters = sum(parameter.numel() for parameter in state.bare.parameters())
    yield log(Started(state.step, parameters, str(accelerator.device), accelerator.num_processes))
    size = config.batch // accelerator.num_processes
    mine = slice(accelerator.process_index * size, (accelerator.process_index + 1) * size)
    with _Interrupt(accelerator.num_processes == 1) as interrupt:
        while state.step < config.steps:
            start = perf_counter()
            rate = float(state.scheduler.get_last_lr()[0])
            batch = tuple(tensor[mine].to(accelerator.device) for tensor in batches(state.step))
            value, norm, details = _update(state, loss, batch, config)
            state.step += 1
            stopping = interrupt.came  # once a step: a Ctrl-C that comes after this is kept for the next, which saves
            regular = state.step % config.save_every == 0 or state.step == config.steps
            saving = regular or stopping
            if saving or state.step % config.log_every == 0:
                mean = float(accelerator.reduce(value, "mean"))
                seconds = perf_counter() - start
                means = {name: accelerator.reduce(tensor, "mean").tolist() for name, tensor in details.items()}
                accelerator.log({"loss": mean, "learning_rate": rate, "gradient_norm": norm} | _flat(means), state.step)
                yield log(Step(state.step, mean, rate, norm, seconds, state.skipped, means))
            state.seconds += perf_counter() - start
            if saving:
                if evaluate and regular:
                    state.ema.module.eval()
                    yield log(Evaluated(state.step, evaluate(state.ema.module)))
                yield log(Saved(state.step, str(state.save(directory / CHECKPOINTS))))
            if stopping and state.step < config.steps:
                raise Stopped(f"stopped after step {state.step} of {config.steps}, saved in {directory}")
    if tensorboard:
        accelerator.end_training()
    averaged: nn.Module = state.ema.module.eval()
    yield log(Finished(state.step, state.seconds, averaged))


def _update(state: State, loss: Loss, batch: Batch, config: TrainingConfig) -> tuple[Tensor, float, dict[str, Tensor]]:
    """One step of the optimiser; returns the loss before it, the gradient's norm, and the details."""
    state.model.train()
    before = random_states(state.accelerator.device)
    value, details = loss(state.model, batch)
    if not attached(state.bare, state.parameters):  # the optimiser would follow zeros, without a word
        raise MultiresError(
            f"step {state.step + 1}: the loss took the model's gradients away; zero_grad(set_to_none=False) leaves them in place"
        )
    state.accelerator.backward(value)
    norm = float(state.accelerator.clip_grad_norm_(state.parameters, config.clip))
    ending = config.skip_above is None or state.skipped_in_a_row + 1 == config.skip_limit  # no update more can be left out
    if not math.isfinite(value.item()) or (ending and not math.isfinite(norm)):
        set_random_states(before, state.accelerator.device)  # the same noise again
        found = first_not_finite(state.bare, lambda model: loss(model, batch)[0])
        raise MultiresError(
            f"step {state.step + 1}: loss {value.item()}, gradient {norm}; "
            + f"the first number that is not finite {found}; " * bool(found)
            + f"lower the learning rate, {config.learning_rate}, or clip below {config.clip}, in another run"
        )
    if config.skip_above is None or norm <= config.skip_above:
        state.optimizer.step()
        state.ema.update_parameters(state.bare)
        state.skipped_in_a_row = 0
    else:
        state.skipped += 1
        state.skipped_in_a_row += 1
        if state.skipped_in_a_row >= config.skip_limit:
            raise MultiresError(
                f"step {state.step + 1}: {config.skip_limit} updates in a row were left out, the last for a gradient of norm"
                f" {norm:.3g}, beyond skip_above = {config.skip_above}; raise it, or lower the learning rate,"
                f" {config.learning_rate}, in another run"
            )
    with warnings.catch_warnings(action="ignore"):  # that the schedule went on without the optimiser, where the first is left out
        state.scheduler.step()
    state.optimizer.zero_grad(set_to_none=False)
    return value.detach(), norm, {name: tensor.detach() for name, tensor in details.items()}


def _flat(details: Mapping[str, float | list[float]]) -> dict[str, float]:
    """One number a name, as trackers want it."""
    lists = {name: value if isinstance(value, list) else [value] for name, value in details.items()}
    return {f"{name}/{index}": number for name, values in lists.items() for index, number in enumerate(values)}

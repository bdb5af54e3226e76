"""`multires train`: one training run in a folder, begun or resumed."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, subcommand

from multires.configs import PRESETS, UNetRun
from multires.errors import MultiresError

Preset = (
    Annotated[UNetRun, subcommand("denoise", default=PRESETS["denoise"], description="Remove Gaussian noise.")]
    | Annotated[UNetRun, subcommand("autoencode", default=PRESETS["autoencode"], description="Pass images through, without skips.")]
    | Annotated[UNetRun, subcommand("super-resolve", default=PRESETS["super-resolve"], description="Restore lost resolutions.")]
)


@dataclass(frozen=True)
class Train:
    """Train a network: multires train unet denoise --pooling db2; on several devices: accelerate launch -m analysis train ..."""

    network: Positional[Literal["unet"]]
    """What to train."""
    preset: Preset
    out: Path | None = None
    """Folder for the run: its log, checkpoints and weights; runs/NETWORK-PRESET where none is named."""
    resume: Path | None = None
    """Go on with the run in this folder, bit for bit; it knows all its own settings."""
    tensorboard: bool = False
    """Also write TensorBoard's log (pip install tensorboard)."""

    def run(self) -> int:
        """Train, with progress on standard error, and say where the weights are."""
        from analysis import runs, terminal
        from multires import training

        name = self.preset.task.name
        if self.resume:
            directory, run = self.resume, runs.read(self.resume)
            if self.out or self.preset != PRESETS[name] or run.task.name != name:
                raise MultiresError(
                    f"--resume {directory}: that run knows its settings; say only: train unet {run.task.name} --resume"
                )
        else:
            directory = self.out or Path("runs") / f"{self.network}-{name}"
            state = training.processes()
            if state.is_main_process:
                runs.begin(self.preset, directory)
            state.wait_for_everyone()
            run = runs.read(directory)
        if (
            os.environ.get("ACCELERATE_USE_CPU") == "True"
            and "MASTER_ADDR" in os.environ
            and training.processes().num_processes == 1
        ):
            print("multires: accelerate launch --cpu starts one process unless given MPI; torchrun starts several", file=sys.stderr)
        last = None
        for record in terminal.training_progress(runs.go(run, directory, self.tensorboard), run.training.steps):
            if isinstance(record, training.Evaluated):
                last = record
        if training.processes().is_main_process:
            loss = f"test loss {last.test_loss:.6g}; " if last else ""
            print(f"{loss}weights: {(directory / runs.WEIGHTS).resolve()}")
        sys.stdout.flush()
        return 0

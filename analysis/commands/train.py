"""`multires train`: one training run in a folder, begun or resumed."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import subcommand

from multires.configs import PRESETS, UNetRun
from multires.errors import MultiresError
from multires.hvae_configs import HVAE_PRESETS, HVAERun

UNetPreset = (
    Annotated[UNetRun, subcommand("denoise", default=PRESETS["denoise"], description="Remove Gaussian noise.")]
    | Annotated[UNetRun, subcommand("autoencode", default=PRESETS["autoencode"], description="Pass images through, without skips.")]
    | Annotated[UNetRun, subcommand("super-resolve", default=PRESETS["super-resolve"], description="Restore lost resolutions.")]
)


HVAEPreset = (
    Annotated[
        HVAERun, subcommand("mnist", default=HVAE_PRESETS["mnist"], description="Binarised MNIST, a cell of its own at each step.")
    ]
    | Annotated[
        HVAERun,
        subcommand(
            "mnist-shared", default=HVAE_PRESETS["mnist-shared"], description="Binarised MNIST, one cell at each resolution."
        ),
    ]
    | Annotated[
        HVAERun,
        subcommand(
            "fashion-mnist",
            default=HVAE_PRESETS["fashion-mnist"],
            description="Fashion-MNIST in 256 grey values, a cell of its own at each step.",
        ),
    ]
    | Annotated[
        HVAERun,
        subcommand(
            "fashion-mnist-shared",
            default=HVAE_PRESETS["fashion-mnist-shared"],
            description="Fashion-MNIST in 256 grey values, one cell at each resolution.",
        ),
    ]
    | Annotated[
        HVAERun,
        subcommand("digits", default=HVAE_PRESETS["digits"], description="The 8 x 8 digits of scikit-learn; in a few minutes."),
    ]
    | Annotated[
        HVAERun, subcommand("natural", default=HVAE_PRESETS["natural"], description="Patches of photographs, 32 x 32, grey.")
    ]
    | Annotated[HVAERun, subcommand("cifar10", default=HVAE_PRESETS["cifar10"], description="CIFAR-10.")]
)


@dataclass(frozen=True)
class TrainUNet:
    """A U-Net: multires train unet denoise --pooling db2."""

    preset: UNetPreset


@dataclass(frozen=True)
class TrainHVAE:
    """A hierarchical VAE: multires train hvae digits."""

    preset: HVAEPreset


@dataclass(frozen=True)
class Train:
    """Train a network: multires train unet denoise --pooling db2; on several devices: accelerate launch -m analysis train ..."""

    network: Annotated[TrainUNet, subcommand("unet")] | Annotated[TrainHVAE, subcommand("hvae")]
    """What to train."""
    out: Path | None = None
    """Folder for the run: its log, checkpoints and weights; runs/NETWORK-PRESET where none is named."""
    resume: Path | None = None
    """Go on with the run in this folder, bit for bit; it knows all its own settings."""
    tensorboard: bool = False
    """Also write TensorBoard's log (pip install tensorboard)."""

    def run(self) -> int:
        """Train, with progress on standard error, and say where the weights are."""
        from analysis import runs, terminal
        from multires import checkpoints, training

        preset: UNetRun | HVAERun = self.network.preset
        kind, presets = ("unet", PRESETS) if isinstance(self.network, TrainUNet) else ("hvae", HVAE_PRESETS)
        if self.resume:
            directory, run = self.resume, runs.read(self.resume)
            began = {_name(each): key for key, each in (PRESETS | HVAE_PRESETS).items()}.get(_name(run))
            other = runs.kind(run) != kind or (began and _name(run) != _name(preset))
            if self.out or preset not in presets.values() or other:
                raise MultiresError(
                    f"--resume {directory}: that run knows its settings; say only:"
                    f" train {runs.kind(run)} {began or 'PRESET'} --resume"
                )
            if not checkpoints.steps(directory / training.CHECKPOINTS) and training.processes().is_main_process:
                print(f"multires: no checkpoint in {directory / training.CHECKPOINTS}; begins at step 0", file=sys.stderr)
        else:
            directory = self.out or Path("runs") / f"{kind}-{_name(preset)}"
            state = training.processes()
            if state.is_main_process:
                runs.begin(preset, directory)
            state.wait_for_everyone()
            run = runs.read(directory)
        if (
            os.environ.get("ACCELERATE_USE_CPU") == "True"
            and "MASTER_ADDR" in os.environ
            and training.processes().num_processes == 1
        ):
            print("multires: accelerate launch --cpu starts one process unless given MPI; torchrun starts several", file=sys.stderr)
        last = None
        try:
            for record in terminal.training_progress(runs.go(run, directory, self.tensorboard), run.training.steps):
                if isinstance(record, training.Evaluated):
                    last = record
        except KeyboardInterrupt as stop:  # where the loop has not said it: before its first step, or at a second Ctrl-C
            raise KeyboardInterrupt(str(stop) or f"stopped; {directory} holds the run, go on with --resume {directory}") from None
        training.leave()
        if training.processes().is_main_process:
            loss = f"test loss {last.test_loss:.6g}; " if last else ""
            print(f"{loss}weights: {(directory / runs.WEIGHTS).resolve()}")
        sys.stdout.flush()
        return 0


def _name(run: UNetRun | HVAERun) -> str:
    """What a run is called: a preset by its task, or by its data and whether cells are shared; and a folder where none is named."""
    from analysis import hvae_runs

    return run.task.name if isinstance(run, UNetRun) else hvae_runs.name(run)

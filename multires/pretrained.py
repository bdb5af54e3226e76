"""Trained networks from their weights: those that ship with the package, by name, and any other, by path.

Shipped weights lie in `multires/weights`, in half precision; each has a card, a JSON file of the same name, that says what the
network is, what it was trained on, how long and on what, and what its test loss is.
"""

from pathlib import Path
from typing import Any

from multires import checkpoints, files, plain
from multires.configs import UNetRun
from multires.errors import MultiresError
from multires.unet import UNet

FOLDER = Path(__file__).parent / "weights"


def names() -> list[str]:
    """The names of the shipped weights."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def path_of(name: str | Path) -> Path:
    """The safetensors file of shipped weights, of a run's folder, or the path itself."""
    path = Path(name)
    if str(name) in names():
        return FOLDER / f"{name}.safetensors"
    try:
        there = path.exists()
    except OSError:  # a name too long for any file
        there = False
    if not there:
        raise MultiresError(
            f"no weights {str(name)!r}: shipped are {', '.join(names())}; or give a .safetensors file or a run's folder"
        )
    return path / "weights.safetensors" if path.is_dir() else path


def card(name: str | Path) -> dict[str, Any]:
    """The card of weights: run, parameters, steps, seconds, device, test_loss, commit, versions."""
    path = path_of(name).with_suffix(".json")
    values = files.read_json(path)
    if not isinstance(values, dict) or values.get("kind") != "unet" or "run" not in values:
        raise MultiresError(f"{path}: not the card of a U-Net's weights")
    return values


def load_unet(name: str | Path) -> tuple[UNet, UNetRun]:
    """Return a trained U-Net in float32, in evaluation mode, and the run it comes from.

    Raises MultiresError for weights that are not there, damaged, or of another network than their card says.
    """
    path = path_of(name)
    run = plain.from_json(UNetRun, card(name)["run"], str(path.with_suffix(".json")))
    net = UNet(run.model)
    checkpoints.load_into(net, checkpoints.read_tensors(path), str(path))
    return net.eval(), run

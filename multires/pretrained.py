"""Trained networks from their weights: those that ship with the package, by name, and any other, by path.

Shipped weights lie in `multires/weights`, in half precision; each has a card, a JSON file of the same name, that says what the
network is, what it was trained on, how long and on what, and what its test loss is.
"""

from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from multires import checkpoints, files, hvae, plain, unet
from multires.configs import UNetRun
from multires.errors import MultiresError
from multires.hvae import HVAE
from multires.hvae_configs import HVAERun
from multires.unet import UNet

KINDS = {"unet": "a U-Net", "hvae": "an HVAE"}
Run = TypeVar("Run", UNetRun, HVAERun)
Net = TypeVar("Net", bound=nn.Module)
FOLDER = Path(__file__).parent / "weights"


def names() -> list[str]:
    """The names of the shipped weights; those of a study's runs begin with its size and a slash."""
    return sorted(str(path.relative_to(FOLDER).with_suffix("").as_posix()) for path in FOLDER.rglob("*.safetensors"))


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
        shipped = ", ".join(known for known in names() if "/" not in known)
        raise MultiresError(f"no weights {str(name)!r}: shipped are {shipped}; or give a .safetensors file or a run's folder")
    if path.is_dir():
        return path / "weights.safetensors"
    if path.suffix != ".safetensors":  # what torch.save writes can run code when it is read
        raise MultiresError(f"{path}: weights are .safetensors files with their card beside them; nothing else is read")
    return path


def card(name: str | Path, kind: str | None = None) -> dict[str, Any]:
    """The card of weights: kind, run, parameters, steps, seconds, device, test figures, commit, versions.

    Raises MultiresError where it is not the card of what `kind` names, 'unet' or 'hvae'; of either where none is named.
    """
    path = path_of(name).with_suffix(".json")
    values = files.read_json(path)
    wanted = [kind] if kind else list(KINDS)
    if not isinstance(values, dict) or values.get("kind") not in wanted or "run" not in values:
        raise MultiresError(f"{path}: not the card of {' or '.join(KINDS[each] for each in wanted)}'s weights")
    for field in ("parameters", "steps", "seconds"):
        if not isinstance(values.get(field, 0), int | float):
            raise MultiresError(f"{path}: {field} is {values[field]!r}, not a number")
    course = values.get("history", {})
    if not isinstance(course, dict) or not all(_points(points) for points in course.values()):
        raise MultiresError(f"{path}: history is no course of (step, nats) by name")
    return values


def _points(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(point, list) and len(point) == 2 and all(isinstance(number, int | float) for number in point) for point in values
    )


def load(name: str | Path) -> tuple[UNet, UNetRun] | tuple[HVAE, HVAERun]:
    """Return a trained network of either kind, as its card says; raises as `load_unet` does."""
    return load_unet(name) if card(name)["kind"] == "unet" else load_hvae(name)


def load_unet(name: str | Path) -> tuple[UNet, UNetRun]:
    """Return a trained U-Net in float32, in evaluation mode, and the run it comes from.

    Raises MultiresError for weights that are not there, damaged, or of another network than their card says.
    """
    run = _run(UNetRun, name, "unet")
    unet.require_room(run.model)
    return _filled(UNet(run.model), name), run


def load_hvae(name: str | Path) -> tuple[HVAE, HVAERun]:
    """Return a trained HVAE in float32, in evaluation mode, and the run it comes from; raises as `load_unet` does."""
    run = _run(HVAERun, name, "hvae")
    hvae.require_room(run.model)
    return _filled(HVAE(run.model), name), run


def _run(of: type[Run], name: str | Path, kind: str) -> Run:
    return plain.from_json(of, card(name, kind)["run"], str(path_of(name).with_suffix(".json")))


def _filled(net: Net, name: str | Path) -> Net:
    path = path_of(name)
    checkpoints.load_into(net, checkpoints.read_tensors(path), str(path))
    return net.eval()

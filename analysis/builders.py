"""What the command audits and on what: a network from a user's code or from weights, and its inputs from words."""

import difflib
import importlib
import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from analysis import hvae_runs
from multires import checkpoints, data, memory, pretrained, tasks, vdvae
from multires.configs import UNetRun
from multires.errors import MultiresError, summary
from multires.hvae import HVAE
from multires.patches import split

IMAGES, SIDE, SEED = 32, 64, 0


class Reconstruction(nn.Module):
    """An HVAE as a map from images to the parameters of the pixels' likelihood: encoder, one draw of each latent, decoder."""

    def __init__(self, hvae: HVAE) -> None:
        super().__init__()
        self.hvae = hvae

    def forward(self, images: Tensor) -> Tensor:
        """Encode, integrate, decode; shape (batch, parameters, size, size)."""
        for step in self.hvae.integrate(len(images), self.hvae.encode(images)):
            state = step.state
        return self.hvae.decode(state)


def prepare(target: str, weights: Path | None, words: tuple[str, ...], name: str | None) -> tuple[nn.Module, tuple[Any, ...], str]:
    """A network, the arguments of its forward, and a sentence about these.

    `target` is pkg.module:build or file.py:build, shipped weights, a run's folder, or a .safetensors file: with its card, or an
    openai/vdvae state dict. `words` are shapes (noise) and numbers, `name` a data set. Networks of ours take test images of their
    own data where neither is given. Raises MultiresError for anything else, code that raises, and weights that do not fit.
    """
    where, colon, attribute = target.rpartition(":")
    if colon:
        net = _built(_module(where), where, attribute)
        if weights:
            checkpoints.load_into(net, checkpoints.read_tensors(weights), str(weights))
        return net, *_inputs(words, name, None)
    if weights:
        raise MultiresError(f"--weights {weights}: {target} names weights already; give the code as pkg.module:build")
    path = pretrained.path_of(target)
    if path.exists() and not path.with_suffix(".json").exists():
        hvae = openai(path, "give its code as pkg.module:build")
        return Reconstruction(hvae), *_inputs(words, name, _shape(hvae))
    found: nn.Module
    found, run = pretrained.load(target)
    if isinstance(run, UNetRun):
        if words or name:
            return found, *_inputs(words, name, (run.model.channels, run.side, run.side))
        tiles = split(data.load(run.data), run.side)[1].tiles(IMAGES)
        images, _ = tasks.pair(run.task, tiles, torch.Generator().manual_seed(SEED))
    else:
        assert isinstance(found, HVAE)
        shape, found = _shape(found), Reconstruction(found)
        if words or name:
            return found, *_inputs(words, name, shape)
        images = hvae_runs.held_out(run)[:IMAGES]
    return found, (images,), f"{' x '.join(map(str, images.shape))}, images of {run.data} as the network's task has them"


def _shape(hvae: HVAE) -> tuple[int, ...]:
    size = hvae.config.resolutions[0].size
    return hvae.config.channels, size, size


def openai(path: Path, other: str) -> HVAE:
    """The HVAE of a state dict of openai/vdvae: its tensors tell which of the published networks it is.

    Raises MultiresError, with what would work for any `other` file.
    """
    tensors = checkpoints.read_tensors(path)
    if not any(key.removeprefix(vdvae.PARALLEL).startswith("decoder.dec_blocks.") for key in tensors):
        raise MultiresError(f"{path}: no card {path.stem}.json beside it, and no state dict of openai/vdvae; {other}")
    problems = []
    for name, config in vdvae.PRESETS.items():
        try:
            return vdvae.from_openai(tensors, config)
        except MultiresError as error:
            problems.append(f"{name}: {error}")
    raise MultiresError(
        f"{path}: a state dict of none of openai/vdvae's published networks ({problems[0]}); give one of another size a card:"
        " build it with multires.vdvae.from_openai(state_dict, config), write it with multires.checkpoints.write_weights"
    )


def _module(where: str) -> ModuleType:
    try:
        if where.endswith(".py"):
            path = Path(where)
            if not path.is_file():
                raise MultiresError(f"{where}: no such file")
            spec = importlib.util.spec_from_file_location(f"audited {path.stem}", path)  # no name that something else may have
            assert spec
            assert spec.loader
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module  # dataclasses and pickles look their module up
            sys.path.insert(0, str(path.parent.resolve()))
            spec.loader.exec_module(module)
            return module
        sys.path.insert(0, str(Path.cwd()))  # as python -m does
        return importlib.import_module(where)
    except MultiresError:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise MultiresError(f"{where}: importing it raised {summary(error)}") from None


def _built(module: ModuleType, where: str, name: str) -> nn.Module:
    if not hasattr(module, name):
        near = ", ".join(difflib.get_close_matches(name, [n for n in vars(module) if not n.startswith("_")], n=3, cutoff=0))
        raise MultiresError(f"{where} has no {name!r}; the nearest: {near or 'none'}")
    found = getattr(module, name)
    if not isinstance(found, nn.Module):
        if not callable(found):
            raise MultiresError(
                f"{where}:{name} is a {type(found).__name__}: name what returns a torch.nn.Module, called with nothing"
            )
        try:
            found = found()
        except (Exception, SystemExit) as error:
            raise MultiresError(f"{where}:{name}() raised {summary(error)}") from None
    if not isinstance(found, nn.Module):
        raise MultiresError(f"{where}:{name}() returned a {type(found).__name__}: it must return a torch.nn.Module")
    return found


def _inputs(words: tuple[str, ...], name: str | None, shape: tuple[int, ...] | None) -> tuple[tuple[Any, ...], str]:
    """The arguments of a forward, and a sentence about them; `shape` is that of an image of the network where it is known."""
    read = [_word(word) for word in words]
    if not any(isinstance(word, tuple) for word in read):
        if name is None and shape is None:
            raise MultiresError(
                "on what? --input 4x3x64x64 (noise of that shape), or --data NAME, or both for images of that shape"
            )
        read.insert(0, (IMAGES, *(shape or ())))
    for word in read:
        if isinstance(word, tuple):
            memory.require(f"--input {'x'.join(map(str, word))}", math.prod(word))
    at = next(i for i, word in enumerate(read) if isinstance(word, tuple))
    note = "standard normal noise"
    if name is not None:
        read[at], note = _images(name, read[at])
    generator = torch.Generator().manual_seed(SEED)
    arguments = tuple(torch.randn(word, generator=generator) if isinstance(word, tuple) else word for word in read)
    return arguments, f"{' x '.join(map(str, arguments[at].shape))}, {note}"


def _word(word: str) -> Any:
    try:
        if "x" in word:
            size = tuple(int(side) for side in word.split("x"))
            if min(size) < 1:
                raise ValueError
            return size
        return int(word) if word.lstrip("-").isdigit() else float(word)
    except ValueError:
        raise MultiresError(f"--input {word}: expected a shape, such as 1x3x64x64, or a number") from None


def _images(name: str, wanted: tuple[int, ...]) -> tuple[Tensor, str]:
    """Images of a data set, of a shape (image, channel, side, side), or (image,) where only their number is known."""
    loaded = data.load(name)
    if len(wanted) not in (1, 4) or (len(wanted) == 4 and wanted[2] != wanted[3]):
        raise MultiresError(f"--data {name} with --input {'x'.join(map(str, wanted))}: images are square, such as 4x3x64x64")
    side = wanted[3] if len(wanted) == 4 else min(SIDE, *(min(batch.shape[2:]) for batch in loaded.batches))
    tiles = split(loaded, side)[1].tiles(wanted[0])
    if len(tiles) < wanted[0]:
        raise MultiresError(f"--data {name} has {len(tiles)} images of {side} x {side} kept back; --input asks for {wanted[0]}")
    channels = wanted[1] if len(wanted) == 4 else tiles.shape[1]
    if channels == tiles.shape[1]:
        return tiles, f"images of {name}"
    if tiles.shape[1] != 1:
        raise MultiresError(f"--data {name} has {tiles.shape[1]} channels; --input asks for {channels}")
    return tiles.expand(-1, channels, -1, -1).contiguous(), f"images of {name}, grey in all {channels} channels"

"""What an HVAE's training run consists of: its network, batches of images, its ELBO on test images, and sheets to look at."""

import math
import os
import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from analysis import sheets
from analysis.resolution_line import write
from analysis.trainee import COPIES, Trainee
from multires import bounds, data, training
from multires.errors import MultiresError
from multires.hvae import HVAE, require_room
from multires.hvae_configs import HVAE_PRESETS, HVAERun
from multires.patches import Patches, split
from multires.pooling import average

TEST_IMAGES, TEST_SEED = 1000, 1_000_003


def settle(run: HVAERun) -> HVAERun:
    """The run with the channels and the border of its data; raises MultiresError for what does not fit."""
    loaded = data.load(run.data)
    parts = split(loaded, _side(run))
    border = run.model.border if loaded.border is None else loaded.border >> run.pooled
    model = replace(run.model, channels=parts[0].channels, border=border)
    if border:
        _require_whole(run, parts)
    require_pixels(run, parts)
    require_room(model, run.training.batch, COPIES)
    return replace(run, model=model)


def _require_whole(run: HVAERun, parts: tuple[Patches, Patches]) -> None:
    side, shapes = parts[0].side, sorted({tuple(source.shape[2:]) for part in parts for source in part.sources})
    if shapes != [(side, side)]:
        sizes = ", ".join(f"{y} x {x}" for y, x in shapes)
        raise MultiresError(
            f"{run.data}: images of {sizes} with a border that only pads them are modelled whole, but {side} x {side} would be cut"
            " out of them; name their size as the finest resolution, or average-pool them first (pooled)"
        )


def require_pixels(run: HVAERun, parts: tuple[Patches, Patches]) -> None:
    """Raise MultiresError where images have other values than an HVAE models."""
    sources = [source for part in parts for source in part.sources]
    lowest, highest = min(float(source.min()) for source in sources), max(float(source.max()) for source in sources)
    if lowest < 0 or highest > 1:
        raise MultiresError(f"{run.data}: values from {lowest:.3g} to {highest:.3g}; an HVAE models pixels in [0, 1]")


def images(run: HVAERun) -> tuple[Patches, Patches]:
    """Images to train on and to test on, as large as the model's before they are pooled."""
    parts = split(data.load(run.data), _side(run))
    require_pixels(run, parts)  # here too: files may have changed since the run began
    return parts


def _side(run: HVAERun) -> int:
    return run.model.resolutions[0].size << run.pooled


def prepared(run: HVAERun, images: Tensor, generator: torch.Generator) -> Tensor:
    """Images as the run models them: projected, then in the values that its protocol names."""
    return bounds.prepared(average(images, run.pooled), run.binarise, generator)


def fresh(run: HVAERun) -> HVAE:
    """The network of a run before its first step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.training.seed)
        return HVAE(run.model)


def batch_of(step: int, run: HVAERun, patches: Patches) -> tuple[Tensor, ...]:
    """The global batch of a step, with its free nats while there are any: it depends on the run's seed and the step alone."""
    generator = torch.Generator().manual_seed((run.training.seed + 1) * 1_000_000_007 + step)
    grey = patches.batch(run.training.batch, run.training.seed, step)
    batch = prepared(run, grey, generator)
    free = run.free_nats > 0 and 10 * step < run.training.steps
    return (batch, torch.full((len(batch),), run.free_nats)) if free else (batch,)


def held_out(run: HVAERun) -> Tensor:
    """The test images, prepared as the run's protocol says with a seed that is always the same."""
    return prepared(run, images(run)[1].tiles(), torch.Generator().manual_seed(TEST_SEED))


def trainee(run: HVAERun, directory: Path) -> Trainee:
    """What the loop needs to train a run; each evaluation also draws a sheet."""
    train, _ = images(run)
    test = held_out(run)
    hvae = fresh(run)

    def evaluate(net: nn.Module) -> float:
        assert isinstance(net, HVAE)
        elbo = torch.cat([part.elbo for part in bounds.bounds(net, test[:TEST_IMAGES], 0, TEST_SEED)])
        if int(os.environ.get("RANK", "0")) == 0:
            sheets.write(net, test, sheets.history(directory / training.LOG), directory / sheets.NAME)
        return -float(elbo.mean())

    loss = partial(bounds.negative_elbo, dimensions=hvae.dimensions)

    def describe(net: nn.Module) -> dict[str, Any]:
        assert isinstance(net, HVAE)
        found = summary(list(bounds.bounds(net, test, 0, TEST_SEED)), 0, net.dimensions)
        return found | {"history": sheets.history(directory / training.LOG)}

    return Trainee(hvae, loss, partial(batch_of, run=run, patches=train), evaluate, describe)


def summary(parts: list[bounds.Bounds], draws: int, dimensions: int) -> dict[str, Any]:
    """What bounds over batches of images come to: means with standard errors, None of one image, and the KL of each step."""

    def mean(values: list[Tensor]) -> dict[str, Any]:
        nats = torch.cat(values).double()
        average, error = float(nats.mean()), float(nats.std() / math.sqrt(len(nats))) if len(nats) > 1 else None
        return {"nats": average, "standard_error": error, "bits_per_dimension": bounds.bits_per_dimension(-average, dimensions)}

    found = {
        "test_images": sum(len(part.elbo) for part in parts),
        "test_seed": TEST_SEED,
        "elbo": mean([part.elbo for part in parts]),
    }
    if draws:
        found["importance"] = {"draws": draws} | mean([part.importance for part in parts if part.importance is not None])
    return found | {"kl": torch.cat([part.kl for part in parts]).mean(0).tolist()}


def name(run: HVAERun) -> str:
    """What the run's folder and weights are called: by its data, and by whether cells are shared."""
    shared = all(resolution.shared for resolution in run.model.resolutions)
    return f"{Path(run.data).stem}-shared" if shared else Path(run.data).stem


def command(run: HVAERun) -> str:
    """The shortest command that trains the run: a preset, and the options in which the run differs."""
    return min((" ".join([f"multires train hvae {name}", *_options(run, known)]) for name, known in HVAE_PRESETS.items()), key=len)


def _options(run: HVAERun, known: HVAERun) -> list[str]:
    # what comes from the data: channels always, a border where the data are a set with a name
    model = replace(
        known.model, channels=run.model.channels, border=run.model.border if run.data == known.data else known.model.border
    )
    pairs: list[tuple[object, object]] = [(run, known), (run.training, known.training)]
    if model.spelled_out != run.model.spelled_out:
        pairs.append((run.model, model))
    return [_option(field, getattr(mine, field)) for mine, theirs in pairs for field in _differing(mine, theirs)]


def _differing(mine: object, theirs: object) -> list[str]:
    return [field for field, value in vars(mine).items() if field not in ("model", "training") and value != getattr(theirs, field)]


def _option(field: str, value: object) -> str:
    flag = field.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    if isinstance(value, tuple):
        return f"--{flag} {' '.join(shlex.quote(write(resolution)) for resolution in value)}"
    return f"--{flag} {shlex.quote(str(value))}"

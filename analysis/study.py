"""Studies: grids of training runs, each an ordinary run in a folder of its own, resumable and shareable among machines."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from analysis import filters, runs
from multires import training
from multires.errors import MultiresError

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Study:
    """A grid: a name for each run, which is its folder's."""

    sentence: str
    grid: Callable[[], dict[str, runs.UNetRun]]


def unet_basis() -> dict[str, runs.UNetRun]:
    """Every pooling filter of the dictionary, and max and strided pooling, with each seed; the first seed's runs come first."""
    preset = runs.PRESETS["denoise"]
    poolings = ("average", *filters.WAVELETS[1:], "max", "strided")
    return {
        f"{name}-{seed}": replace(
            preset,
            model=replace(preset.model, pooling=filters.pooling(name)),
            training=replace(preset.training, seed=seed, save_every=250),
        )
        for seed in SEEDS
        for name in poolings
    }


STUDIES = {"unet-basis": Study("which wavelet basis the activations of a U-Net carry, by its pooling filter", unet_basis)}


def shard(names: list[str], which: str) -> list[str]:
    """The runs of shard 'i/n': every n-th, from the i-th on, i = 1, ..., n."""
    first, _, count = which.partition("/")
    if not (first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise MultiresError(f"--shard {which}: expected i/n with 1 <= i <= n, for example 1/4")
    return names[int(first) - 1 :: int(count)]


def train(study: Study, names: list[str], folder: Path) -> Iterator[tuple[str, training.Record]]:
    """Train the named runs that are not finished yet, one after another, each from where it is."""
    grid = study.grid()
    for name in names:
        directory = folder / name
        if (directory / runs.WEIGHTS).exists():
            continue
        run = runs.read(directory) if (directory / runs.CONFIG).exists() else runs.begin(grid[name], directory)
        if run != grid[name]:
            raise MultiresError(f"{directory}: holds another run than this study's {name}; name another --out")
        for record in runs.go(run, directory):
            yield name, record

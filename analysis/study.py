"""Studies: grids of training runs, each an ordinary run in a folder of its own, resumable and shareable among machines."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from analysis import basis_study, runs
from analysis.basis_study import Row
from multires import checkpoints, pretrained, training
from multires.configs import UNetRun
from multires.errors import MultiresError


@dataclass(frozen=True)
class Study:
    """A grid, with a name for each run, which is its folder's; and the rows of its table, measured on the runs that are there."""

    sentence: str
    grid: Callable[[], dict[str, UNetRun]]
    rows: Callable[[dict[str, Path]], Iterator[Row]]


STUDIES = {
    "unet-basis": Study(
        "which wavelet basis the activations of a U-Net carry, by its pooling filter", basis_study.grid, basis_study.rows
    )
}


def shard(names: list[str], which: str) -> list[str]:
    """The runs of shard 'i/n': every n-th, from the i-th on, i = 1, ..., n."""
    first, _, count = which.partition("/")
    if not (first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise MultiresError(f"--shard {which}: expected i/n with 1 <= i <= n, for example 1/4")
    return names[int(first) - 1 :: int(count)]


def finished(study: Study, folder: Path) -> dict[str, Path]:
    """The folders of the runs that have their weights."""
    return {name: folder / name for name in study.grid() if (folder / name / runs.WEIGHTS).exists()}


def ship(study: Study, folder: Path, target: Path) -> list[Path]:
    """Write the first seed's weights in half precision, each with its card; returns the files."""
    written = []
    for name in study.grid():
        label, _, seed = name.rpartition("-")
        if int(seed) == basis_study.SEEDS[0] and name in finished(study, folder):
            net, _ = pretrained.load_unet(folder / name)
            path = target / f"unet-{label}.safetensors"
            checkpoints.write_weights(path, net, pretrained.card(folder / name) | {"dtype": "float16"}, torch.float16)
            written.append(path)
    return written


def train(study: Study, names: list[str], folder: Path) -> Iterator[tuple[str, training.Record]]:
    """Train the named runs that are not finished yet, one after another, each from where it is."""
    grid, done = study.grid(), finished(study, folder)
    for name in names:
        if name in done:
            continue
        directory = folder / name
        run = runs.read(directory) if (directory / runs.CONFIG).exists() else runs.begin(grid[name], directory)
        if run != grid[name]:
            raise MultiresError(f"{directory}: holds another run than this study's {name}; name another --out")
        for record in runs.go(run, directory):
            yield name, record

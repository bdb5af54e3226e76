"""Studies: grids of training runs, each an ordinary run in a folder of its own, resumable and shareable among machines."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure

from analysis import basis_study, hvae_studies, remedies, runs
from analysis.basis_study import Row
from analysis.figures import studies
from analysis.runs import Run
from multires import checkpoints, pretrained, training
from multires.errors import MultiresError


@dataclass(frozen=True)
class Study:
    """Grids of runs, and what is made of those that are finished."""

    claim: str
    """The claim that measures its networks."""
    about: str
    """What its table shows."""
    sizes: Mapping[str, Callable[[], dict[str, Run]]]
    """The runs of each size, named as their folders are; the first size is what is meant where none is named."""
    rows: Callable[[dict[str, Path]], Iterator[Row]]
    """The rows of its table, measured on the runs that are there."""
    table: Callable[[list[Row]], tuple[Sequence[str], list[list[str]]]]
    """Headings, and what stands under them for the rows."""
    weights: Callable[[str, str], str | None]
    """What the weights of a run, of a size and a name, are called where they ship; None for those that do not."""
    figure: Callable[[list[Row]], Figure] | None = None
    caption: str = ""
    """What there is to see in the figure."""


STUDIES = {
    "unet-basis": Study(
        "C5",
        "U-Nets trained to denoise 32 x 32 patches of photographs: how much of each basis' approximations their activations leave"
        " unexplained, 1 - R^2, on held-out photographs; intervals over seeds. With synthesis the way up is the wavelet's own.",
        {"small": basis_study.grid, "synthesis": basis_study.synthesis_grid},
        basis_study.rows,
        basis_study.table,
        basis_study.weights,
    ),
    "weight-sharing": Study(
        "E3",
        "HVAEs with one cell repeated r times at each resolution (shared-r) and with n of their own (own-n), on the same data,"
        " steps, batch and schedule (small: MNIST at 16 x 16, 2,000 steps): negative ELBO of the test images in nats.",
        hvae_studies.SHARING,
        hvae_studies.rows,
        hvae_studies.table,
        hvae_studies.weights,
        studies.sharing,
        "The lower, the better. To the left: fewer parameters. With shared cells the depth costs no parameters.",
    ),
    "state-norm": Study(
        "E2",
        "The HVAE with three cells at each resolution, and the same with its state normalised after each cell: negative ELBO of the"
        " test images in nats.",
        hvae_studies.NORMS,
        hvae_studies.rows,
        hvae_studies.table,
        hvae_studies.weights,
    ),
    "sharing-depth": Study(
        "E3",
        "HVAEs with three cells at each resolution (own-3), with one cell repeated five times (shared-5), and with five cells there"
        " that are narrower, so that it is as deep and about as small (narrow-5): negative ELBO of the test images in nats.",
        hvae_studies.DEPTH,
        hvae_studies.rows,
        hvae_studies.table,
        hvae_studies.weights,
    ),
    "sharing-remedies": Study(
        "E3",
        "HVAEs of the digits, where sharing one cell a resolution (shared-5) was not shown to cost nothing beside cells of their"
        " own (own-3): with more steps, told the time, with other learning rates (lr), with one cell for both finer resolutions"
        " (one); negative ELBO of the test images in nats.",
        {"digits": remedies.grid},
        hvae_studies.rows,
        hvae_studies.table,
        lambda size, name: None,
        studies.paired,
        "Left of the line: less than own-3 costs. Compare networks of one learning rate.",
    ),
}


def grid(study: Study, size: str) -> dict[str, Run]:
    """The runs of a size by name; raises MultiresError for a size that the study has not."""
    if size not in study.sizes:
        raise MultiresError(f"--size {size}: this study has {', '.join(study.sizes)}")
    return study.sizes[size]()


def shard(names: list[str], which: str) -> list[str]:
    """The runs of shard 'i/n': every n-th, from the i-th on, i = 1, ..., n."""
    first, _, count = which.partition("/")
    if not (first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise MultiresError(f"--shard {which}: expected i/n with 1 <= i <= n, for example 1/4")
    return names[int(first) - 1 :: int(count)]


def finished(runs_of: Mapping[str, Run], folder: Path) -> dict[str, Path]:
    """The folders of the runs that have their weights; raises MultiresError where a folder holds another run."""
    for name, run in runs_of.items():
        if (folder / name / runs.CONFIG).exists() and runs.read(folder / name) != run:
            raise MultiresError(f"{folder / name}: holds another run than this study's {name}; name another --out")
    return {name: folder / name for name in runs_of if (folder / name / runs.WEIGHTS).exists()}


def ship(study: Study, size: str, folder: Path, target: Path) -> list[Path]:
    """Write the weights that are to ship in half precision, each with its card; returns the files."""
    written = []
    for name, directory in finished(grid(study, size), folder).items():
        weights = study.weights(size, name)
        if weights is not None:
            path = target / f"{weights}.safetensors"
            path.parent.mkdir(parents=True, exist_ok=True)
            net, _ = pretrained.load(directory)
            checkpoints.write_weights(path, net, pretrained.card(directory) | {"dtype": "float16"}, torch.float16)
            written.append(path)
    return written


def train(runs_of: Mapping[str, Run], names: list[str], folder: Path) -> Iterator[tuple[str, training.Record]]:
    """Train the named runs that are not finished yet, one after another, each from where it is."""
    done = finished(runs_of, folder)
    for name in names:
        if name in done:
            continue
        directory = folder / name
        run = runs.read(directory) if (directory / runs.CONFIG).exists() else runs.begin(runs_of[name], directory)
        for record in runs.go(run, directory):
            yield name, record

"""The HVAE that claims about HVAEs are measured on: the shipped one of the best images that are on this machine."""

from functools import cache

import torch
from torch import Tensor

from analysis import hvae_runs
from analysis.evidence import Skipped
from multires import download, pretrained
from multires.hvae import HVAE
from multires.hvae_configs import HVAERun

CANDIDATES = ("hvae-mnist", "hvae-digits")
FIRST = 1000  # test images, unless all are asked for
SHARED = ("hvae-mnist-shared", "digits/shared-3-0")


def images_are_here(run: HVAERun) -> bool:
    """Whether the images of a run are on this machine: they ship with a dependency, or have been fetched."""
    source = download.SOURCES.get(run.data)
    return source is None or all(download.present(run.data, file) for file in source.files)


@cache
def reference(candidates: tuple[str, ...] = CANDIDATES) -> tuple[str, HVAE, HVAERun, Tensor]:
    """(Name, network, run, test images) of shipped weights: MNIST's if its images are here, else those of the digits."""
    for candidate in candidates:
        if candidate not in pretrained.names():
            continue
        hvae, run = pretrained.load_hvae(candidate)
        if images_are_here(run):
            return candidate, hvae, run, hvae_runs.held_out(run)
    raise Skipped(
        f"of {' and '.join(candidates)} none ships whose images are on this machine; multires data fetch mnist brings MNIST's"
    )


def first(images: Tensor, full: bool, count: int = FIRST) -> Tensor:
    """The test images that a claim looks at: the first so many, or all."""
    return images if full else images[:count]


def untrained(run: HVAERun) -> HVAE:
    """The same network before its first step."""
    return hvae_runs.fresh(run).eval()


@torch.no_grad()
def bias(net: HVAE, trained: HVAE, seed: int) -> None:
    """Give an untrained network the biases and starts of the same network trained, channels shuffled; untrained they are zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in net.named_parameters():
        if name.startswith("starts.") or name.endswith("bias"):
            learned = trained.get_parameter(name)
            channels = 1 if learned.dim() > 1 else 0
            order = torch.randperm(learned.shape[channels], generator=generator)
            parameter.copy_(learned.index_select(channels, order))


def noises(hvae: HVAE, count: int, seed: int, dtype: torch.dtype) -> list[Tensor]:
    """Standard normal noise for every step, of shape (count, latents, n, n).

    Each resolution has a generator of its own: networks that take other numbers of steps at one have the same noise elsewhere.
    """
    of_all = torch.Generator().manual_seed(seed)
    generators = [torch.Generator().manual_seed(_drawn(of_all)) for _ in hvae.config.resolutions]
    found = []
    for moment in hvae.timetable:
        n = hvae.config.resolutions[moment.resolution].size
        shape = (count, hvae.config.latents, n, n)
        found.append(torch.randn(shape, generator=generators[moment.resolution], dtype=torch.float64).to(dtype))
    return found


def _drawn(generator: torch.Generator) -> int:
    return int(torch.randint(2**62, (1,), generator=generator))

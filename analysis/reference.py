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


def untrained(run: HVAERun) -> HVAE:
    """The same network before its first step."""
    return hvae_runs.fresh(run).eval()


def noises(hvae: HVAE, count: int, seed: int, dtype: torch.dtype) -> list[Tensor]:
    """Standard normal noise for every step, of shape (count, latents, n, n)."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [hvae.config.resolutions[moment.resolution].size for moment in hvae.timetable]
    return [torch.randn(count, hvae.config.latents, n, n, generator=generator, dtype=torch.float64).to(dtype) for n in sizes]

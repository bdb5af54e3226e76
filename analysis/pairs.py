"""Networks of the studies of HVAEs, as they ship, and the likelihoods of one set of test images under each."""

from functools import cache

import torch
from torch import Tensor

from analysis import hvae_runs, hvae_studies, reference
from analysis.evidence import Skipped
from multires import bounds, pretrained
from multires.hvae import HVAE
from multires.hvae_configs import HVAERun

SIZES = ("small", "digits")
DRAWS, BATCH = 2, 512  # of small networks, whose overhead smaller batches would not hide


@cache
def size() -> str:
    """The first size whose networks ship and whose images are on this machine."""
    for each in SIZES:
        wanted = {f"{each}/{label}-{seed}" for label in hvae_studies.DECISIVE for seed in hvae_studies.seeds(each, label)}
        if wanted <= set(pretrained.names()):
            _, run = network(each, hvae_studies.DECISIVE[0], hvae_studies.SEEDS[0])
            if reference.images_are_here(run):
                return each
    raise Skipped("no networks of the studies ship whose images are on this machine: multires study weight-sharing --ship FOLDER")


def network(size: str, label: str, seed: int) -> tuple[HVAE, HVAERun]:
    """The shipped network of a study's run."""
    return pretrained.load_hvae(f"{size}/{label}-{seed}")


@cache
def _test_images(size: str) -> Tensor:
    return hvae_runs.held_out(network(size, hvae_studies.DECISIVE[0], hvae_studies.SEEDS[0])[1])


@cache
def nll(size: str, label: str, images: int | None) -> Tensor:
    """-ELBO of the first so many test images under the network of each seed, in nats, of shape (seeds, images).

    Of DRAWS draws of the latents. Networks of one seed whose steps agree in number have the same noise, those of another seed have
    other noise: so an interval over seeds is also one over noise.
    """
    found = []
    for seed in hvae_studies.seeds(size, label):
        net, _ = network(size, label, seed)
        test = _test_images(size)[:images]
        first = hvae_runs.TEST_SEED + 1 + DRAWS * seed  # that of the test images themselves is not used again
        draws = [torch.cat([-part.elbo for part in bounds.bounds(net, test, 0, first + draw, BATCH)]) for draw in range(DRAWS)]
        found.append(torch.stack(draws).double().mean(0))
    return torch.stack(found)

"""Bases of states: states that hold one basis' approximations, states of another image, and states that know only the average."""

import numpy as np
import pytest
import torch

from analysis.basis import approximations
from analysis.filters import WAVELETS
from analysis.inference import Inferred
from analysis.state_basis import Bases
from multires.hvae import HVAE
from multires.hvae_configs import HVAEConfig, Resolution
from tests.analysis.test_clock import shown

CONFIG = HVAEConfig(
    (Resolution(32, 1, 1, 8), Resolution(16, 1, 2, 8), Resolution(8, 1, 1, 8), Resolution(1, 1, 1, 8)), latents=2, bottleneck=0.5
)


def batch(wavelet: str, held_out: bool, generator: torch.Generator, average: bool = False) -> Inferred:
    """States that are a mixture of the approximation in a basis and of noise channels; or of that of the average image."""
    base = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(9)) * 3
    image = base + torch.randn(96, 1, 32, 32, generator=generator)
    known = approximations(base.expand_as(image) if average else image, 2)
    mixing = torch.randn(8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    states = []
    for side, level in ((1, 0), (8, 2), (16, 1), (16, 1), (32, 0)):
        x = torch.randn(96, 8, side, side, generator=generator, dtype=torch.float64)
        if level:
            x[:, 0] = known[level - 1][:, 9 * WAVELETS.index(wavelet) + 4]
        states.append(torch.einsum("ij,bjyx->biyx", mixing, x))
    found = shown(states, held_out)
    return Inferred(image, found.steps, image, image, held_out)


def identified(wavelet: str, *, last: bool = False, permuted: bool = False, average: bool = False) -> dict[str, np.ndarray]:
    bases, generator = Bases(HVAE(CONFIG), last=last, permuted=permuted), torch.Generator().manual_seed(0)
    for held_out in (False, False, True, True):
        bases.update(batch(wavelet, held_out, generator, average))
    return bases.found()


@pytest.mark.claim("E5")
@pytest.mark.parametrize("wavelet", ["haar", "db3", "bior2.2"])
def test_the_basis_that_the_states_hold_is_found_at_every_step(wavelet: str) -> None:
    found = identified(wavelet)
    assert found["basis steps"].tolist() == [2, 3, 4]
    assert found["basis sides"].tolist() == [8, 16, 16]
    own = WAVELETS.index(wavelet)
    assert (found["unexplained"].argmin(1) == own).all()
    assert found["high"][:, own].max() < 1e-6
    assert np.delete(found["low"], own, 1).min() > 0.01


@pytest.mark.claim("E5")
def test_states_of_another_image_hold_no_basis() -> None:
    found = identified("haar", permuted=True)
    assert found["low"].min() > 0.95
    assert (found["high"][:, 0] / found["low"][:, 1:].min(1) > 1).all()


@pytest.mark.claim("E5")
def test_what_all_images_share_explains_nothing() -> None:
    assert identified("haar", average=True)["low"].min() > 0.95


def test_only_the_last_step_of_each_resolution_where_asked_for() -> None:
    assert identified("haar", last=True)["basis steps"].tolist() == [2, 4]

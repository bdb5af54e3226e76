"""An HVAE replayed as a diffusion: every kind of configuration, and whether a difference in the network would be seen."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from analysis import schemes
from analysis.claims import hvaes
from analysis.evidence import Context
from analysis.replay import Replay
from multires import data
from multires.errors import MultiresError
from multires.gaussians import Gaussian
from multires.hvae import HVAE
from multires.hvae_configs import HVAEConfig, Resolution
from tests.strategies import hvae_configs

CONFIG = HVAEConfig(
    (Resolution(8, 1, 2, 6), Resolution(4, 1, 2, 8, shared=True), Resolution(1, 1, 1, 8)), latents=3, bottleneck=0.5
)


def build(config: HVAEConfig) -> tuple[HVAE, Tensor, list[Tensor]]:
    """An HVAE none of whose parts is zero, images, and noise, in float64."""
    torch.manual_seed(0)
    hvae = HVAE(config).double().eval()
    with torch.no_grad():
        for parameter in hvae.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, dtype=torch.float64))
    n = config.resolutions[0].size
    images = torch.rand(3, config.channels, n, n, dtype=torch.float64).round()
    sizes = [config.resolutions[moment.resolution].size for moment in hvae.timetable]
    return hvae, images, [torch.randn(3, config.latents, size, size, dtype=torch.float64) for size in sizes]


@pytest.mark.claim("D5")
@settings(max_examples=15)
@given(hvae_configs())
def test_every_configuration_is_a_diffusion(config: HVAEConfig) -> None:
    hvae, images, noise = build(replace(config, normalise=False))
    for infer in (False, True):
        apart, likelihood = hvaes._replayed(hvae, images, noise, infer, hvaes.two_step_euler)
        assert max(apart) < 1e-12
        assert likelihood < 1e-11


@pytest.mark.claim("D5")
@pytest.mark.parametrize("scheme", [schemes.swapped, schemes.at_old_state, schemes.one_step_euler, schemes.second_drift_twice])
@pytest.mark.parametrize("infer", [False, True])
def test_no_other_scheme_retraces_the_states(scheme: hvaes.Scheme, infer: bool) -> None:
    apart, likelihood = hvaes._replayed(*build(CONFIG), infer, scheme)
    assert max(apart) > 1e-3
    assert likelihood > 1e-5


@pytest.mark.claim("D5")
def test_a_cell_that_does_anything_else_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    hvae, images, noise = build(CONFIG)
    monkeypatch.setattr(Gaussian, "deviation", property(lambda self: (2 * self.log_deviation).exp()))
    apart, _ = hvaes._replayed(hvae, images, noise, True, hvaes.two_step_euler)
    assert max(apart) > 1e-3


def test_normalised_states_are_no_euler_steps() -> None:
    with pytest.raises(MultiresError, match="its cells are no Euler steps"):
        Replay(build(replace(CONFIG, normalise=True))[0])


@pytest.mark.claim("D5")
def test_d5_names_its_network_and_measures_both_passes() -> None:
    evidence = hvaes.d5.measure(Context(data.load("digits"), 1, "D5"))
    assert evidence.judge() == ("supported", "")
    assert evidence.note.startswith("hvae-")
    assert {check.what for check in evidence.checks} == {
        f"{what}, {how}" for what in ("every state", "log likelihood") for how in ("generation", "inference")
    }
    assert {check.dtype for check in evidence.checks} == {"float64", "float32"}

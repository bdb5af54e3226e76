"""The plain VDVAE against the HVAE of the same weights and noise, and against values of the published code."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from analysis.plain_vdvae import PlainVDVAE
from multires import vdvae
from multires.errors import MultiresError
from multires.hvae import HVAE
from multires.hvae_configs import HVAEConfig, Resolution

FIXTURES = Path(__file__).parents[1] / "fixtures"
COLOUR = HVAEConfig(
    (Resolution(8, 2, 3), Resolution(4, 1, 2), Resolution(1, 1, 1)), channels=3, width=16, latents=4, likelihood="logistic-mixture"
)
SHARED = tuple(replace(r, shared=True) for r in COLOUR.resolutions)
CONFIGS = {
    "colour": COLOUR,
    "shared": replace(COLOUR, resolutions=SHARED),
    "one cell": replace(COLOUR, resolutions=(Resolution(8, 1, 2, group="all"), Resolution(4, 0, 2, group="all"))),
    "grey, widths, border": replace(
        COLOUR, resolutions=(Resolution(8, 1, 2, 8), Resolution(4, 1, 1, 12), Resolution(2, 0, 1)), channels=1, border=1
    ),
    "from zero": replace(COLOUR, no_bias_above=0, mixtures=3, mean=0.4, std=0.2),
}


def pair(config: HVAEConfig) -> tuple[HVAE, PlainVDVAE]:
    """An HVAE none of whose parts is zero, and the plain one with its weights, in float64."""
    torch.manual_seed(0)
    hvae, plain = HVAE(config).double(), PlainVDVAE(config).double()
    with torch.no_grad():
        for parameter in hvae.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, dtype=torch.float64))
    plain.hvae.load_state_dict(hvae.state_dict())
    return hvae, plain


def both(hvae: HVAE, plain: PlainVDVAE, images: Tensor, noise: list[Tensor]) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    steps = list(hvae.integrate(len(images), hvae.encode(images), noise=noise))
    return (hvae.nll(images, steps[-1].state), torch.stack([step.kl() for step in steps])), plain(images, noise)


@pytest.mark.parametrize("name", CONFIGS)
def test_values_and_gradients_are_those_of_the_hvae(name: str) -> None:
    config = CONFIGS[name]
    hvae, plain = pair(config)
    n = config.resolutions[0].size
    images = torch.randint(256, (3, config.channels, n, n)).double() / 255
    images[0, :, 2, 2:4] = torch.tensor([0.0, 1.0], dtype=torch.float64)  # both edges
    sizes = [config.resolutions[moment.resolution].size for moment in hvae.timetable]
    noise = [torch.randn(3, config.latents, side, side, dtype=torch.float64) for side in sizes]
    (nll, kl), (plain_nll, plain_kl) = both(hvae, plain, images, noise)
    assert plain_kl.shape == (config.steps, 3)
    assert torch.allclose(plain_kl, kl, rtol=1e-9, atol=0)
    assert torch.allclose(plain_nll, nll, rtol=1e-5, atol=0)
    (nll.sum() + kl.sum()).backward()
    (plain_nll.sum() + plain_kl.sum()).backward()
    for (key, mine), theirs in zip(hvae.named_parameters(), plain.hvae.parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None), key
        if mine.grad is not None and theirs.grad is not None:
            assert float((mine.grad - theirs.grad).norm()) <= 1e-5 * float(mine.grad.norm()), key


def test_where_no_density_stands_for_a_bin_likelihoods_are_equal() -> None:
    hvae, plain = pair(COLOUR)
    with torch.no_grad():
        for parameter in (hvae.head.weight, hvae.head.bias):
            parameter.mul_(0.01)  # type: ignore[union-attr] # wide and central: every bin has far more than 1e-5
    plain.hvae.load_state_dict(hvae.state_dict())
    images = torch.randint(256, (3, 3, 8, 8)).double() / 255
    noise = [torch.zeros(3, 4, COLOUR.resolutions[m.resolution].size, 1, dtype=torch.float64) for m in hvae.timetable]
    noise = [eps.expand(-1, -1, -1, eps.shape[2]) for eps in noise]
    (nll, _), (plain_nll, _) = both(hvae, plain, images, noise)
    assert torch.allclose(plain_nll, nll, rtol=1e-9, atol=0)


@pytest.mark.parametrize("kind", ["zero", "given"])
def test_the_plain_network_gives_the_published_codes_values(kind: str) -> None:
    config = replace(COLOUR, resolutions=(Resolution(8, 2, 3), Resolution(4, 2, 3), Resolution(1, 1, 1)))
    config = replace(config, mean=120.63838 / 255, std=64.16736 / 255)
    inputs = load_file(FIXTURES / "openai_vdvae_small.inputs.safetensors")
    hvae = vdvae.from_openai(load_file(FIXTURES / "openai_vdvae_small.state.safetensors"), config)
    plain = PlainVDVAE(config).double()
    plain.hvae.load_state_dict(hvae.state_dict())
    images = inputs["pixels"].permute(0, 3, 1, 2).double() / 255
    noise = [inputs[f"eps_{k:02d}"].double() * (kind == "given") for k in range(config.steps)]
    with torch.no_grad():
        nll, kl = plain(images, noise)
    expected = json.loads((FIXTURES / "openai_vdvae_small.json").read_text())["expected"][kind]
    distortion, rate = float(nll.mean()) / plain.dimensions, float(kl.sum(0).mean()) / plain.dimensions
    assert distortion == pytest.approx(expected["distortion"], rel=1e-6)
    assert rate == pytest.approx(expected["rate"], rel=1e-6)
    assert distortion + rate == pytest.approx(expected["elbo"], rel=1e-6)


@pytest.mark.parametrize("name", ["colour", "grey, widths, border"])
def test_samples_are_greys_distributed_as_those_of_the_hvae(name: str) -> None:
    hvae, plain = pair(CONFIGS[name])
    with torch.no_grad():
        one, two = hvae.sample(1000), plain.sample(1000)
    assert one.shape == two.shape
    assert torch.equal((two * 255).round() / 255, two)
    assert 0 <= float(two.min()) <= float(two.max()) <= 1
    deviation = (one.var(0) / 1000 + two.var(0) / 1000).sqrt()
    assert float(((one.mean(0) - two.mean(0)) / deviation).abs().max()) < 5
    assert torch.allclose(one.std(0), two.std(0), rtol=0.2)


def test_its_weights_are_contiguous_and_in_the_usual_order() -> None:
    plain = PlainVDVAE(COLOUR)
    assert all(parameter.is_contiguous() for parameter in plain.parameters())
    assert not all(parameter.is_contiguous() for parameter in HVAE(COLOUR).parameters())


@pytest.mark.parametrize("change", [{"likelihood": "bernoulli"}, {"time_input": True}, {"normalise": True}])
def test_what_it_has_not_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(MultiresError, match="the plain VDVAE has a mixture of logistics"):
        PlainVDVAE(replace(COLOUR, **change))  # type: ignore[arg-type]

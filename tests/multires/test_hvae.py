"""HVAEs as the two-step forward Euler scheme: each cell against its definition, both passes, sharing, and sizes."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from torch import Tensor
from torch.nn import functional

from multires.cells import Bottleneck, Cell
from multires.errors import MultiresError
from multires.hvae import HVAE, fit_channels, timetable
from multires.hvae_configs import HVAE_PRESETS, HVAEConfig, Resolution
from multires.pooling import average
from multires.spaces import embed, norm
from tests.multires.small_hvae import CONFIG, build, infer, pictures
from tests.strategies import hvae_configs


def test_a_cell_is_the_vdvae_block_and_two_euler_steps() -> None:
    """z = mu + sigma eps; state + delta + A z + b, then + r: arXiv 2011.10650, figure 3, written out."""
    hvae = build()
    for step, moment in zip(infer(hvae), hvae.timetable, strict=True):
        cell = hvae.cells[moment.cell]
        assert isinstance(cell, Cell)
        with torch.no_grad():
            mean, log_deviation, update = cell.prior(functional.gelu(step.before)).split([3, 3, 12], 1)
            posterior = step.posterior
            assert posterior is not None
            assert torch.equal(step.prior.mean, mean)
            assert torch.equal(step.prior.log_deviation, log_deviation)
            middle = step.before + update + cell.projection(step.latent)
            assert torch.allclose(step.middle, middle, rtol=1e-12, atol=1e-13)
            assert torch.allclose(step.state, middle + cell.residual(functional.gelu(middle)), rtol=1e-12, atol=1e-13)
            eps = (step.latent - posterior.mean) / posterior.deviation
            shock = functional.conv2d(posterior.deviation * eps, cell.projection.weight)
        assert torch.allclose(step.noise, shock, rtol=1e-9, atol=1e-12)
        assert torch.allclose(step.before + step.drift + step.noise, step.middle, rtol=1e-13)
        assert torch.allclose(step.middle + step.second_drift, step.state, rtol=1e-13)
        swapped = step.before + cell.residual(functional.gelu(step.before)) + step.drift + step.noise
        assert float((swapped - step.state).detach().norm() / step.state.norm()) > 1e-3


def test_states_go_up_by_embedding_onto_learned_starts() -> None:
    hvae = build()
    steps = infer(hvae)
    with torch.no_grad():
        assert torch.equal(steps[0].before, hvae.starts[0].expand(5, -1, -1, -1))
        assert torch.equal(steps[1].before, hvae.starts[1] + embed(steps[0].state, 2))
        assert torch.equal(steps[3].before, hvae.starts[2] + embed(steps[2].state))
    for one, two in ((1, 2), (3, 4), (4, 5)):
        assert torch.equal(steps[one].state, steps[two].before)


def test_above_the_largest_bias_the_decoder_starts_from_zero_and_channels_are_cut() -> None:
    config = replace(CONFIG, no_bias_above=4, resolutions=(Resolution(8, 1, 1, 6), *CONFIG.resolutions[1:]))
    hvae = build(config)
    steps = infer(hvae)
    assert len(hvae.starts) == 2
    assert torch.equal(steps[3].before, embed(steps[2].state)[:, :6])


def test_the_encoder_is_residual_blocks_and_average_pooling() -> None:
    hvae = build(replace(CONFIG, mean=0.3, std=0.4, resolutions=(Resolution(8, 1, 3, 6), *CONFIG.resolutions[1:])))
    images = pictures()
    with torch.no_grad():
        fine, middle, coarse = hvae.encode(images)
        blocks, state = iter(hvae.encoder.blocks), hvae.encoder.stem((images - 0.3) / 0.4)
        state = state + next(blocks)(functional.gelu(state))
        assert torch.allclose(fine, functional.gelu(state))
        state = functional.pad(average(state + next(blocks)(functional.gelu(state))), (0, 0, 0, 0, 0, 6))
        for _ in range(2):
            state = state + next(blocks)(functional.gelu(state))
        assert torch.allclose(middle, functional.gelu(state))
        state = functional.avg_pool2d(state + next(blocks)(functional.gelu(state)), 4)
        assert torch.allclose(coarse, functional.gelu(state + next(blocks)(functional.gelu(state))))


def test_forward_is_likelihood_and_kls_of_the_inference() -> None:
    hvae, images = build(), pictures()
    nll, kl = hvae(images, torch.Generator().manual_seed(0))
    steps = infer(hvae)
    assert torch.allclose(kl, torch.stack([step.kl() for step in steps]))
    assert (kl >= 0).all()
    expected = functional.binary_cross_entropy_with_logits(hvae.decode(steps[-1].state), images, reduction="none")
    assert torch.allclose(nll, expected.flatten(1).sum(1))


def test_a_border_is_not_scored() -> None:
    hvae = build(replace(CONFIG, border=1))
    images = pictures()
    state = infer(hvae)[-1].state
    changed = images.clone()
    changed[..., 0, :] = 1 - changed[..., 0, :]
    assert torch.equal(hvae.nll(images, state), hvae.nll(changed, state))
    changed[..., 1, 1] = 1 - changed[..., 1, 1]
    assert not torch.equal(hvae.nll(images, state), hvae.nll(changed, state))
    assert hvae.dimensions == 36
    assert hvae.crop(images).shape == (5, 1, 6, 6)


@pytest.mark.parametrize(
    ("resolutions", "cells"),
    [
        (CONFIG.resolutions, [0, 1, 2, 3, 4, 5]),
        ((Resolution(8, 1, 3, shared=True), Resolution(4, 2, 2, shared=True), Resolution(1, 1, 1)), [0, 1, 1, 2, 2, 2]),
        ((Resolution(8, 1, 3, group="a"), Resolution(4, 2, 2, group="a"), Resolution(1, 1, 1)), [0, 1, 1, 1, 1, 1]),
        ((Resolution(8, 1, 3, group="a"), Resolution(4, 2, 2), Resolution(1, 1, 2, shared=True)), [0, 0, 1, 2, 3, 3, 3]),
    ],
)
def test_cells_are_shared_as_the_configuration_says(resolutions: tuple[Resolution, ...], cells: list[int]) -> None:
    config = replace(CONFIG, resolutions=resolutions)
    assert [moment.cell for moment in timetable(config)] == cells
    assert [moment.time for moment in timetable(config)] == [k / len(cells) for k in range(len(cells))]
    hvae = build(config)
    assert len(hvae.cells) == len(set(cells))
    with torch.no_grad():
        changed = [step.state for step in infer(hvae)]
        next(iter(hvae.cells[cells[-1]].residual.parameters())).mul_(2)  # type: ignore[union-attr, operator]
        after = [step.state for step in infer(hvae)]
    first = cells.index(cells[-1])
    assert [torch.equal(a, b) for a, b in zip(changed, after, strict=True)] == [k < first for k in range(len(cells))]


def test_a_shared_cell_may_be_told_the_time() -> None:
    config = replace(CONFIG, resolutions=(Resolution(4, 1, 3, shared=True),), time_input=True)
    hvae = build(config)
    (cell,) = hvae.cells
    state, noise = torch.randn(2, 12, 4, 4, dtype=torch.float64), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    early, late = (cell(state, None, noise, time) for time in (0.0, 0.5))
    assert not torch.allclose(early.prior.mean, late.prior.mean)
    for step in (early, late):  # both drifts are told: at one state they differ from time to time
        told, other = ((cell.second_drift(step.middle, time)) for time in (step.time, 0.5 - step.time))
        assert torch.allclose(step.second_drift, told, rtol=1e-12)
        assert not torch.allclose(step.second_drift, other)
    fresh = HVAE(config).cells[0].double()
    assert torch.equal(*(fresh(state, None, noise, time).state for time in (0.0, 0.5)))  # type: ignore[arg-type]


def test_a_normalised_state_has_norm_one_and_keeps_its_direction() -> None:
    free, tied = (infer(build(replace(CONFIG, normalise=normalise))) for normalise in (False, True))
    hvae = build(replace(CONFIG, normalise=True, no_bias_above=0))
    for parameter in hvae.parameters():
        parameter.data.zero_()
    (nothing, *_) = hvae.integrate(2, temperature=0)
    assert not nothing.state.any()
    for step in tied:
        assert torch.allclose(norm(step.state.flatten(1)[:, None]), torch.ones(5, 1, dtype=torch.float64))
    assert torch.allclose(functional.normalize(free[0].state.flatten(1)), functional.normalize(tied[0].state.flatten(1)))
    assert not torch.allclose(norm(free[-1].state.flatten(1)[:, None]), torch.ones(5, 1, dtype=torch.float64))


def test_a_step_of_another_length_scales_drifts_and_variances() -> None:
    hvae = build()
    (*_, cell) = hvae.cells
    state, noise = torch.randn(2, 12, 8, 8, dtype=torch.float64), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    activation = torch.randn_like(state)
    whole, part = (cell(state, activation, noise, 0.5, h) for h in (1.0, 0.25))
    assert torch.allclose(part.drift, whole.drift)
    assert torch.allclose(part.noise, whole.noise / 2)
    assert torch.allclose(part.middle, state + whole.drift / 4 + whole.noise / 2)
    assert torch.allclose(part.state, part.middle + part.second_drift / 4)
    assert torch.allclose(part.latent, part.posterior.mean + part.posterior.deviation * noise)
    replay = cell(state, None, noise, 0.5, 0.25, latent=part.latent)
    assert torch.allclose(replay.state, part.state, rtol=1e-12, atol=1e-13)
    assert torch.allclose(state + replay.drift / 4 + replay.noise, replay.middle)  # all of a given latent is drift


@pytest.mark.parametrize("shared", [False, True])
def test_at_the_start_priors_are_standard_and_what_is_added_is_scaled(shared: bool) -> None:
    """By the number of steps, whose sum it is, also where fewer cells take them."""
    torch.manual_seed(0)
    hvae = HVAE(replace(CONFIG, resolutions=tuple(replace(r, shared=shared) for r in CONFIG.resolutions)))
    assert len(hvae.cells) == (3 if shared else 6)
    biases = [p for name, p in hvae.named_parameters() if name.endswith("bias") or name.startswith("starts")]
    assert not any(p.any() for p in biases)
    for cell in hvae.cells:
        assert isinstance(cell, Cell)
        assert not cell.prior.c4.weight.any()
        for last, fan_in, scale in ((cell.projection, 3, 6), (cell.residual.c4, 6, 6)):
            largest = float(last.weight.detach().abs().max()) / math.sqrt(1 / fan_in / scale)
            assert 0.9 < largest <= 1 + 1e-6
    assert len(hvae.encoder.blocks) == 6
    for block in hvae.encoder.blocks:
        assert isinstance(block, Bottleneck)
        assert 0.96 < float(block.c4.weight.detach().abs().max()) / math.sqrt(1 / 6 / 6) <= 1 + 1e-6


def test_channels_are_padded_with_zeros_or_dropped() -> None:
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(fit_channels(x, 5), torch.cat([x, torch.zeros(2, 2, 4, 4)], 1))
    assert torch.equal(fit_channels(x, 2), x[:, :2])
    assert fit_channels(x, 3) is x


@pytest.mark.parametrize("preset", ["mnist", "digits"])
def test_samples_have_no_gradient_and_may_be_trained_on(preset: str) -> None:
    hvae = HVAE(HVAE_PRESETS[preset].model)
    drawn = hvae.sample(2, generator=torch.Generator().manual_seed(0))
    assert not drawn.requires_grad
    assert not drawn.is_inference()
    assert torch.equal(drawn, (drawn * 255).round() / 255)
    hvae(drawn)[0].sum().backward()
    weight = hvae.encoder.stem.weight
    assert weight.grad is not None
    assert weight.grad.any()


@pytest.mark.parametrize("preset", ["mnist", "digits"])
def test_sampling_is_one_graph_to_a_compiler(preset: str) -> None:
    """Which inference mode would not be; the first resolution of digits starts from a learned function, so from a parameter."""
    levels = (Resolution(8, 1, 1, 8), Resolution(4, 1, 1, 8))
    hvae = HVAE(replace(HVAE_PRESETS[preset].model, resolutions=levels, border=0))
    compiled = torch.compile(hvae.sample, backend="aot_eager", fullgraph=True)
    drawn = []
    for sample in (compiled, hvae.sample):
        torch.manual_seed(0)
        drawn.append(sample(3))
    assert torch.equal(*drawn)
    assert not drawn[0].requires_grad


@given(hvae_configs())
def test_every_configuration_trains_and_samples(config: HVAEConfig) -> None:
    torch.manual_seed(0)
    hvae = HVAE(config)
    nll, kl = hvae(pictures(config, 2).float())
    (nll.sum() + kl.sum()).backward()
    assert kl.shape == (config.steps, 2)
    assert nll.isfinite().all()
    assert (kl >= 0).all()
    assert hvae.sample(2).shape == (2, config.channels, *[config.resolutions[0].size] * 2)
    state = dict(hvae.state_dict())
    again = HVAE(config)
    again.load_state_dict(state)
    assert hvae.likelihood.parameters == again.likelihood.parameters


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 3, 8, 8), (2, 1, 16, 16), (2, 1, 8, 4)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(MultiresError, match=r"this HVAE takes \(batch, 1, 8, 8\)"):
        build().encode(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("images", [torch.zeros(0, 1, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(())])
def test_no_images_and_whole_numbers_are_refused(images: Tensor) -> None:
    with pytest.raises(MultiresError, match=r"images of shape .*torch\..*: this HVAE takes .* floating-point numbers in \[0, 1\]$"):
        build().encode(images)


def test_images_of_another_precision_are_taken_in_that_of_the_network() -> None:
    hvae, images = build(), pictures()
    for one, two in zip(hvae.encode(images.float()), hvae.encode(images), strict=True):
        assert torch.equal(one, two)  # zeros and ones


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (5, 3, 8, 8), (5, 1, 1, 1), (5, 64)])
def test_likelihoods_of_images_that_would_stretch_to_the_state_are_refused(shape: tuple[int, ...]) -> None:
    hvae = build()
    state = infer(hvae)[-1].state
    with pytest.raises(MultiresError, match=r"with this state go images of shape \(5, 1, 8, 8\)"):
        hvae.nll(torch.zeros(shape, dtype=torch.float64), state)


def test_presets_stay_within_their_sizes() -> None:
    sizes = {name: sum(p.numel() for p in HVAE(run.model).parameters()) for name, run in HVAE_PRESETS.items()}
    assert sizes["mnist"] <= 350_000
    for name in ("mnist", "mnist-shared", "fashion-mnist", "fashion-mnist-shared"):
        assert HVAE(HVAE_PRESETS[name].model).dimensions == 28 * 28  # in 32 x 32, whose border is not scored
    assert sizes["mnist-shared"] <= 0.55 * sizes["mnist"]


def test_shapes_are_computed_without_memory() -> None:
    with torch.device("meta"):
        nll, kl = HVAE(HVAE_PRESETS["mnist"].model)(torch.empty(5, 1, 32, 32))
    assert (nll.shape, kl.shape, nll.device.type) == ((5,), (12, 5), "meta")

"""What a pass of an HVAE may be given: latents, noise, temperatures, a generator; and what of it is refused."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from multires.cells import Step
from multires.errors import MultiresError
from tests.multires.small_hvae import build, infer, pictures


def test_given_latents_replay_an_inference_in_generation() -> None:
    hvae = build()
    steps = infer(hvae)
    latents = [step.latent for step in steps]
    with torch.no_grad():
        again = list(hvae.integrate(5, latents=latents))
    for one, two in zip(steps, again, strict=True):
        assert torch.allclose(one.state, two.state, rtol=1e-11, atol=1e-12)
        assert not two.noise.any()
        assert not two.kl().any()
        assert not two.log_ratio().any()


def test_given_latents_have_a_posterior_where_there_are_activations() -> None:
    hvae, images = build(), pictures()
    steps = infer(hvae)
    with torch.no_grad():
        again = list(hvae.integrate(5, hvae.encode(images), latents=[step.latent for step in steps]))
    for one, two in zip(steps, again, strict=True):
        assert torch.allclose(one.state, two.state, rtol=1e-11, atol=1e-12)
        assert not two.noise.any()
        assert one.kl().all()
        assert torch.allclose(one.kl(), two.kl(), rtol=1e-9)
        assert torch.allclose(one.log_ratio(), two.log_ratio(), rtol=1e-9)


def test_the_first_latents_may_be_given_and_the_rest_are_drawn() -> None:
    hvae = build()
    latents = [step.latent for step in infer(hvae)[:4]]
    one, two = (list(hvae.integrate(5, latents=latents, generator=torch.Generator().manual_seed(seed))) for seed in (1, 2))
    for number in range(6):
        assert torch.equal(one[number].state, two[number].state) == (number < 4)


def test_noise_may_be_given_and_is_the_only_chance() -> None:
    hvae = build()
    noise = [torch.randn_like(step.latent) for step in infer(hvae)]
    one, two = (list(hvae.integrate(5, noise=noise)) for _ in range(2))
    assert all(torch.equal(a.state, b.state) for a, b in zip(one, two, strict=True))
    other = list(hvae.integrate(5, noise=[-eps for eps in noise]))
    assert not torch.equal(one[-1].state, other[-1].state)
    assert torch.allclose(one[0].noise, -other[0].noise)


def test_noise_and_latents_are_taken_in_the_precision_of_the_network() -> None:
    hvae = build().float()
    noise = [torch.randn(step.latent.shape, dtype=torch.float64) for step in hvae.integrate(5)]

    def run(noise: list[Tensor]) -> list[Step]:
        return list(hvae.integrate(5, noise=noise, latents=noise[:2]))

    for one, two in zip(run(noise), run([eps.float() for eps in noise]), strict=True):
        assert one.state.dtype == torch.float32
        assert torch.equal(one.state, two.state)


def test_a_temperature_multiplies_the_deviations_step_by_step() -> None:
    hvae = build()
    noise = [torch.randn_like(step.latent) for step in infer(hvae)]

    def run(temperature: float | Sequence[float]) -> list[Step]:
        return list(hvae.integrate(5, noise=noise, temperature=temperature))

    images = pictures()
    lukewarm = list(hvae.integrate(5, hvae.encode(images), noise=noise, temperature=0.5))
    for step, eps in zip(lukewarm, noise, strict=True):  # in inference too
        assert step.posterior is not None
        assert torch.allclose(step.latent, step.posterior.mean + 0.5 * step.posterior.deviation * eps)
    warm, cold, mixed = run(1.0), run(0), run([1, 1, 0.5, 1, 1, 1])
    assert not any(step.noise.any() for step in cold)
    assert torch.equal(warm[1].state, mixed[1].state)
    assert torch.allclose(0.5 * warm[2].noise, mixed[2].noise)


def test_a_generator_fixes_the_draws() -> None:
    hvae = build()
    one, two, three = (hvae.sample(3, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    assert set(one.unique().tolist()) == {0, 1}


def test_too_many_or_too_few_of_what_is_given_are_refused() -> None:
    hvae = build()
    latents = [step.latent for step in infer(hvae)]
    for wrong in ({"latents": [*latents, latents[0]]}, {"noise": latents[:-1]}, {"temperature": [1.0] * 5}):
        with pytest.raises(MultiresError, match="this HVAE takes 6 steps"):
            list(hvae.integrate(5, **wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf, [1.0, 1.0, -0.1, 1.0, 1.0, 1.0]])
def test_a_temperature_that_is_none_is_refused(wrong: float | list[float]) -> None:
    with pytest.raises(MultiresError, match=r"^temperature = .*: deviations are multiplied by what is 0 or more, and finite$"):
        next(build().integrate(2, temperature=wrong))


def test_noise_and_latents_of_another_shape_are_refused() -> None:
    """Also those that would stretch to the right one."""
    hvae = build()
    right = [step.latent for step in infer(hvae)]
    for what in ("noise", "latents"):
        for wrong in (right[2][:1], right[2][:, :1], right[2][..., :1]):
            with pytest.raises(MultiresError, match=r"for step 3: it takes \(5, 3, 4, 4\)"):
                list(hvae.integrate(5, **{what: [*right[:2], wrong, *right[3:]]}))  # type: ignore[arg-type]


def test_a_temperature_may_be_any_number() -> None:
    hvae = build()
    noise = [torch.randn_like(step.latent) for step in infer(hvae)]
    for half in (np.float32(0.5), torch.tensor(0.5)):
        one, two = (list(hvae.integrate(5, noise=noise, temperature=t))[-1].state for t in (0.5, half))  # type: ignore[arg-type]
        assert torch.equal(one, two)


def test_temperatures_may_be_a_tensor_or_an_array() -> None:
    hvae = build()
    noise = [torch.randn_like(step.latent) for step in infer(hvae)]
    each = [1.0, 0.5, 0.25, 1.0, 0.0, 2.0]
    for given in (torch.tensor(each), np.array(each), tuple(each)):
        one, two = (list(hvae.integrate(5, noise=noise, temperature=t))[-1].state for t in (each, given))  # type: ignore[arg-type]
        assert torch.equal(one, two)


def test_samples_and_bounds_take_what_their_steps_take() -> None:
    hvae, images = build(), pictures()
    noise, each = [torch.randn_like(step.latent) for step in infer(hvae)], [1.0, 0.5, 0.25, 1.0, 0.0, 2.0]
    *_, last = hvae.integrate(5, noise=noise, temperature=each)
    pixels = hvae.likelihood.sample(hvae.decode(last.state), torch.Generator().manual_seed(3))
    assert torch.equal(hvae.sample(5, noise=noise, temperature=each, generator=torch.Generator().manual_seed(3)), pixels)
    nll, kl = hvae(images, noise=noise)
    inferred = list(hvae.integrate(5, hvae.encode(images), noise=noise))
    assert torch.equal(nll, hvae.nll(images, inferred[-1].state))
    assert torch.equal(kl, torch.stack([step.kl() for step in inferred]))


@pytest.mark.parametrize("count", [0, -1])
def test_less_than_one_image_is_refused(count: int) -> None:
    with pytest.raises(MultiresError, match=f"^count = {count}: images are 1 or more$"):
        build().sample(count)


def test_activations_of_another_shape_are_refused() -> None:
    """Also those that would stretch to the right one."""
    hvae, images = build(), pictures()
    right = hvae.encode(images)
    for wrong in (hvae.encode(images[:1]), right[:-1], right[::-1], [*right[:-2], right[-2][..., :1, :1], right[-1]]):
        with pytest.raises(MultiresError, match=r"for 5 images this HVAE's encoder gives \[\(5, 12, 8, 8\), "):
            next(hvae.integrate(5, wrong))

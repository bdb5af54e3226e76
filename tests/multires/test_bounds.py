"""Bounds on the likelihood: their order, the closed-form twin, protocols, and that nothing is dropped."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from multires.bounds import Bounds, bits_per_dimension, bounds, negative_elbo, prepared
from multires.errors import MultiresError
from multires.hvae import HVAE
from multires.hvae_configs import HVAEConfig, Resolution
from multires.linear_hvae import linear_hvae, log_evidence

CONFIG = HVAEConfig((Resolution(4, 1, 2), Resolution(1, 1, 1)), width=8, latents=2, likelihood="logistic-mixture", mixtures=2)


def trained() -> tuple[HVAE, Tensor]:
    """A small HVAE after a few steps, whose posterior has left its prior, and images."""
    torch.manual_seed(0)
    hvae = HVAE(CONFIG)
    images = (torch.rand(37, 1, 1, 1).expand(-1, 1, 4, 4) * 255).round() / 255
    optimizer = torch.optim.Adam(hvae.parameters(), 1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        loss, _ = negative_elbo(hvae, (images,), hvae.dimensions)
        loss.backward()
        optimizer.step()
    return hvae.eval(), images


def joined(parts: list[Bounds]) -> tuple[Tensor, Tensor, Tensor]:
    importance = [part.importance for part in parts if part.importance is not None]
    return (
        torch.cat([p.elbo for p in parts]),
        torch.cat([p.kl for p in parts]),
        torch.cat(importance) if importance else torch.empty(0),
    )


def test_elbo_is_at_most_the_importance_weighted_bound_at_most_zero() -> None:
    """In the mean over images and draws, more draws give a tighter bound."""
    hvae, images = trained()
    many = images.repeat(30, 1, 1, 1)
    elbo, kl, one = joined(list(bounds(hvae, many, 1, 0)))
    *_, ten = joined(list(bounds(hvae, many, 10, 0)))
    *_, hundred = joined(list(bounds(hvae, many, 100, 0)))
    assert (kl >= 0).all()
    assert (hundred <= 0).all()
    assert float(kl.sum(1).mean()) > 0.5
    error = float((elbo - one).std()) / math.sqrt(len(many))
    assert abs(float((elbo - one).mean())) < 5 * error
    assert float(elbo.mean()) < float(ten.mean()) < float(hundred.mean())


@pytest.mark.parametrize("gains", [[1.5], [2.0, 0.5], [0.3, 1.0, 3.0]])
def test_the_linear_twin_knows_its_evidence(gains: list[float]) -> None:
    """With the exact posterior every importance weight is the evidence itself, and the ELBO agrees in the mean."""
    torch.manual_seed(1)
    hvae = linear_hvae(2, 3, torch.tensor(gains, dtype=torch.float64), s=0.4)
    images = torch.randn(6, 3, 2, 2, dtype=torch.float64)
    exact = log_evidence(hvae, images)
    for draws in (1, 7):
        *_, importance = joined(list(bounds(hvae, images, draws, seed=draws, batch=5)))
        assert torch.allclose(importance, exact, rtol=1e-10)
    elbo, *_ = joined(list(bounds(hvae, images.repeat(3000, 1, 1, 1), 0, 0)))
    by_image = elbo.view(3000, 6)
    error = by_image.std(0) / math.sqrt(3000)
    assert ((by_image.mean(0) - exact).abs() < 5 * error).all()


def test_with_another_posterior_the_elbo_falls_short_by_its_kl_and_importance_weights_make_up_for_it() -> None:
    torch.manual_seed(1)
    gains, widening = torch.tensor([2.0, 0.5], dtype=torch.float64), 1.3
    hvae = linear_hvae(2, 3, gains, s=0.4, widening=widening)
    images = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    exact = log_evidence(hvae, images)
    elbo, _, importance = joined(list(bounds(hvae, images.repeat(500, 1, 1, 1), 200, 0)))
    gap = 4 * 2 * (0.5 * (widening**2 - 1) - math.log(widening))  # 4 cells, 2 latents
    short = (exact - elbo.view(500, 4)).mean(0)
    error = elbo.view(500, 4).std(0) / math.sqrt(500)
    assert ((short - gap).abs() < 5 * error).all()
    assert ((exact - importance.view(500, 4).mean(0)).abs() < 0.1 * gap).all()


@given(
    gains=st.lists(st.floats(0.1, 4), min_size=1, max_size=3),
    s=st.floats(0.2, 2),
    widening=st.floats(0.6, 1.8),
    size=st.sampled_from([1, 2, 4]),
    draws=st.integers(2, 20),
    seed=st.integers(0, 2**20),
)
def test_bounds_are_ordered_and_below_the_evidence(
    gains: list[float], s: float, widening: float, size: int, draws: int, seed: int
) -> None:
    """E ELBO = log p(x) - KL(q || p(z|x)) <= E L_K <= log p(x), for every linear HVAE and any posterior."""
    torch.manual_seed(seed)
    hvae = linear_hvae(size, 3, torch.tensor(gains, dtype=torch.float64), s, widening)
    images = torch.randn(1, 3, size, size, dtype=torch.float64)
    exact = float(log_evidence(hvae, images).detach())
    elbo, kl, importance = joined(list(bounds(hvae, images.expand(400, -1, -1, -1), draws, seed)))
    (elbo_mean, elbo_error), (importance_mean, importance_error) = (
        (float(x.mean()), 6 * float(x.std()) / math.sqrt(len(x)) + 1e-9) for x in (elbo, importance)
    )
    gap = size**2 * len(gains) * (0.5 * (widening**2 - 1) - math.log(widening))
    assert (kl >= 0).all()
    assert abs(exact - gap - elbo_mean) <= elbo_error
    assert elbo_mean <= importance_mean + elbo_error + importance_error
    assert importance_mean <= exact + importance_error


def test_nothing_is_dropped_and_batches_do_not_matter() -> None:
    hvae, images = trained()
    elbo, kl, importance = joined(list(bounds(hvae, images, 3, 0, batch=8)))
    assert elbo.shape == importance.shape == (37,)
    assert kl.shape == (37, 3)
    again, *_ = joined(list(bounds(hvae, images, 0, 0, batch=8)))
    assert torch.equal(elbo, again)
    with torch.no_grad():
        nll, parts = hvae(images[:8], torch.Generator().manual_seed(0))
    assert torch.allclose(elbo[:8], -(nll + parts.sum(0)))


def test_draws_are_streamed() -> None:
    """However many draws, no state is larger than a batch."""
    hvae, images = trained()
    sizes: list[int] = []
    hvae.head.register_forward_hook(lambda module, args, output: sizes.append(len(output)))
    *_, importance = joined(list(bounds(hvae, images[:10], 1000, 0, batch=64)))
    assert importance.isfinite().all()
    assert max(sizes) <= 64
    assert sum(sizes) == 10 + 10 * 1000


def test_less_than_no_draw_and_no_images_and_none_at_once_are_refused() -> None:
    hvae, images = HVAE(CONFIG), torch.zeros(3, 1, 4, 4)
    with pytest.raises(MultiresError, match=r"^draws = -1, "):
        next(bounds(hvae, images, -1, 0))
    with pytest.raises(MultiresError, match=r"^draws = 0, batch = 0: "):
        next(bounds(hvae, images, 0, 0, batch=0))
    with pytest.raises(MultiresError, match="one image or more"):
        next(bounds(hvae, images[:0], 0, 0))


def test_the_loss_is_nats_per_dimension_with_its_parts() -> None:
    hvae, images = trained()
    torch.manual_seed(3)
    loss, parts = negative_elbo(hvae, (images,), hvae.dimensions)
    torch.manual_seed(3)
    nll, kl = hvae(images)
    assert float(loss.detach()) == pytest.approx(float((nll + kl.sum(0)).mean().detach()) / 16, rel=1e-6)
    assert torch.allclose(parts["kl"], kl.mean(1))
    assert torch.allclose(parts["nll"], nll.mean())


def test_kls_below_the_free_nats_of_an_image_have_no_gradient() -> None:
    hvae, images = trained()

    def drawn() -> tuple[Tensor, Tensor]:
        torch.manual_seed(3)
        nll, kl = hvae(images)
        return nll, kl

    def gradients(loss: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss, list(hvae.parameters()))

    nll, kl = drawn()
    free = kl.detach().mean(0)  # of each image, with steps on either side
    above = kl > free
    torch.manual_seed(3)
    loss, parts = negative_elbo(hvae, (images, free), hvae.dimensions)
    assert torch.allclose(parts["kl"], kl.mean(1))  # what is logged is the KL itself
    assert torch.allclose(loss, (nll.mean() + kl.where(above, free).mean(1).sum()) / hvae.dimensions)
    wanted = gradients((nll.mean() + (kl * above).mean(1).sum()) / hvae.dimensions)
    assert all(torch.allclose(one, two, atol=1e-6) for one, two in zip(gradients(loss), wanted, strict=True))
    nll, kl = drawn()
    plain = gradients((nll.mean() + kl.mean(1).sum()) / hvae.dimensions)
    assert not all(torch.allclose(one, two, atol=1e-4) for one, two in zip(plain, wanted, strict=True))


def test_protocols_of_binarisation() -> None:
    grey = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(5))

    def seed(n: int) -> torch.Generator:
        return torch.Generator().manual_seed(n)

    dynamic = prepared(grey, "dynamic", seed(0))
    assert set(dynamic.unique().tolist()) == {0, 1}
    assert torch.equal(dynamic, prepared(grey, "dynamic", seed(0)))
    assert not torch.equal(dynamic, prepared(grey, "dynamic", seed(1)))
    assert float((dynamic - grey).mean().abs()) < 0.02
    assert torch.equal(prepared(grey, "threshold", seed(0)), (grey > 0.5).float())
    assert torch.allclose(prepared(grey, "no", seed(0)), grey, atol=0.5 / 255 + 1e-6)
    assert torch.allclose(prepared(grey, "no", seed(0)) * 255, (grey * 255).round())


def test_bits_per_dimension() -> None:
    assert bits_per_dimension(math.log(2) * 24, 12) == pytest.approx(2)

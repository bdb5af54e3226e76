"""The blocks of a cell against convolutions written out, whichever way they are computed."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from multires import cells
from multires.cells import Bottleneck, Pointwise, gelu
from multires.hvae import HVAE
from multires.hvae_configs import HVAE_PRESETS


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_a_bottleneck_is_four_convolutions_after_gelu(size: int) -> None:
    block = Bottleneck(6, 3, 5, size).double()
    x = torch.randn(2, 6, size, size, dtype=torch.float64)
    y = x
    for convolution in (block.c1, block.c2, block.c3, block.c4):
        side = convolution.kernel_size[0]
        y = functional.conv2d(functional.gelu(y), convolution.weight, convolution.bias, padding=side // 2)
    assert torch.allclose(block(functional.gelu(x)), y, rtol=1e-12, atol=1e-14)
    assert [c.kernel_size[0] for c in (block.c1, block.c2, block.c3, block.c4)] == ([1, 3, 3, 1] if size > 2 else [1, 1, 1, 1])
    assert torch.allclose(block(x[:, :2], x[:, 2:]), block(x), rtol=1e-12, atol=1e-14)
    for h in (0.0, 0.3):
        assert torch.allclose(block.c1(x, h=h), block.c1(x) - (1 - h) * block.c1.bias[:, None, None])  # type: ignore[index]


def test_blocks_of_cells_may_be_of_another_width_than_the_encoders() -> None:
    config = replace(HVAE_PRESETS["digits"].model, cell_bottleneck=0.25)
    hvae = HVAE(config)
    inner = int(config.width * 0.25)
    assert {block.c2.weight.shape[:2] for cell in hvae.cells for block in (cell.prior, cell.posterior, cell.residual)} == {
        (inner, inner)
    }
    assert {block.c2.weight.shape[0] for block in hvae.encoder.blocks} == {int(config.width * config.bottleneck)}


@pytest.mark.parametrize("batch", [2, cells.MANY // 256])
def test_a_convolution_of_width_1_is_one_map_of_the_channels_of_few_cells_and_of_many(batch: int) -> None:
    """And so are its gradients: where cells are many it is computed another way."""
    pointwise = Pointwise(6, 5).double()
    x, beside = (torch.randn(batch, 3, 16, 16, dtype=torch.float64, requires_grad=True) for _ in range(2))
    towards = torch.randn(batch, 5, 16, 16, dtype=torch.float64)
    assert pointwise.bias is not None
    ours = pointwise(x, beside, h=0.3)
    told = (
        torch.einsum("oi,bihw->bohw", pointwise.weight[:, :, 0, 0], torch.cat([x, beside], 1)) + 0.3 * pointwise.bias[:, None, None]
    )
    wanted = (x, beside, pointwise.weight, pointwise.bias)
    gradients, expected = (torch.autograd.grad((y * towards).sum(), wanted) for y in (ours, told))
    assert torch.allclose(ours, told, rtol=1e-12, atol=1e-13)
    for gradient, other in zip(gradients, expected, strict=True):
        assert torch.allclose(gradient, other, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("size", [4, 64])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_gelu_is_x_times_the_normal_distribution_function_of_few_and_of_many(size: int, layout: torch.memory_format) -> None:
    """And so is its gradient; the formula with tanh would be off by hundreds of times as much."""
    x = (3 * torch.randn(2, 16, size, size)).contiguous(memory_format=layout).requires_grad_()
    assert (x.numel() >= cells.LARGE) == (size == 64)
    y = gelu(x)
    wide = x.detach().double().requires_grad_()
    told = wide * torch.special.ndtr(wide)
    assert float((y - told).detach().abs().max()) <= 3e-6
    assert y.is_contiguous(memory_format=layout)
    towards = torch.randn_like(y)
    (gradient,), (expected,) = torch.autograd.grad(y, x, towards), torch.autograd.grad(told, wide, towards.double())
    assert float((gradient - expected).abs().max()) <= 3e-6
    assert torch.equal(gelu(wide), functional.gelu(wide))


def test_mean_and_log_deviation_of_a_step_lie_each_by_itself_in_memory() -> None:
    """Exponentials of slices of the channels that lie last take several times as long."""
    hvae = HVAE(HVAE_PRESETS["digits"].model)
    n, channels = hvae.config.resolutions[0].size, hvae.config.channels
    with torch.no_grad():
        for step in hvae.integrate(2, hvae.encode(torch.zeros(2, channels, n, n))):
            for gaussian in (step.prior, step.posterior):
                assert gaussian is not None
                for part in (gaussian.mean, gaussian.log_deviation):
                    assert part.is_contiguous(memory_format=torch.channels_last)

"""For tests of HVAEs: a small one none of whose parts is zero, images for it, and its inference."""

import torch
from torch import Tensor

from multires.cells import Step
from multires.hvae import HVAE
from multires.hvae_configs import HVAEConfig, Resolution

CONFIG = HVAEConfig((Resolution(8, 1, 3), Resolution(4, 2, 2), Resolution(1, 1, 1)), width=12, latents=3, bottleneck=0.5)


def build(config: HVAEConfig = CONFIG, seed: int = 0) -> HVAE:
    """An HVAE none of whose parts is zero, in float64."""
    torch.manual_seed(seed)
    hvae = HVAE(config).double()
    with torch.no_grad():
        for parameter in hvae.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, dtype=torch.float64))
    return hvae


def pictures(config: HVAEConfig = CONFIG, count: int = 5) -> Tensor:
    n = config.resolutions[0].size
    return torch.rand(count, config.channels, n, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64).round()


def infer(hvae: HVAE, seed: int = 0) -> list[Step]:
    images = pictures(hvae.config)
    with torch.no_grad():
        return list(hvae.integrate(len(images), hvae.encode(images), generator=torch.Generator().manual_seed(seed)))

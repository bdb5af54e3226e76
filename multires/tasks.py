r"""What a U-Net is trained for: pairs of input and target made from clean images w, with the loss $\|U(x) - w\|^2$ of $L^2$."""

import torch
from torch import Tensor, nn

from multires.configs import Task
from multires.pooling import project


def pair(task: Task, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return (input, target), both of the images' shape; the noise is drawn on the CPU from the generator."""
    if task.name == "denoise":
        return images + task.noise * torch.randn(images.shape, generator=generator), images
    if task.name == "super-resolve":
        return project(images, task.levels), images
    return images, images


def squared_distance(net: nn.Module, pair: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, Tensor]]:
    r"""The mean over the batch of $\|U(x) - w\|^2$, which by the choice of inner product is the mean squared error."""
    x, target = pair
    error: Tensor = (net(x) - target).square().mean()
    return error, {}

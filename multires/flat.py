r"""A network's parameters as one vector $\theta$, and their gradients as another.

What an optimiser does entry by entry, as AdamW and clipping by the norm do, is then one operation instead of one a tensor: with
the hundreds of small tensors of an HVAE, calling them would take longer than what they compute.
"""

from collections.abc import Sequence

import torch
from torch import nn


def flatten(module: nn.Module) -> list[nn.Parameter]:
    r"""Move the parameters of a module that are trained, and gradients of zero, into vectors; return these.

    One vector for each kind of number and device, of shape (entries,), in the order of `module.parameters()`. The module's
    parameters and gradients become views of them, of the shapes and layouts that they had: gradients have to be set to zero in
    place, `zero_grad(set_to_none=False)`. To an optimiser a parameter without a gradient is then one whose gradient is zero.
    """
    kinds: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
    for parameter in module.parameters():
        if parameter.requires_grad:
            kinds.setdefault((parameter.dtype, parameter.device), []).append(parameter)
    return [_joined(parameters) for parameters in kinds.values()]


def attached(module: nn.Module, vectors: Sequence[nn.Parameter]) -> bool:
    """Whether the gradients of a module still lie in the vectors that `flatten` gave of it."""
    own, followed = next(parameter for parameter in module.parameters() if parameter.requires_grad).grad, vectors[0].grad
    if own is None or followed is None:
        return False
    return own.untyped_storage().data_ptr() == followed.untyped_storage().data_ptr()


def _joined(parameters: Sequence[nn.Parameter]) -> nn.Parameter:
    like, start = parameters[0], 0
    vector = nn.Parameter(like.new_empty(sum(parameter.numel() for parameter in parameters)))
    vector.grad = torch.zeros_like(vector)
    for parameter in parameters:
        layout = parameter.shape, torch.empty_like(parameter).stride()
        piece = slice(start, start + parameter.numel())
        values, gradient = (whole[piece].as_strided(*layout) for whole in (vector.detach(), vector.grad))
        parameter.data = values.copy_(parameter.detach())
        parameter.grad = gradient
        start = piece.stop
    return vector

"""A copy of a network to audit in its place: with its own weights, then with random ones, and nothing else disturbed."""

import contextlib
import copy
import itertools
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from multires.errors import MultiresError, summary

REDRAWN = 1_000_003  # small seeds are those that networks are initialised with


def copied(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode; raises MultiresError for what cannot be copied."""
    # results that a module keeps, as weight normalisation by hooks and pruning do, are copied as values: torch copies no others
    held = (item for module in model.modules() for item in vars(module).values() if isinstance(item, Tensor) and not item.is_leaf)
    try:
        net = copy.deepcopy(model, {id(item): item.detach().clone() for item in held})
        net.eval()  # which returns nothing where a module's own train() does not
        return net
    except Exception as error:
        raise MultiresError(
            f"{type(model).__name__} cannot be copied, and only a copy is audited ({summary(error)}); give it a __deepcopy__"
        ) from None


def left_behind(model: nn.Module, net: nn.Module) -> list[Tensor]:
    """The parameters and buffers of a model that its copy does not share, and is not to touch."""
    ours = {id(tensor) for tensor in _tensors(net)}
    return [tensor for tensor in _tensors(model) if id(tensor) not in ours]


def _tensors(net: nn.Module) -> Iterator[Tensor]:
    return itertools.chain(net.parameters(), net.buffers())


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Leave every generator of random numbers where it was."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 # the one that a model's forward may draw from
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002


def redraw(net: nn.Module) -> str:
    """Initialise all weights anew, and say how.

    Each module's `reset_parameters` does it; whatever that leaves as it was, or has none, is drawn from a normal distribution with
    the mean and standard deviation it had.
    """
    torch.manual_seed(REDRAWN)
    left, without, failed = 0, "", ""
    with torch.no_grad():
        for name, module in net.named_modules():
            own = [p for p in module.parameters(recurse=False) if p.numel() and p.is_floating_point()]
            before = [p.clone() for p in own]
            if own and callable(getattr(module, "reset_parameters", None)):
                try:
                    module.reset_parameters()
                except Exception as error:  # whatever the user's code raises
                    failed = failed or f"; that of {type(module).__name__} {name!r} raised {summary(error)}"
                    for p, old in zip(own, before, strict=True):
                        p.copy_(old)
            for p, old in zip(own, before, strict=True):
                if torch.equal(p, old) and old.numel() > 1 and (deviation := float(old.double().std())):
                    p.normal_(float(old.double().mean()), deviation)
                    left, without = left + 1, without or f"{type(module).__name__} {name!r}"
    drawn = f"; {left} that it leaves alone, the first in {without}, are normal, of their own mean and deviation" if left else ""
    return f"random weights: by each module's reset_parameters{drawn}{failed}"

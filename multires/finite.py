"""Where numbers stop being finite: a step of a training taken once more, looked at operation by operation."""

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def _finite(output: Any) -> bool:
    tensors = (leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and (leaf.is_floating_point() or leaf.is_complex()))
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


class _Watch(TorchDispatchMode):
    """Notes the first operation whose result is not finite, and the module that was entered or left last before it.

    Operations are what sees everything: a module may put out any object, and a loss computes outside of modules.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.place, self.found = "", ""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = operation(*args, **(kwargs or {}))
        unset = "empty" in operation.name()  # memory that nothing was written to yet holds anything
        if not self.found and not unset and not _finite(output):
            self.found = f"comes from {operation.name()}" + f" in {self.place}, or right after it" * bool(self.place)
        return output

    def see(self, name: str, *_: Any) -> None:
        """A module is entered or left."""
        self.place = name

    def accumulated(self, name: str, parameter: Tensor) -> None:
        """A parameter has its gradient."""
        if not self.found and parameter.grad is not None and not _finite(parameter.grad):
            self.found = f"is in the gradient of {name}"


def first_not_finite(model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> str:
    """What the first number of loss(model) and its gradient that is not finite comes from, in words; '' where all are finite.

    Sets the gradients of the model anew.
    """
    watch = _Watch()
    with contextlib.ExitStack() as hooks:
        for name, module in model.named_modules():
            for register in (module.register_forward_pre_hook, module.register_forward_hook):
                hooks.callback(register(lambda *_, name=name: watch.see(name)).remove)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                note = parameter.register_post_accumulate_grad_hook(lambda p, name=name: watch.accumulated(name, p))
                hooks.callback(note.remove)
        model.zero_grad()
        with torch.enable_grad():
            with watch:
                value = loss(model)
            if not watch.found:
                value.backward()
    return watch.found

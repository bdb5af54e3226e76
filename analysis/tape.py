r"""Values as functions of one tensor, kept as the calls that made them, so that they can be computed again from another tensor.

What a pooling does to activations is one thing, what it *is* as an operator another: `Operator` evaluates the same calls, in
float64, on any input of the same shape. A call is replayed with its own arguments; constants (weights, numbers) stay.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

UNEVEN = 1.1
ALIKE = 0.7  # the least correlation between the responses to impulses in different places
# a replay stays in float64, and its gradients, which adjoints are, in one piece
CASTS = {"to", "float", "half", "double", "bfloat16", "type", "type_as", "detach"}


class _Source:
    """Stands for the tensor that a value is a function of."""


SOURCE = _Source()


@dataclass(frozen=True, eq=False)
class Value:
    """The value of a call whose tensors are all functions of `source`, or constants."""

    source: Tensor
    name: str
    function: Callable[..., Any]
    args: Any
    kwargs: Any
    pick: int | None
    """Which of several results."""
    path: str
    line: tuple[str, int] | None
    learned: bool
    """Whether a parameter that is trained takes part, in this call or in one before it."""
    shape: tuple[int, ...] = ()
    """The result's, where it is followed."""
    rough: bool = False
    """Whether autocast may have computed it in a lower precision."""
    alone: "Value | None" = None
    """The call as a function of what it was given, where that is an image of another batch than the source."""

    def calls(self) -> Iterator["Value"]:
        """This call and those before it, each once, the last first."""
        seen: set[int] = set()
        waiting = [self]
        while waiting:
            value = waiting.pop(0)
            if id(value) not in seen:
                seen.add(id(value))
                yield value
                waiting += [item for item in leaves((value.args, value.kwargs)) if isinstance(item, Value)]

    def of(self, inner: "Value") -> "Value":
        """This function of another one's value, which is what it is a function of so far."""
        new: dict[int, Value] = {}

        def given(item: Any) -> Any:
            if isinstance(item, Value) and id(item) not in new:
                args, kwargs = mapped(given, item.args), mapped(given, item.kwargs)
                new[id(item)] = replace(item, source=inner.source, args=args, kwargs=kwargs)
            return new[id(item)] if isinstance(item, Value) else inner if item is SOURCE else item

        composed: Value = given(self)
        return composed

    def evaluate(self, z: Tensor, known: dict[int, Any]) -> Tensor:
        """The value where the source is z, in float64."""
        if id(self) not in known:

            def given(item: Any) -> Any:
                if isinstance(item, Value):
                    return item.evaluate(z, known)
                if item is SOURCE:
                    return z
                if isinstance(item, Tensor) and item.is_complex():
                    return item.to(torch.complex128)
                return item.double() if isinstance(item, Tensor) and item.is_floating_point() else item

            args = mapped(given, self.args)
            if self.name in CASTS:
                result = args[0]
            else:
                kwargs = {key: mapped(given, value) for key, value in self.kwargs.items() if key != "dtype"}
                result = self.function(*args, **kwargs)
            known[id(self)] = result if self.pick is None else result[self.pick]
        value: Tensor = known[id(self)]
        return value


def mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """The function of every leaf of nested tuples, lists and dicts, and of those named tuples and dicts of other classes."""
    if isinstance(value, dict):
        new = copy.copy(value)
        for key, item in value.items():
            new[key] = mapped(function, item)
        return new
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(mapped(function, item) for item in value)
    if type(value) in (tuple, list):
        return type(value)(mapped(function, item) for item in value)
    return function(value)


def leaves(value: Any) -> Iterator[Any]:
    """The leaves of nested tuples, lists, slices' ends and dicts."""
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


class Operator:
    r"""The map $A$ from an activation (batch, channel, *spatial) to the resampled one, in float64.

    `batch` is 1 where the calls allow it: some name the batch among the sides of a view. Differentiable.
    """

    def __init__(self, value: Value, output: tuple[int, ...]) -> None:
        self.value = value
        self.before, self.after = tuple(value.source.shape[1:]), output[1:]
        self.batch = 1
        try:
            alone = value.evaluate(self._new(torch.zeros), {}).shape == (1, *self.after)
        except (RuntimeError, IndexError, ValueError):  # whatever says that there is no second image
            alone = False
        if not alone:
            self.batch = len(value.source)

    def _new(self, make: Callable[..., Tensor], **options: Any) -> Tensor:
        return make((self.batch, *self.before), dtype=torch.float64, **options).to(self.value.source.device)

    def zeros(self) -> Tensor:
        """The zero input."""
        return self._new(torch.zeros)

    def noise(self, generator: torch.Generator) -> Tensor:
        """A standard normal input."""
        return self._new(torch.randn, generator=generator)

    def __call__(self, z: Tensor) -> Tensor:
        """A z."""
        # an operation in place must not reach the caller's z; tensors may be views of it
        return self.value.evaluate(z.clone(), {})


def moves_along(operator: Operator) -> bool:
    """Whether impulses a quarter and half a grid apart give responses as far apart, in units of either grid, along every axis."""
    for axis, (n, m) in enumerate(zip(operator.before[1:], operator.after[1:], strict=True), start=2):
        # sides that do not divide are cropped or padded: 7 cells become 3, or 4, by twos
        if not any(_moves_along(operator, axis, step) for step in {max(1, n // m), max(1, -(-n // m))}):
            return False
    return True


def _moves_along(operator: Operator, axis: int, step: int) -> bool:
    """The same along one axis, for impulses of so many cells."""
    rest, generator = operator(operator.zeros()), torch.Generator().manual_seed(0)
    n, m = operator.before[axis - 1], operator.after[axis - 1]
    places = [n * quarters // 4 // step * step for quarters in (1, 2, 3)]
    # of one size in all places but along the axis: axes that change places then spread it evenly
    along = torch.rand(step, generator=generator).to(rest).reshape(-1, *[1] * (rest.ndim - 1 - axis)) + 0.5
    block = operator.noise(generator).narrow(axis, 0, step).sign() * along
    profiles = []
    for place in places:
        z, there = operator.zeros(), min(step, n - place)
        z.narrow(axis, place, there).copy_(block.narrow(axis, 0, there))
        moved = (operator(z) - rest).square() + (operator(-z) - rest).square()  # a minimum answers to negative ones alone
        profiles.append(moved.movedim(axis, 0).flatten(1).sum(1))
    for place, profile in zip(places[1:], profiles[1:], strict=True):
        pair = torch.stack([profiles[0].roll(round((place - places[0]) * m / n)), profile])
        if m > 1:  # what is the same everywhere moves nowhere
            pair = pair - pair.mean(1, keepdim=True)
        if not float(pair[0] @ pair[1]) > ALIKE * float(pair[0].norm() * pair[1].norm()):
            return False
    return m == 1 or float(profiles[0].max()) >= UNEVEN * float(profiles[0].mean())

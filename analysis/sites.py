r"""Where the resolution of a network falls or rises, found while it runs, whoever calls what.

Every call of a torch function inside the forward passes through one function mode. Calls that resample by themselves
(`RESAMPLERS`: poolings, strided convolutions, interpolations) are sites at once, together with the padding before them. Others,
such as `x[..., ::2]`, `unflatten` and `mean`, may together come to the same: their results are followed as functions of one
activation (`analysis.tape`) until something else reads them, and are a site where the grid has changed and the function moves
along the grid as a resampling does. Reshaping for attention and cropping fail that. What was one before its layout changed, as for
a head or tokens, is computed again from the calls up to there.

Grids are (batch, channel, *spatial) with one to three spatial axes; tokens, and channels that lie last, are no grid. What becomes
of one axis alone may become of such channels: a mean over it is no site, nor is a learned map to or from a few cells, which is
like a resampling by chance.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from analysis.calls import (
    ENDS,
    FOLLOWED,
    INDEXING,
    LAYOUT,
    NORMS,
    PERMUTATIONS,
    RESAMPLERS,
    SHUFFLES,
    STRIDED,
    VIEWS,
    kind_of,
    strided,
)
from analysis.following import Follower, tensors_of
from analysis.tape import Operator, Value, leaves, mapped, moves_along

LEAST_RATIO = 1.5  # between sides, where no call says that it resamples
FEW = 8  # cells, to which up to half of all random maps move along as resamplings do, and of more cells 1 in 60 or fewer


@dataclass(frozen=True, eq=False)
class Found:
    """One site, while the network runs: what it does, where it is written, and its activations."""

    kind: str
    path: str
    """The module whose forward makes the call; '' is the model itself."""
    line: tuple[str, int] | None
    """File and line of the innermost call outside torch; None where there is none, as in an nn.Sequential."""
    operator: Operator
    learned: bool
    source: Tensor
    output: Tensor

    @property
    def falls(self) -> bool:
        """Whether there are fewer cells after than before."""
        return math.prod(self.output.shape[2:]) < math.prod(self.source.shape[2:])


class Tracer(Follower):
    """Reports each site of each forward of `model` to `report`, in the order in which they are read, from inside the forward.

    A context manager; the model is left as it was.
    """

    def __init__(self, model: nn.Module, report: Callable[[Found], None], strangers: Iterable[Tensor] = ()) -> None:
        super().__init__(model, strangers)
        self.report = report
        self.reported: WeakSet[Value] = WeakSet()  # of what several read in parts
        self.smoothed: Any = WeakIdKeyDictionary()  # by a fixed filter that steps by one cell: a slicing may complete it

    def call(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        """Make the call, and follow what it returns."""
        tensors = list(tensors_of((args, kwargs)))
        family = name[:-2] if name[-2:] in ("1d", "2d", "3d") else name
        if name == "convolution" and not kwargs.get("transposed", args[6] if len(args) > 6 else False):
            family = "conv"  # as graphs that are decomposed call both
        self.shuffled(name, args)
        before = self.pending.get(tensors[0]) if family in SHUFFLES else None
        own_batch = before is None or before.source.shape[0] == tensors[0].shape[0]
        if family in SHUFFLES and own_batch and self.one_source(name, tensors, args, kwargs):
            self.settle(name, tensors)
            return self.follow(name, func, args, kwargs, tensors)
        if family in RESAMPLERS:
            return self.resample(name, family, func, args, kwargs, tensors)
        if name in ENDS:
            self.settle(name, tensors)
            self.part(tensors if name != "pad" else [])
        if name == "pad":
            amounts = args[1] if len(args) > 1 else kwargs.get("pad", ())
            self.begin(tensors, padding=len(amounts) <= 2 * (tensors[0].ndim - 2))
        if name in FOLLOWED and self.one_source(name, tensors, args, kwargs):
            return self.follow(name, func, args, kwargs, tensors)
        return self.other(name, func, args, kwargs, tensors)

    def resample(self, name: str, family: str, func: Any, args: Any, kwargs: Any, tensors: list[Tensor]) -> Any:
        """Make a call of a function that may resample: a site at once, unless what comes next decides its shape."""
        x = args[0] if args else kwargs.get("input", tensors[0])
        if f"{family}{x.ndim - 1}d" == name:  # one image, without a batch
            return self.unbatched(func, args, kwargs)
        self.begin([x])
        before = self.pending.get(x)
        if before is not None and self.site(before, x):
            del self.pending[x]
            before = None
        if before is not None and not {call.name for call in before.calls()} <= LAYOUT | INDEXING:
            self.close([x])  # arithmetic is no padding, which would belong to the call
            before = None
        smoothed = self.smoothed.get(x if before is None else before.source)
        if smoothed is not None and family == "conv":  # a pooling is complete by itself
            self.pending[x] = before = smoothed if before is None else before.of(smoothed)
        self.close([tensor for tensor in tensors if tensor is not x])
        source = x if before is None else before.source
        result = func(*args, **kwargs)
        several = isinstance(result, tuple | list)  # with indices, what is pooled comes first
        value = self.value(family, func, args, kwargs, source, several) if x not in self.constants else None
        alone = value
        if before is not None:
            del self.pending[x]
            alone = self.value(family, func, args, kwargs, x, several)
            self.pending[x] = before
        y = next(tensors_of(result))
        self.pending.pop(x, None)
        self.known(family, result, tensors)
        if value is None or alone is None or x.shape[2:] == y.shape[2:] or not strided(family, args, kwargs):
            if value is not None and family in STRIDED and not strided(family, args, kwargs) and not value.learned:
                self.smoothed[y] = value
            return result
        with torch._C.DisableTorchFunction():
            padded = all(n >= m for n, m in zip(x.shape[2:], source.shape[2:], strict=False))
            if padded and _comparable(source.shape, y.shape):
                self.found(value, y)
            elif before is not None and x.shape[0] != source.shape[0]:  # a view back to the batch is to come
                self.pending[y] = replace(value, alone=alone, shape=tuple(y.shape))
            elif _comparable(x.shape, y.shape):
                self.found(alone, y)
        return result

    def begin(self, tensors: list[Tensor], padding: bool = False) -> None:
        """What only chose channels, moved cells or normalised them is an activation of its own for a call that changes the grid."""
        for tensor in tensors:
            value = self.pending.get(tensor)
            if value is None or value.source.shape[0] != tensor.shape[0]:
                continue
            names = {call.name for call in value.calls()}
            moved = padding and names <= PERMUTATIONS | {"contiguous", "clone"}  # channels that lay last
            own = names <= LAYOUT | INDEXING or (padding and names <= NORMS)
            if moved or (own and value.source.shape[2:] == tensor.shape[2:]):
                del self.pending[tensor]

    def shuffled(self, name: str, args: Any) -> None:
        """A pixel shuffle is a site by itself, unless channels that were cells are told apart, and their mean is taken."""
        with torch._C.DisableTorchFunction():
            for tensor in tensors_of(args):
                value = self.pending.get(tensor)
                if value is None:
                    continue
                inner = next((item for item in leaves(value.args) if isinstance(item, Value)), None)
                if value.name in SHUFFLES:
                    stays = name == "unflatten" or (name in VIEWS and len(_sizes(args)) == tensor.ndim + 1)
                elif value.name in VIEWS and inner is not None and inner.name in SHUFFLES:
                    stays = name == "mean"
                else:
                    continue
                if not stays:
                    del self.pending[tensor]
                    self.end(value, tensor)

    def part(self, tensors: list[Tensor]) -> None:
        """A function of what was resampled as another batch follows, and no view back to the batch it came from."""
        with torch._C.DisableTorchFunction():
            for tensor in tensors:
                value = self.pending.get(tensor)
                if value is not None and self.alone(value):
                    del self.pending[tensor]

    def alone(self, value: Value) -> bool:
        """Report the resampling in a value as one of what it was given, where that was another batch than the source's."""
        for call in value.calls():
            if call.alone is None:
                continue
            if call.alone not in self.reported:
                self.reported.add(call.alone)
                with torch.no_grad():
                    output = Operator(call.alone, call.shape)(call.alone.source.double())
                self.found(call.alone, output.to(call.alone.source.dtype))
            return True
        return False

    def unbatched(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The call on a batch of one."""
        image = args[0] if args else kwargs["input"]

        def follow(call: Callable[[Tensor, int], Tensor], tensor: Tensor) -> Tensor:
            followed = tensor in self.pending  # what is an activation itself begins with a batch of its own
            return self.__torch_function__(call, (), (tensor, 0)) if followed else call(tensor, 0)

        batch = follow(torch.unsqueeze, image)
        args, kwargs = ((batch, *args[1:]), kwargs) if args else ((), kwargs | {"input": batch})
        return mapped(lambda item: follow(torch.squeeze, item), self.__torch_function__(func, (), args, kwargs))

    def site(self, value: Value, output: Tensor) -> bool:
        """Report a followed value if it is a resampling."""
        if value in self.reported:
            return True
        names = {call.name for call in value.calls()}
        smoothed = self.smoothed.get(value.source)
        if smoothed is not None and names <= LAYOUT | INDEXING and _comparable(smoothed.source.shape, output.shape):
            value = replace(value.of(smoothed), path=smoothed.path, line=smoothed.line)
            names.add(smoothed.name)
        elif names & set(RESAMPLERS):
            if _comparable(value.source.shape, output.shape):
                self.reported.add(value)
                self.found(value, output)
                return True
            return False
        ratios = [max(n, m) / max(1, min(n, m)) for n, m in zip(value.source.shape[2:], output.shape[2:], strict=False)]
        if not _comparable(value.source.shape, output.shape) or max(ratios) < LEAST_RATIO:
            return False
        # of a grid of one cell nothing tells a resampling from axes that change places, but arithmetic
        one_cell = 1 in (math.prod(value.source.shape[2:]), math.prod(output.shape[2:]))
        if one_cell and (names <= LAYOUT | INDEXING or names & PERMUTATIONS):
            return False
        # one axis alone may be channels that lie last
        changed = [min(n, m) for n, m in zip(value.source.shape[2:], output.shape[2:], strict=True) if n != m]
        if len(changed) == 1 and changed[0] <= (FEW if value.learned else 1) and not names & set(RESAMPLERS):
            return False
        with torch.no_grad():
            if not moves_along(Operator(value, tuple(output.shape))):
                return False
        self.found(value, output)
        return True

    def end(self, value: Value, output: Tensor) -> None:
        """Report a followed value, or what it was before its layout changed or its axes were gathered, if it is a resampling."""
        done = self.site(value, output) or self.alone(value)
        while not done and (value.name in LAYOUT or len(value.shape) != value.source.ndim):
            inner = [item for item in leaves((value.args, value.kwargs)) if isinstance(item, Value)]
            if len(inner) != 1:
                return
            value = inner[0]
            if _comparable(value.source.shape, torch.Size(value.shape)):
                with torch.no_grad():
                    again = Operator(value, value.shape)(value.source.double())
                done = again.is_floating_point() and self.site(value, again.to(value.source.dtype))

    def found(self, value: Value, output: Tensor) -> None:
        """Report a site."""
        operator = Operator(value, tuple(output.shape))
        self.report(Found(kind_of(value), value.path, value.line, operator, value.learned, value.source, output))


def _sizes(args: Any) -> tuple[Any, ...]:
    """What a view is asked to be, as several arguments or as one."""
    given = args[1:]
    return tuple(given[0]) if len(given) == 1 and isinstance(given[0], tuple | list) else tuple(given)


def _comparable(before: torch.Size, after: torch.Size) -> bool:
    """Whether two grids are of one batch and dimension, and all sides that change change in one direction."""
    if len(before) != len(after) or not 3 <= len(before) <= 5 or before[0] != after[0]:
        return False
    pairs = list(zip(before[2:], after[2:], strict=True))
    return before[2:] != after[2:] and (all(m <= n for n, m in pairs) or all(m >= n for n, m in pairs))

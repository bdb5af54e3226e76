r"""Where the resolution of a network falls or rises, found while it runs, whoever calls what.

Every call of a torch function inside the forward passes through one function mode. Calls that resample by themselves
(`RESAMPLERS`: poolings, strided convolutions, interpolations) are sites at once, together with the padding before them. Others,
such as `x[..., ::2]`, `unflatten` and `mean`, may together come to the same: their results are followed as functions of one
activation (`analysis.tape`) until something else reads them, and are a site where the grid has changed and the function moves
along the grid as a resampling does. Reshaping for attention and cropping fail that.

Grids are (batch, channel, *spatial) with one to three spatial axes; tokens, and channels that lie last, are no grid.
"""

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakIdKeyDictionary

from analysis.calls import (
    ELEMENTWISE,
    ENDS,
    FACTORIES,
    FOLLOWED,
    INDEXING,
    LAYOUT,
    PERMUTATIONS,
    POINTWISE,
    RANDOM,
    RESAMPLERS,
    kind_of,
    strided,
)
from analysis.tape import SOURCE, Operator, Value, leaves, mapped, moves_along

LEAST_RATIO = 1.5  # between sides, where no call says that it resamples
NOT_THE_USERS = (str(Path(torch.__file__).parent), __file__)


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


class Tracer(TorchFunctionMode):
    """Reports each site of each forward of `model` to `report`, in the order in which they are read, from inside the forward.

    A context manager; the model is left as it was.
    """

    def __init__(self, model: nn.Module, report: Callable[[Found], None]) -> None:
        super().__init__()
        self.report = report
        parameters = list(model.parameters())
        # where everything is frozen, freezing tells nothing about what was learned
        frozen = any(p.requires_grad for p in parameters)
        self.constants: Any = WeakIdKeyDictionary({p: p.requires_grad or not frozen for p in parameters})
        plain = (item for module in model.modules() for item in leaves(vars(module)) if type(item) is Tensor)
        self.constants.update(dict.fromkeys([*model.buffers(), *plain], False))
        self.pending: Any = WeakIdKeyDictionary()
        self.running: list[tuple[str, nn.Module]] = []
        self.model = model
        self.hooks: list[RemovableHandle] = []

    def __enter__(self) -> "Tracer":
        for name, module in self.model.named_modules():
            self.hooks.append(module.register_forward_pre_hook(lambda module, _, name=name: self.running.append((name, module))))
            self.hooks.append(module.register_forward_hook(lambda _, args, result: self.leave(result), always_call=True))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)  # type: ignore[no-untyped-call]
        for hook in self.hooks:
            hook.remove()

    def leave(self, result: Any) -> None:
        """A module ends: what it hands on as a site is one."""
        with torch._C.DisableTorchFunction():
            for tensor in _tensors(result):
                value = self.pending.get(tensor)
                if value is not None and self.site(value, tensor):
                    del self.pending[tensor]
        self.running.pop()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Make the call, and follow what it returns."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").removesuffix(".default")  # as exported graphs call functions
        name = name.strip("_") if name.startswith("__") else name.removesuffix("_with_indices")
        tensors = list(_tensors((args, kwargs)))
        family = name[:-2] if name[-2:] in ("1d", "2d", "3d") else name
        if not self.running:
            return func(*args, **kwargs)
        if family in RESAMPLERS:
            return self.resample(name, family, func, args, kwargs, tensors)
        if name in ENDS:
            self.settle(name, tensors)
        if name in FOLLOWED and self.one_source(name, tensors, args, kwargs):
            return self.follow(name, func, args, kwargs, tensors)
        # True may be an inplace=True
        if name.endswith("_") or name == "setitem" or "out" in kwargs or any(item is True for item in leaves((args, kwargs))):
            self.close(tensors + [tensor for tensor, value in self.pending.items() if any(value.source is t for t in tensors)])
            if any(tensor not in self.constants for tensor in tensors):  # may have been written to, through a view
                places = {tensor.untyped_storage().data_ptr() for tensor in tensors[:1] if tensor in self.constants}
                for known in [c for c in self.constants if places and c.untyped_storage().data_ptr() in places]:
                    if not isinstance(known, nn.Parameter):
                        del self.constants[known]
        result = func(*args, **kwargs)
        if any(True for _ in _tensors(result)) or name == "setitem":  # not where only a shape was asked for
            self.close(tensors)
            self.known(name, tensors[0] if name == "setitem" else result, tensors)
        return result

    def known(self, name: str, result: Any, tensors: list[Tensor]) -> None:
        """Results of constants alone are constants."""
        constant = name not in RANDOM and (name in FACTORIES or all(tensor in self.constants for tensor in tensors))
        learned = name not in FACTORIES and any(self.constants.get(tensor, False) for tensor in tensors)
        for tensor in _tensors(result) if name != "get" or constant else ():
            self.pending.pop(tensor, None)
            if constant:
                self.constants[tensor] = learned
            else:
                self.constants.pop(tensor, None)

    def close(self, tensors: list[Tensor]) -> None:
        """Something else reads these tensors: what has become of them so far is all there is."""
        for tensor in tensors:
            value = self.pending.pop(tensor, None)
            if value is not None:
                with torch._C.DisableTorchFunction():
                    self.site(value, tensor)

    def settle(self, name: str, tensors: list[Tensor]) -> None:
        """A resampling is complete where a function of each value follows, or, with all sides changed, a padding."""
        with torch._C.DisableTorchFunction():
            for tensor in tensors:
                value = self.pending.get(tensor)
                pairs = () if value is None else zip(value.source.shape[2:], tensor.shape[2:], strict=False)
                if value is not None and (name != "pad" or all(n != m for n, m in pairs)) and self.site(value, tensor):
                    del self.pending[tensor]

    def sources(self, tensors: list[Tensor]) -> list[Tensor]:
        """The different activations that tensors are functions of."""
        found: list[Tensor] = []
        for tensor in tensors:
            if tensor not in self.constants:
                value = self.pending.get(tensor)
                source = tensor if value is None else value.source
                if not any(source is other for other in found):
                    found.append(source)
        return found

    def one_source(self, name: str, tensors: list[Tensor], args: Any, kwargs: Any) -> bool:
        """Whether the call makes a function of one activation that is worth following."""
        sources = self.sources(tensors)
        if len(sources) != 1 or not sources[0].is_floating_point():
            return False
        if name in POINTWISE and (kwargs.get("inplace") or True in args[1:]):
            return False
        if name == "pad" and len(args) > 1 and len(args[1]) > 2 * (tensors[0].ndim - 2):  # of channels
            return False
        if name == "setitem" or name.endswith("_"):
            written = tensors[0]
            return written in self.pending or (written in self.constants and not written._is_view())
        return name not in ELEMENTWISE | POINTWISE or any(tensor in self.pending for tensor in tensors)

    def value(self, name: str, func: Any, args: Any, kwargs: Any, source: Tensor, several: bool = False) -> Value:
        """The call as a function of its source."""

        def given(item: Any) -> Any:
            if not isinstance(item, Tensor):
                return item
            return self.pending.get(item, SOURCE if item is source else item)

        tensors = [t for t in _tensors((args, kwargs)) if t is not source]
        # weights that another network gives are as good as learned
        learned = any(self.pending[t].learned if t in self.pending else self.constants.get(t, True) for t in tensors)
        path, module = self.running[-1]
        return Value(
            source, name, func, mapped(given, args), mapped(given, kwargs), 0 if several else None, path, _line(module), learned
        )

    def follow(self, name: str, func: Any, args: Any, kwargs: Any, tensors: list[Tensor]) -> Any:
        """Make a call whose result is a function of one activation."""
        source = self.sources(tensors)[0]
        pure = _assigned if name == "setitem" else getattr(Tensor, name[:-1]) if name.endswith("_") else func
        held = args
        if pure is not func and tensors[0] in self.constants:  # what it held before belongs to the value
            held = (tensors[0].clone(), *args[1:])
            self.constants[held[0]] = self.constants.pop(tensors[0])
        value = self.value(name.removesuffix("_"), pure, held, kwargs, source)
        result = func(*args, **kwargs)
        several = isinstance(result, tuple | list)
        for index, tensor in enumerate(result if several else [tensors[0] if name == "setitem" else result]):
            if isinstance(tensor, Tensor) and tensor is not source and (tensor.is_floating_point() or tensor.is_complex()):
                self.pending[tensor] = _picked(value, index) if several else value
        return result

    def resample(self, name: str, family: str, func: Any, args: Any, kwargs: Any, tensors: list[Tensor]) -> Any:
        """Make a call of a function that may resample: a site at once, unless what comes next decides its shape."""
        x = tensors[0]
        if f"{family}{x.ndim - 1}d" == name:  # one image, without a batch
            return self.unbatched(func, args, kwargs)
        before = self.pending.get(x)
        if before is not None and self.site(before, x):
            del self.pending[x]
            before = None
        if before is not None and not {call.name for call in before.calls()} <= LAYOUT | INDEXING:
            del self.pending[x]  # arithmetic is no padding, which would belong to the call
            before = None
        self.close(tensors[1:])
        source = x if before is None else before.source
        # with indices, what is pooled comes first
        several = bool(kwargs.get("return_indices", False)) or getattr(func, "__name__", "").endswith("_with_indices")
        value = self.value(family, func, args, kwargs, source, several) if x not in self.constants else None
        alone = value
        if before is not None:
            del self.pending[x]
            alone = self.value(family, func, args, kwargs, x, several)
            self.pending[x] = before
        result = func(*args, **kwargs)
        y = next(_tensors(result))
        self.pending.pop(x, None)
        self.known(family, result, tensors)
        if value is None or alone is None or x.shape[2:] == y.shape[2:] or not strided(family, args, kwargs):
            return result
        with torch._C.DisableTorchFunction():
            padded = all(n >= m for n, m in zip(x.shape[2:], source.shape[2:], strict=False))
            if padded and _comparable(source.shape, y.shape):
                self.found(value, y)
            elif before is not None and x.shape[0] != source.shape[0]:  # a view back to the batch is to come
                self.pending[y] = value
            elif _comparable(x.shape, y.shape):
                self.found(alone, y)
        return result

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
        names = {call.name for call in value.calls()}
        if names & set(RESAMPLERS):
            if _comparable(value.source.shape, output.shape):
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
        with torch.no_grad():
            if not moves_along(Operator(value, tuple(output.shape))):
                return False
        self.found(value, output)
        return True

    def found(self, value: Value, output: Tensor) -> None:
        """Report a site."""
        operator = Operator(value, tuple(output.shape))
        self.report(Found(kind_of(value), value.path, value.line, operator, value.learned, value.source, output))


def _assigned(base: Tensor, index: Any, value: Any) -> Tensor:
    base = base.clone()
    base[index] = value
    return base


def _picked(value: Value, index: int) -> Value:
    return Value(value.source, value.name, value.function, value.args, value.kwargs, index, value.path, value.line, value.learned)


def _tensors(value: Any) -> Iterator[Tensor]:
    return (item for item in leaves(value) if isinstance(item, Tensor))


def _comparable(before: torch.Size, after: torch.Size) -> bool:
    """Whether two grids are of one batch and dimension, and all sides that change change in one direction."""
    if len(before) != len(after) or not 3 <= len(before) <= 5 or before[0] != after[0]:
        return False
    pairs = list(zip(before[2:], after[2:], strict=True))
    return before[2:] != after[2:] and (all(m <= n for n, m in pairs) or all(m >= n for n, m in pairs))


def _line(module: nn.Module) -> tuple[str, int] | None:
    """File and line in the forward of the running module; where that is torch's, of the innermost caller outside torch."""
    innermost, frame = None, sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "_run_traced":
        file = frame.f_code.co_filename
        if not file.startswith(NOT_THE_USERS):
            innermost = innermost or (file, frame.f_lineno)
            if frame.f_code.co_name == "forward" and frame.f_locals.get("self") is module:
                return file, frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]
    return innermost

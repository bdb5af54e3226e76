"""What becomes of activations while a network runs: followed as functions of one of them, call by call.

`Follower` sees every call of a torch function inside the forward. It knows which tensors are constants (parameters, buffers, what
is made of these alone) and which are functions of one activation (`analysis.tape`) that nothing else has read yet.
"""

import sys
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakIdKeyDictionary

from analysis.calls import ELEMENTWISE, FACTORIES, POINTWISE, QUESTIONS, RANDOM
from analysis.tape import SOURCE, Value, leaves, mapped
from multires.errors import MultiresError

NOT_THE_USERS = (str(Path(torch.__file__).parent), __file__, str(Path(__file__).with_name("sites.py")))

FILTER = 64  # values of what is surely a closure's filter and no activation


class Follower(TorchFunctionMode):
    """Follows activations through the forwards of `model`; a context manager that leaves the model as it was.

    `constants` has the tensors that are no activations, and whether they were learned; `pending` the function that each tensor
    is of its activation. `strangers` are tensors of what was copied, and whether they are weights: no activation may meet these.
    """

    def __init__(self, model: nn.Module, strangers: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.strangers: Any = WeakIdKeyDictionary({tensor: isinstance(tensor, nn.Parameter) for tensor in strangers})
        parameters = list(model.parameters())
        # where everything is frozen, freezing tells nothing about what was learned
        frozen = any(p.requires_grad for p in parameters)
        self.constants: Any = WeakIdKeyDictionary({p: p.requires_grad or not frozen for p in parameters})
        plain = (item for module in model.modules() for item in leaves(vars(module)) if type(item) is Tensor)
        self.constants.update(dict.fromkeys([*model.buffers(), *plain], False))
        self.pending: Any = WeakIdKeyDictionary()
        self.made: Any = WeakIdKeyDictionary()  # inputs and results: what anything else is made of was not seen
        self.unseen: dict[str, None] = {}
        self.batches: set[int] = set()  # of the inputs
        self.running: list[tuple[str, nn.Module]] = []
        self.model = model
        self.hooks: list[RemovableHandle] = []

    @abstractmethod
    def site(self, value: Value, output: Tensor) -> bool:
        """Report a followed value that ends here, if it is one of those looked for."""

    @abstractmethod
    def end(self, value: Value, output: Tensor) -> None:
        """Report a followed value of which nothing else becomes, or what it was last, if it is one of those looked for."""

    @abstractmethod
    def call(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        """Make a call of a torch function of that name inside the forward."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Make the call, and note where an activation comes from nowhere or leaves torch."""
        kwargs = kwargs or {}
        if not self.running:
            return func(*args, **kwargs)
        name = getattr(getattr(func, "overloadpacket", func), "__name__", "")  # as exported graphs call functions
        name = "detach" if func == Tensor.data.__get__ else name  # type: ignore[attr-defined]
        name = name.strip("_") if name.startswith("__") else name.removesuffix("_with_indices")
        strange = self.strange(name, list(tensors_of((args, kwargs))))
        for tensor in tensors_of((args, kwargs)):
            if tensor in self.constants or tensor in self.strangers:
                continue
            image = tensor.ndim > 2 and tensor.is_floating_point()
            where = f"{type(self.running[-1][1]).__name__} {self.running[-1][0]!r}"
            if tensor in self.made:
                if image and name in ("numpy", "array", "tolist"):
                    self.unseen[f"{where}: an activation leaves torch ({name})"] = None
            elif tensor.numel() <= FILTER:  # torch.from_numpy is not seen either
                self.constants[tensor] = tensor.requires_grad
            elif (image and len(tensor) in self.batches) or (tensor.ndim == 2 and tensor.is_floating_point()):
                self.unseen[f"{where}: {name} reads what no call of torch was seen to make"] = None
        result = self.call(name, func, args, kwargs)
        self.made.update(dict.fromkeys(tensors_of(result), True))
        if strange:
            self.strangers.update(dict.fromkeys(tensors_of(result), True))
        return result

    def strange(self, name: str, tensors: list[Tensor]) -> bool:
        """Whether a call reads weights of what was copied; raises MultiresError where it would write to it, or mixes them in."""
        writes = name.endswith("_") or name == "batch_norm"
        held = [tensor for tensor in tensors if self.strangers.get(tensor, False) or (writes and tensor in self.strangers)]
        mixed = any(tensor not in self.strangers and tensor not in self.constants for tensor in tensors)
        if held and (writes or mixed):
            path, module = self.running[-1]
            raise MultiresError(
                f"{type(module).__name__} {path!r}: a function, such as a lambda, holds weights of the model itself, of which"
                " a copy is audited; let it reach them through self"
            )
        return bool(held)

    def __enter__(self) -> Self:
        for name, module in self.model.named_modules():
            enter = partial(self.enter, name)
            self.hooks.append(module.register_forward_pre_hook(enter, with_kwargs=True))
            self.hooks.append(module.register_forward_hook(lambda _, args, result: self.leave(result), always_call=True))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)  # type: ignore[no-untyped-call]
        for hook in self.hooks:
            hook.remove()

    def enter(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        """A module begins."""
        if not self.running:
            inputs = list(tensors_of((args, kwargs)))
            self.made.update(dict.fromkeys(inputs, True))
            self.batches = {len(x) for x in inputs if x.ndim > 2}
        self.running.append((name, module))

    def leave(self, result: Any) -> None:
        """A module ends: what it hands on as a site is one."""
        if len(self.running) == 1:
            self.close(list(tensors_of(result)))
        with torch._C.DisableTorchFunction():
            for tensor in tensors_of(result):
                value = self.pending.get(tensor)
                if value is not None and self.site(value, tensor):
                    del self.pending[tensor]
        self.running.pop()

    def known(self, name: str, result: Any, tensors: list[Tensor]) -> None:
        """Results of constants alone are constants."""
        constant = name not in RANDOM and (name in FACTORIES or all(tensor in self.constants for tensor in tensors))
        learned = name not in FACTORIES and any(self.constants.get(tensor, False) for tensor in tensors)
        for tensor in tensors_of(result) if name != "get" or constant else ():
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
                    self.end(value, tensor)

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
        if name in POINTWISE and (kwargs.get("inplace") or any(item is True for item in args[1:])):
            return False
        of_channels = name == "pad" and len(args) > 1 and len(args[1]) > 2 * (tensors[0].ndim - 2)
        if of_channels and tensors[0] not in self.pending:  # else they may lie elsewhere by now
            return False
        if name == "setitem" or name.endswith("_"):
            written = tensors[0]
            return written in self.pending or (written in self.constants and not written._is_view())
        return name not in ELEMENTWISE | POINTWISE or any(tensor in self.pending for tensor in tensors)

    def unknown(self, tensor: Tensor) -> bool:
        """Whether a tensor counts as learned that the model does not hold: weights that another network gives are as good as."""
        return tensor in self.made or tensor.requires_grad

    def value(self, name: str, func: Any, args: Any, kwargs: Any, source: Tensor, several: bool = False) -> Value:
        """The call as a function of its source."""

        def given(item: Any) -> Any:
            if not isinstance(item, Tensor):
                return item
            return self.pending.get(item, SOURCE if item is source else item)

        tensors = [t for t in tensors_of((args, kwargs)) if t is not source]
        learned = any(self.pending[t].learned if t in self.pending else self.constants.get(t, self.unknown(t)) for t in tensors)
        path, module = self.running[-1]
        return Value(
            source,
            name,
            func,
            mapped(given, args),
            mapped(given, kwargs),
            0 if several else None,
            path,
            _line(module),
            learned,
            rough=torch.is_autocast_enabled(source.device.type),
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
                self.pending[tensor] = replace(value, pick=index if several else None, shape=tuple(tensor.shape))
        return result

    def other(self, name: str, func: Any, args: Any, kwargs: Any, tensors: list[Tensor]) -> Any:
        """Make a call that is not followed: what it reads is closed, what it makes of constants is one."""
        # True may be an inplace=True
        if name.endswith("_") or name == "setitem" or "out" in kwargs or any(item is True for item in leaves((args, kwargs))):
            self.close(tensors + [tensor for tensor, value in self.pending.items() if any(value.source is t for t in tensors)])
            if any(tensor not in self.constants for tensor in tensors):  # may have been written to, through a view
                places = {tensor.untyped_storage().data_ptr() for tensor in tensors[:1] if tensor in self.constants}
                for known in [c for c in self.constants if places and c.untyped_storage().data_ptr() in places]:
                    if not isinstance(known, nn.Parameter):
                        del self.constants[known]
        result = func(*args, **kwargs)
        if any(True for _ in tensors_of(result)) or name == "setitem":  # not where only a shape was asked for
            if name not in FACTORIES | QUESTIONS:
                self.close(tensors)
            self.known(name, tensors[0] if name == "setitem" else result, tensors)
        return result


def _assigned(base: Tensor, index: Any, value: Any) -> Tensor:
    base = base.clone()
    base[index] = value
    return base


def tensors_of(value: Any) -> Iterator[Tensor]:
    """The tensors among arguments or results, nested ones in order."""
    return (item for item in leaves(value) if isinstance(item, Tensor))


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

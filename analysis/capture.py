"""Activations of any torch module, recorded while it runs, by the names of its modules or of the functions it calls.

::

    with capture(net, "pools.*", reduce=Moments) as record:  # modules, by name or glob
        net(images)
    record["pools.0"].mean

    with capture(net, functions="avg_pool2d") as record:  # calls such as torch.nn.functional.avg_pool2d
        net(images)
    record["down1/avg_pool2d"].tensor  # the call that the forward of module down1 makes

The model is left as it was. Every call of the model counts its sites anew: the second call of a site within one forward is
"relu#1". Only what runs inside a call of the model is recorded: neither `net.encode(x)` nor what comes between two calls.
"""

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, fields, is_dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from analysis.reducers import Keep, Reducer, Tensors
from multires.errors import MultiresError

Globs = str | Sequence[str]
NAMED = 5  # this many names in an error, then their number


@contextmanager
def capture(
    model: nn.Module,
    modules: Globs = (),
    *,
    functions: Globs = (),
    inputs: bool = False,
    reduce: Callable[[], Any] = Keep,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Iterator[dict[str, Any]]:
    """Record the activations of `model` inside the with block: a dict from each site to the reducer that `reduce()` made.

    `modules` are names or globs over `named_modules` (`*` spans dots, "" is the model itself); the site is that name.
    `functions` are names or globs of torch functions that forwards call; the site is the path of the module whose forward
    calls, a slash, and the function's name (no slash in the model's own forward). `F.relu(x)`, `torch.relu(x)` and `x.relu()`
    are all "relu"; what a function of torch calls inside is no site. `inputs=True` hands over the inputs as they were before
    the call. Tensors are moved to `device`, floating ones to `dtype`. A site appears in the dict with its first call.
    """
    module_globs, function_globs = _globs("modules", modules), _globs("functions", functions)
    if not isinstance(model, nn.Module):
        raise MultiresError(f"capture of a {type(model).__name__}: pass a torch.nn.Module")
    if not module_globs and not function_globs:
        raise MultiresError('capture of nothing: name modules (capture(net, "pools.*")) or functions (functions="avg_pool2d")')
    named = list(model.named_modules(remove_duplicate=False))
    for name, module in named:
        if compiled(module):
            where = f"module {name!r}" if name else "the model"
            raise MultiresError(f"{where} is compiled; capture sees nothing inside: pass the module as it was before torch.compile")
    if not callable(reduce):
        raise MultiresError(f"reduce = {reduce!r}: pass what makes a reducer for each site, such as the class Moments")
    paths: dict[nn.Module, str] = {}
    for name, module in named:
        paths.setdefault(module, name)
    sites = _sites(named, module_globs)
    recorder = _Recorder(model, paths, sites, module_globs, function_globs, inputs, reduce, device, dtype)
    with ExitStack() as attached:
        recorder.attach(attached)
        yield recorder.record
    recorder.complain()


def _globs(what: str, globs: Globs) -> tuple[str, ...]:
    found = (globs,) if isinstance(globs, str) else tuple(globs) if isinstance(globs, Iterable) else (globs,)
    for glob in found:
        if not isinstance(glob, str):
            raise MultiresError(f"{what} of capture: {glob!r} is a {type(glob).__name__}; pass names or globs as strings")
    return found


def compiled(module: nn.Module) -> bool:
    """Whether a module was given to torch.compile or TorchScript, so that nothing inside it is seen."""
    # told by their traces: importing torch._dynamo for its class takes seconds
    traces = "_orig_mod" in module._modules or module._compiled_call_impl is not None
    replaced = getattr(module.forward, "_torchdynamo_orig_callable", None) is not None  # net.forward = torch.compile(net.forward)
    return traces or replaced or isinstance(module, torch.jit.ScriptModule)


def _sites(named: Iterable[tuple[str, nn.Module]], globs: Sequence[str]) -> dict[nn.Module, str]:
    """The name of each module that a glob matches: of several names of one module, the first that matches."""
    # a container without a forward of its own (nn.ModuleList) never runs
    names = [(name, each) for name, each in named if getattr(each.forward, "__func__", None) is not nn.Module.forward]
    sites: dict[nn.Module, str] = {}
    for glob in globs:
        matches = [(name, module) for name, module in names if fnmatchcase(name, glob)]
        if not matches:
            near = difflib.get_close_matches(glob, [name for name, _ in names if name], n=3, cutoff=0)
            raise MultiresError(f"no module with a forward matches {glob!r}; the nearest: {', '.join(near) or 'none but the root'}")
        for name, module in matches:
            sites.setdefault(module, name)
    return sites


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list, Mapping)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for each in fields(value):
            yield from _tensors(getattr(value, each.name))


@contextmanager
def _aside(tensors: Tensors) -> Iterator[None]:
    """Run reducers apart from the caller's modes: no gradients, normal tensors, full precision, no calls that we record."""
    with torch._C.DisableTorchFunction(), torch.inference_mode(False), torch.no_grad():
        kind = tensors[0].device.type if tensors else "cpu"
        lowered = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
        with torch.autocast(kind, enabled=False) if lowered else nullcontext():
            yield


@dataclass
class _Frame:
    """A module whose forward is running; `site` is its key if it is captured."""

    module: nn.Module
    site: str | None
    inputs: Tensors


@dataclass(eq=False)
class _Recorder(TorchFunctionMode):
    """The hooks, and the mode that sees functions: one stack of running modules tells both where they are."""

    model: nn.Module
    paths: dict[nn.Module, str]
    sites: dict[nn.Module, str]
    modules: tuple[str, ...]
    functions: tuple[str, ...]
    inputs: bool
    reduce: Callable[[], Reducer]
    device: torch.device | str | None
    dtype: torch.dtype | None
    record: dict[str, Any] = field(default_factory=dict)
    running: list[_Frame] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)  # of each site's calls in this forward
    ran: set[str] = field(default_factory=set)
    called: dict[str, bool] = field(default_factory=dict)  # functions called so far, and whether a glob matches them
    forwards: int = 0

    def attach(self, attached: ExitStack) -> None:
        """Register all hooks; `attached` removes them."""
        for module in self.paths if self.functions else {self.model: "", **self.sites}:
            attached.callback(module.register_forward_pre_hook(self.enter, with_kwargs=True).remove)
            attached.callback(module.register_forward_hook(self.leave, always_call=True).remove)
        if self.functions:
            attached.enter_context(self)

    def enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Note that a module starts, if the model is running, and copy its inputs before it can change them."""
        if not self.running:
            if module is not self.model:
                return
            self.counts.clear()
            self.forwards += 1
        site = self.sites.get(module)
        inputs = self.copied((args, kwargs)) if self.inputs and site is not None else ()
        self.running.append(_Frame(module, None if site is None else self.numbered(site), inputs))

    def leave(self, module: nn.Module, args: Any, result: Any) -> None:
        """Record a module's outputs; result is None where its forward raised."""
        # a hook of the user's that raised before enter leaves no frame
        if self.running and self.running[-1].module is module:
            frame = self.running.pop()
            if frame.site is not None and self.update(frame.site, result, frame.inputs):
                self.ran.add(self.sites[module])

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # F.max_pool2d with indices calls a function of another name
        name = getattr(func, "__name__", "").removesuffix("_with_indices")
        if not self.running or name.startswith("__"):  # attributes and indexing
            return func(*args, **kwargs)
        if name not in self.called:
            self.called[name] = any(fnmatchcase(name, glob) for glob in self.functions)
        if not self.called[name]:
            return func(*args, **kwargs)
        inputs = self.copied((args, kwargs)) if self.inputs else ()
        result = func(*args, **kwargs)
        path = self.paths[self.running[-1].module]
        self.update(self.numbered(f"{path}/{name}" if path else name), result, inputs)
        return result

    def numbered(self, site: str) -> str:
        """The key of the next call of a site in this forward."""
        self.counts[site] += 1
        return site if self.counts[site] == 1 else f"{site}#{self.counts[site] - 1}"

    def copied(self, values: Any) -> Tensors:
        """Copies of the tensors in values, moved."""
        tensors = tuple(_tensors(values))
        with _aside(tensors):
            return tuple(self.moved(x, copy=True) for x in tensors)

    def moved(self, x: Tensor, copy: bool = False) -> Tensor:
        """x without its gradient, on the device and in the precision asked for."""
        return x.detach().to(device=self.device, dtype=self.dtype if x.is_floating_point() else None, copy=copy)

    def update(self, key: str, result: Any, inputs: Tensors) -> bool:
        """Hand one call to its reducer, if it gave tensors."""
        tensors = tuple(_tensors(result))
        if tensors:
            with _aside(tensors):
                if key not in self.record:
                    self.record[key] = self.reduce()
                    if not callable(getattr(self.record[key], "update", None)):
                        raise MultiresError(
                            f"reduce() made a {type(self.record[key]).__name__}: a reducer has update(outputs, inputs)"
                        )
                self.record[key].update(tuple(map(self.moved, tensors)), inputs)
        return bool(tensors)

    def complain(self) -> None:
        """Raise for what was asked for and never came."""
        if not self.forwards:
            wanted = _few([repr(glob) for glob in (*self.sites.values(), *self.functions)])
            raise MultiresError(f"capture of {wanted}: the model never ran; call it inside the with block, as net(x)")
        for glob in self.modules:
            matched = [name for name in self.sites.values() if fnmatchcase(name, glob)]
            if matched and not self.ran & set(matched):
                which = f"modules {_few(map(repr, matched))} matched {glob!r} but"
                raise MultiresError(f"{which} never ran in the model, or gave no tensor; compiled or fused code passes modules by")
        for glob in self.functions:
            if not any(fnmatchcase(name, glob) for name in self.called):
                raise MultiresError(f"no function called in the model matches {glob!r}; called were {_few(self.called) or 'none'}")


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:NAMED]) + (f" and {len(listed) - NAMED} more" if len(listed) > NAMED else "")

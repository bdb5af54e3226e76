"""The audit of a network: every site where its resolution changes, what it does there, and what comes through.

::

    found = analysis.audit(model, images)  # or (images, timestep), or {"sample": images, ...}
    for site in found.sites:
        print(site.path, site.verdict)

The model itself is never run: a copy is, in evaluation mode and with random numbers of its own, first with its weights, then with
random ones. `analysis.sites` finds the sites, `analysis.resampling` measures them, `analysis.passage` what they pass on.
"""

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from analysis import copies, kernels, passage, resampling
from analysis.capture import compiled
from analysis.resampling import Measured
from analysis.sites import Found, Tracer
from analysis.tape import leaves, mapped
from analysis.verdicts import verdict
from multires.errors import MultiresError, summary

SEED = 0
Table = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Site:
    """One place where the resolution falls (encoder) or rises (decoder), in the order in which they run."""

    kind: str
    path: str
    """The module whose forward makes the call; '' is the model itself."""
    line: str | None
    """FILE:LINE of the user's call."""
    side: str
    """'encoder' where the resolution falls, 'decoder' where it rises."""
    before: tuple[int, ...]
    after: tuple[int, ...]
    channels: tuple[int, int]
    learned: bool
    measured: Measured | str
    """The reason where it could not be measured."""
    random: dict[str, float] | None = None
    """`measured.filters` with random weights."""
    readout: dict[str, float] | None = None
    r"""$1 - R^2$ of a linear read-out from the channels of a coarse cell to each wavelet's approximation of the input (encoder)
    or output (decoder), on held-out images."""
    random_readout: dict[str, float] | None = None
    survival: Table | None = None
    """Of noise in each Haar band of the input (d1 finest), the energy in each band of the site's output; the best band's is 1."""

    @property
    def verdict(self) -> str:
        """One sentence: what the site is, or how far it is from what."""
        if isinstance(self.measured, str):
            return f"not measured: {self.measured}"
        return verdict(self.kind, self.before, self.after, self.learned, self.measured, self.random or {})


@dataclass(frozen=True)
class Audit:
    """What `audit` found; every sentence of `notes` says what was left out and why."""

    model: str
    parameters: int
    inputs: tuple[tuple[int, ...], ...]
    sites: tuple[Site, ...]
    notes: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        sites = [dataclasses.asdict(site) | {"verdict": site.verdict} for site in self.sites]
        found: dict[str, Any] = mapped(_finite, dataclasses.asdict(self) | {"sites": sites})
        return found


def audit(model: nn.Module, inputs: Any) -> Audit:
    """Audit a model on inputs: a tensor (batch, channel, *spatial), a tuple of arguments, or a dict of keyword arguments.

    Four images or more are needed for the read-outs. Raises MultiresError for what is no module, a model that is compiled, cannot
    be copied or raises, and for inputs without an image.
    """
    started = time.perf_counter()
    args, kwargs = _arguments(model, inputs)
    images = [x for x in leaves((args, kwargs)) if isinstance(x, Tensor) and 3 <= x.ndim <= 5 and x.is_floating_point()]
    if not images:
        raise MultiresError("inputs hold no image: pass a floating-point tensor of shape (batch, channel, *spatial) among them")
    if any(isinstance(x, Tensor) and x.is_meta for x in leaves((args, kwargs))):
        raise MultiresError("inputs are on the meta device, where tensors hold no values: pass them on the model's device")
    if empty := [x for x in images if not x.numel()]:
        raise MultiresError(f"inputs of shape {tuple(empty[0].shape)} are empty: pass one image or more")
    notes: list[str] = []
    with copies.undisturbed():
        net = copies.copied(model)
        found = _Pass(net, args, kwargs, measured=True, strangers=copies.left_behind(model, net))
        sites = found.sites
        notes += found.unseen
        axes = len(sites[0].before) + 2 if sites else 0
        image = next((x for x in images if x.ndim == axes), images[0])  # others may be tokens
        try:
            survivals = passage.survival(lambda a, k: _Pass(net, a, k, keep=True).outputs, args, kwargs, image, sites, notes)
        except MultiresError as error:  # a model that is tied to its batch, or to what it was given
            notes.append(f"no survival of bands, which takes {passage.PROBED} images: {error}")
            survivals = [None] * len(sites)
        readouts = passage.readouts(image, found.output, found.coarse, sites, notes)
        notes.append(copies.redraw(net))
        again = _Pass(net, args, kwargs, like=sites)
        same = [(s.kind, s.path, s.before, s.after) for s in sites] == [site[:4] for site in again.randoms]
        if not same:
            notes.append("with random weights the model takes another way: no figures for random weights")
        random_readouts = passage.readouts(image, again.output, again.coarse, sites, []) if same else [None] * len(sites)
    sites = [
        replace(
            site,
            random=again.randoms[i][4] if same else None,
            readout=readouts[i],
            random_readout=random_readouts[i],
            survival=survivals[i],
        )
        for i, site in enumerate(sites)
    ]
    shapes = tuple(tuple(x.shape) for x in leaves((args, kwargs)) if isinstance(x, Tensor))
    count = sum(p.numel() for p in net.parameters())  # of a lazy module, which has them since it ran
    return Audit(type(model).__name__, count, shapes, tuple(sites), tuple(notes), time.perf_counter() - started)


def _arguments(model: Any, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if not isinstance(model, nn.Module):
        raise MultiresError(f"audit of a {type(model).__name__}: pass a torch.nn.Module")
    for name, module in model.named_modules():
        if compiled(module):
            where = f"module {name!r}" if name else "the model"
            raise MultiresError(f"{where} is compiled: nothing inside is seen; pass the module as it was before torch.compile")
    for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
        if tensor.is_meta:
            raise MultiresError(f"{name} is on the meta device, where tensors hold no values: load the weights first")
        if isinstance(tensor, nn.Parameter) and not nn.parameter.is_lazy(tensor) and tensor.isnan().any():
            raise MultiresError(f"{name} holds NaN: nothing can be measured with such weights")
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)), {}


class _Pass:
    """One forward of the model with a tracer."""

    def __init__(
        self,
        net: nn.Module,
        args: Any,
        kwargs: Any,
        *,
        measured: bool = False,
        keep: bool = False,
        like: list[Site] | None = None,
        strangers: Iterable[Tensor] = (),
    ) -> None:
        self.measured, self.keep, self.like = measured, keep, like
        self.sites: list[Site] = []
        self.randoms: list[tuple[Any, ...]] = []
        self.outputs: list[Tensor] = []
        self.coarse: list[Tensor] = []
        self.unseen: list[str] = []
        args, kwargs = mapped(_cloned, args), mapped(_cloned, kwargs)
        torch.manual_seed(SEED)
        with torch.no_grad(), Tracer(net, self.report, strangers) as tracer:
            try:
                self.output = _run_traced(net, args, kwargs)
            except MultiresError:
                raise
            except (Exception, SystemExit) as error:
                shapes = ", ".join(str(tuple(x.shape)) for x in leaves((args, kwargs)) if isinstance(x, Tensor))
                raise MultiresError(f"{type(net).__name__} raised {summary(error)} (inputs of shape {shapes})") from None
        self.unseen += [f"{where}: what resamples there is not found" for where in tracer.unseen]

    def report(self, site: Found) -> None:
        """Measure a site while its activations are there, and keep figures alone."""
        wrapped = torch._C._functorch.is_functorch_wrapped_tensor(site.output)  # whose numbers are nowhere to be had
        if wrapped or site.source.is_quantized or site.output.is_quantized:
            what = "inside vmap" if wrapped else "of quantized numbers"
            self.unseen.append(f"{site.path or 'the model'}: a site {what} ({site.kind}) is not measured")
            return
        with torch.inference_mode(False), torch.no_grad():  # not the model's or the caller's: adjoints are gradients
            self.keep_figures(site)

    def keep_figures(self, site: Found) -> None:
        """The same, where gradients can be had."""
        if self.keep:
            self.outputs.append(site.output.detach().float().clone())
            return
        coarse = site.output if site.falls else site.source
        self.coarse.append(coarse.detach().float().clone() if len(coarse) >= passage.FEWEST else coarse.new_empty(0))
        if self.measured:
            self.sites.append(_site(site, _tried(resampling.measure, site)))
        elif self.like is not None:
            number = len(self.randoms)
            known = self.like[number].measured if number < len(self.like) else ""
            tried = "" if isinstance(known, str) else _tried(lambda s: kernels.filters_of(s, known.linear, known.channelwise), site)
            filters = None if isinstance(tried, str) else tried
            self.randoms.append((_kind(site, known), site.path, _sides(site)[0], _sides(site)[1], filters))


def _run_traced(net: nn.Module, args: Any, kwargs: Any) -> Any:
    """The frame where the search for the user's line ends."""
    return net(*args, **kwargs)


def _cloned(item: Any) -> Any:
    return item.clone() if isinstance(item, Tensor) else item


def _tried(measure: Callable[[Found], Any], site: Found) -> Any:
    try:
        return measure(site)
    except MultiresError as error:
        return str(error)
    except Exception as error:  # whatever replaying the model's calls on other numbers raises
        return summary(error)


def _sides(site: Found) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return site.operator.before[1:], site.operator.after[1:]


def _kind(site: Found, measured: Measured | str) -> str:
    if site.kind != "strided convolution" or site.learned or isinstance(measured, str):
        return site.kind
    if not site.falls:
        return "blur upsampling"
    return "blur pooling" if measured.channelwise else "fixed strided convolution"


def _site(site: Found, measured: Measured | str) -> Site:
    before, after = _sides(site)
    line = None if site.line is None else f"{site.line[0]}:{site.line[1]}"
    side = "encoder" if site.falls else "decoder"
    channels = (site.operator.before[0], site.operator.after[0])
    return Site(_kind(site, measured), site.path, line, side, before, after, channels, site.learned, measured)


def _finite(item: Any) -> Any:
    return None if isinstance(item, float) and not math.isfinite(item) else item

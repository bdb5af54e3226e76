"""What an HVAE, its data and its training are: dataclasses of plain values that check themselves; light to import."""

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from multires import plain
from multires.configs import TrainingConfig
from multires.errors import MultiresError

DEEPEST = 16  # levels: images of 65,536 cells a side


@dataclass(frozen=True)
class Resolution:
    """What the encoder and the decoder do at one resolution."""

    size: int
    """Cells a side, 2^j."""
    encoder_blocks: int = 1
    """Residual blocks of the encoder whose output stays here; one more pools down to the next resolution, but at the coarsest."""
    steps: int = 1
    """Steps in time that the decoder takes here."""
    width: int | None = None
    """Channels of the state; those of the configuration where none are given."""
    shared: bool = False
    """One cell takes all steps here; else each step has a cell of its own."""
    group: str | None = None
    """Resolutions of one group share one cell among them all."""

    def __post_init__(self) -> None:
        """Raise MultiresError for what no resolution can have."""
        plain.require_types(self)
        if self.size < 1 or self.size & (self.size - 1):
            raise MultiresError(f"size = {self.size}: a resolution has a power of two cells a side")
        for name, least in (("encoder_blocks", 0), ("steps", 1), ("width", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise MultiresError(f"{name} = {value} at {self.size} x {self.size}: must be {least} or more")
        if self.group is not None and "," in self.group:
            raise MultiresError(f"group = {self.group!r}: a comma ends a field where resolutions are written in a line")


@dataclass(frozen=True)
class HVAEConfig:
    """The shape of an HVAE."""

    resolutions: tuple[Resolution, ...]
    """From the finest, that of the images, to the coarsest."""
    channels: int = 1
    """Channels of the images; a run takes them from its data."""
    width: int = 32
    """Channels of the state at each resolution that names none."""
    latents: int = 8
    """Channels of the noise of a step."""
    bottleneck: float = 0.25
    """Inner channels of a block, as a share of its width."""
    cell_bottleneck: float | None = None
    """The same for the blocks of cells, where it is not the encoder's."""
    likelihood: Literal["bernoulli", "logistic-mixture"] = "bernoulli"
    """Of a pixel given the last state: Bernoulli of two values, or a mixture of logistics discretised to 256."""
    mixtures: int = 10
    """Components of 'logistic-mixture'."""
    mean: float = 0.5
    """Mean of pixel values in [0, 1], which the encoder subtracts."""
    std: float = 0.5
    """Standard deviation of pixel values, by which the encoder divides."""
    border: int = 0
    """Pixels on each edge that pad the images to a power of two: not scored, not part of the data; a run takes it from its data
    where that is a set with a name."""
    no_bias_above: int = 64
    """The largest size at which the decoder starts from a learned function; above it starts from zero."""
    time_input: bool = False
    """Every cell also reads the time of its step."""
    normalise: bool = False
    """After each step the state is divided by its norm: a control, for a state that cannot say the time by growing."""

    def __post_init__(self) -> None:
        """Raise MultiresError for what no HVAE can have."""
        plain.require_types(self)
        if not self.resolutions:
            raise MultiresError("resolutions = (): an HVAE has one or more, from the finest to the coarsest")
        for fine, coarse in pairwise(r.size for r in self.resolutions):
            if fine <= coarse:
                raise MultiresError(f"resolutions: {coarse} after {fine}; they go from the finest to the coarsest")
        for name, least in (("channels", 1), ("width", 1), ("latents", 1), ("mixtures", 1), ("border", 0), ("no_bias_above", 0)):
            if getattr(self, name) < least:
                raise MultiresError(f"{name} = {getattr(self, name)}: must be {least} or more")
        for name in ("bottleneck", "cell_bottleneck", "std"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise MultiresError(f"{name} = {value}: must be positive and finite")
        if not math.isfinite(self.mean):
            raise MultiresError(f"mean = {self.mean}: must be finite")
        if self.likelihood == "logistic-mixture" and self.channels not in (1, 3):
            raise MultiresError(f"channels = {self.channels}: the mixture of logistics is for 1 channel, grey, or 3, colour")
        if 2 * self.border >= self.resolutions[0].size:
            raise MultiresError(f"border = {self.border}: leaves no pixel of {self.resolutions[0].size}; name less than half of it")
        groups: dict[str, tuple[int, bool]] = {}
        for r in self.resolutions:
            for name in ("bottleneck", "cell_bottleneck"):
                value = getattr(self, name)
                if value is not None and int(self.width_at(r) * value) < 1:
                    raise MultiresError(f"{name} = {value}: leaves no inner channel of {self.width_at(r)}")
            shape = (self.width_at(r), r.size > 2)
            if r.group is not None and groups.setdefault(r.group, shape) != shape:
                raise MultiresError(
                    f"group {r.group!r}: one cell for {r.size} x {r.size} and a finer resolution needs"
                    " equal widths, and sizes all above 2 or all at most 2"
                )

    def width_at(self, resolution: Resolution) -> int:
        """Channels of the state at a resolution."""
        return self.width if resolution.width is None else resolution.width

    @property
    def spelled_out(self) -> "HVAEConfig":
        """The same network with a width named at each resolution, so that configurations of one network are equal."""
        return replace(self, width=1, resolutions=tuple(replace(r, width=self.width_at(r)) for r in self.resolutions))

    @property
    def steps(self) -> int:
        """Steps in time from the point mass to the image: the number of stochastic layers."""
        return sum(r.steps for r in self.resolutions)


@dataclass(frozen=True)
class HVAERun:
    """An HVAE, its data and its training."""

    model: HVAEConfig
    training: TrainingConfig = field(default_factory=TrainingConfig)
    data: str = "natural"
    """natural, digits, mnist, fashion-mnist, cifar-10, or a path."""
    binarise: Literal["no", "dynamic", "threshold"] = "no"
    """'dynamic': pixels are drawn anew from their grey values each time, in tests with one fixed seed; 'threshold': at 1/2."""
    pooled: int = 0
    """Levels by which images are average-pooled first: what is modelled is their projection, 2^pooled times coarser."""
    free_nats: float = 0.0
    """In the first tenth of the training a step's KL costs nothing below this, image by image: without it the coarse latents may
    be given up before anything has learned to read them."""

    def __post_init__(self) -> None:
        """Raise MultiresError for what no run can have."""
        plain.require_types(self)
        if not 0 <= self.free_nats < math.inf:
            raise MultiresError(f"free_nats = {self.free_nats}: must be 0 or more, and finite")
        if not 0 <= self.pooled <= DEEPEST:
            raise MultiresError(f"pooled = {self.pooled}: must be 0 to {DEEPEST} levels")
        if (self.model.likelihood == "bernoulli") != (self.binarise != "no"):
            raise MultiresError(
                f"binarise = {self.binarise!r} with likelihood {self.model.likelihood!r}:"
                " 'bernoulli' is for images binarised by 'dynamic' or 'threshold', 'logistic-mixture' for those that are not"
            )


def _levels(*levels: tuple[int, int, int], finest: int | None = None, shared: bool = False) -> tuple[Resolution, ...]:
    """From (size, encoder blocks, steps), and the width at the finest where it is not the model's."""
    widths = [finest] + [None] * (len(levels) - 1)
    return tuple(Resolution(*level, width, shared) for level, width in zip(levels, widths, strict=True))


def _on_32(data: str, shared: bool = False, grey: bool = False) -> HVAERun:
    """28 x 28 images in a border of zeros: most steps at 8 and 16 cells a side, where most of the information is."""
    levels = _levels((32, 1, 1), (16, 2, 3), (8, 2, 4), (4, 1, 3), (1, 1, 1), finest=16, shared=shared)
    likelihood: Literal["bernoulli", "logistic-mixture"] = "logistic-mixture" if grey else "bernoulli"
    model = HVAEConfig(levels, bottleneck=0.5, likelihood=likelihood, mixtures=5, border=2)
    # 256 values cost twenty times the nats of two, and gradients are as much longer
    training = replace(LONG, learning_rate=2e-3, skip_above=100.0) if grey else LONG
    return HVAERun(model, training, data, "no" if grey else "dynamic", free_nats=1.0)


LONG = TrainingConfig(
    steps=15_000, batch=32, learning_rate=4e-3, warmup=200, skip_above=10.0, ema=0.999, log_every=20, save_every=1000
)
SHORT = replace(LONG, steps=1500, warmup=100, skip_above=100.0, ema=0.99, save_every=500)
HVAE_PRESETS = {
    "mnist": _on_32("mnist"),
    "mnist-shared": _on_32("mnist", shared=True),
    "fashion-mnist": _on_32("fashion-mnist", grey=True),
    "fashion-mnist-shared": _on_32("fashion-mnist", shared=True, grey=True),
    "digits": HVAERun(
        HVAEConfig(_levels((8, 1, 3), (4, 1, 3), (1, 1, 1)), width=24, bottleneck=0.5, likelihood="logistic-mixture", mixtures=5),
        SHORT,
        "digits",
        free_nats=1.0,
    ),
    "natural": HVAERun(
        HVAEConfig(_levels((32, 1, 3), (16, 1, 3), (8, 1, 3), (4, 1, 2), (1, 1, 1)), likelihood="logistic-mixture"),
        replace(LONG, steps=8000, learning_rate=2e-3),
    ),
    "cifar10": HVAERun(
        HVAEConfig(
            _levels((32, 3, 6), (16, 3, 5), (8, 3, 4), (4, 2, 3), (1, 2, 1)),
            channels=3,
            width=64,
            likelihood="logistic-mixture",
        ),
        replace(LONG, batch=8, learning_rate=1e-3),
        "cifar-10",
    ),
}

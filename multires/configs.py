"""What a U-Net, its task, a training and a whole run are: dataclasses of plain values that check themselves; light to import."""

import math
from dataclasses import dataclass, field
from typing import Literal

from multires import plain
from multires.errors import MultiresError

MOST_SEEDS = 2**31  # NumPy's generator takes 32 bits, and processes add their number


@dataclass(frozen=True)
class UNetConfig:
    """The shape of a U-Net.

    Pooling is a function of `multires.pooling` (average, max, subsample, blur), 'strided' for a learned convolution of width 3 and
    stride 2, or a wavelet's low-pass filter, given by its taps (`pywt.Wavelet('db2').dec_lo`).
    """

    channels: int = 1
    """Channels of the images, in and out; a run takes them from its data."""
    widths: tuple[int, ...] = (24, 24, 24, 24, 24)
    """Channels of the activations at level 0, 1, ...: one more than there are levels."""
    blocks: int = 1
    """Residual blocks at each level on each side."""
    dimension: int = 2
    """d, the number of spatial axes."""
    pooling: str | tuple[float, ...] = "average"
    """A name, or taps; on the command line the name of any of PyWavelets' wavelets too: db2."""
    upsampling: Literal["nearest", "synthesis"] = "nearest"
    """'nearest' is the synthesis of the Haar basis; 'synthesis' that of the orthogonal wavelet whose filter the pooling is."""
    skips: Literal["add", "concatenate", "none"] = "add"
    """How the decoder takes up the encoder's activation; 'none' leaves only the way through the coarsest resolution."""
    padding: Literal["periodic", "zeros"] = "periodic"
    """That of the convolutions; the fixed poolings are periodic always, as PyWavelets' periodization is."""

    def __post_init__(self) -> None:
        """Raise MultiresError for what no U-Net can have."""
        plain.require_types(self)
        for name, value in (("channels", self.channels), ("blocks", self.blocks), *(("widths", width) for width in self.widths)):
            if value < 1:
                raise MultiresError(f"{name} = {value}: must be 1 or more")
        if not isinstance(self.pooling, str) and not all(map(math.isfinite, self.pooling)):
            raise MultiresError(f"pooling = {self.pooling}: taps are finite numbers")
        if not self.widths:
            raise MultiresError("widths = (): give the channels at each level, for example 24 24 24 for two levels")
        if self.dimension not in (1, 2, 3):
            raise MultiresError(f"dimension = {self.dimension}: U-Nets have 1, 2 or 3 spatial axes")

    @property
    def levels(self) -> int:
        """How many times the resolution is halved."""
        return len(self.widths) - 1


@dataclass(frozen=True)
class Task:
    """The input made from a clean image w: 'denoise' w + noise * normal, 'super-resolve' P^levels w, 'autoencode' w itself."""

    name: Literal["denoise", "super-resolve", "autoencode"] = "denoise"
    noise: float = 0.1
    """Standard deviation of the noise, in units of the images' range; used by 'denoise'."""
    levels: int = 1
    """How many resolutions the input has lost; used by 'super-resolve'."""

    def __post_init__(self) -> None:
        """Raise MultiresError for what is no task."""
        plain.require_types(self)
        if not 0 <= self.noise < math.inf:
            raise MultiresError(f"noise = {self.noise}: a standard deviation is 0 or more, and finite")
        if self.levels < 1:
            raise MultiresError(f"levels = {self.levels}: super-resolution loses 1 resolution or more")


@dataclass(frozen=True)
class TrainingConfig:
    """How to optimise: AdamW, a linear warm-up and a cosine to zero, clipped gradients, an average of the weights."""

    steps: int = 1000
    """Updates of the weights in all."""
    batch: int = 16
    """Images in a step, over all processes together."""
    learning_rate: float = 2e-3
    """The largest, at the end of the warm-up."""
    weight_decay: float = 0.01
    """AdamW's, decoupled."""
    warmup: int = 50
    """Steps from zero to the largest learning rate."""
    clip: float = 1.0
    """The largest norm of the gradient; longer ones are shortened."""
    skip_above: float | None = None
    """A gradient longer than this is not followed at all: that update is left out, and counted."""
    skip_limit: int = 50
    """So many updates left out in a row end the training."""
    ema: float = 0.99
    """Decay of the exponential moving average of the weights, which is what is evaluated and kept."""
    seed: int = 0
    """Fixes the first weights, the order of the data, and the noise."""
    log_every: int = 10
    """Steps between two lines of the log."""
    save_every: int = 200
    """Steps between two checkpoints; the averaged weights are evaluated at each."""

    def __post_init__(self) -> None:
        """Raise MultiresError for what no training can have."""
        plain.require_types(self)
        least = {"steps": 1, "batch": 1, "warmup": 0, "skip_limit": 1, "seed": 0, "log_every": 1, "save_every": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise MultiresError(f"{name} = {getattr(self, name)}: must be {bound} or more")
        if self.seed >= MOST_SEEDS:
            raise MultiresError(f"seed = {self.seed}: must be below {MOST_SEEDS}")
        for name in ("learning_rate", "clip", "skip_above"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise MultiresError(f"{name} = {value}: must be positive")
        if not 0 <= self.weight_decay < math.inf:
            raise MultiresError(f"weight_decay = {self.weight_decay}: must be 0 or more, and finite")
        if not 0 <= self.ema < 1:
            raise MultiresError(f"ema = {self.ema}: must lie in [0, 1); 0 keeps the last weights")


@dataclass(frozen=True)
class UNetRun:
    """A U-Net, its task, its data and its training."""

    model: UNetConfig = field(default_factory=UNetConfig)
    task: Task = field(default_factory=Task)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    data: str = "natural"
    """natural, digits, mnist, fashion-mnist, cifar-10, or a path."""
    side: int = 32
    """Side of the patches, in pixels."""

    def __post_init__(self) -> None:
        """Raise MultiresError for what no run can have."""
        plain.require_types(self)
        if self.side < 1:
            raise MultiresError(f"side = {self.side}: must be 1 or more")


PRESETS = {
    "denoise": UNetRun(),
    "autoencode": UNetRun(model=UNetConfig(skips="none"), task=Task("autoencode")),
    "super-resolve": UNetRun(task=Task("super-resolve")),
}

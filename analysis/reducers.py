"""What becomes of the activations that `analysis.capture` records: kept whole, or reduced as they come."""

from typing import Protocol

import torch
from torch import Tensor

from multires.errors import MultiresError

Tensors = tuple[Tensor, ...]


class Reducer(Protocol):
    """What becomes of the activations of one site.

    Outputs are detached, and still the model's own: a reducer must not write to them, and must clone what it keeps, since an
    operation in place (an in-place ReLU) may change them later. Inputs are copies.
    """

    def update(self, outputs: Tensors, inputs: Tensors, /) -> None:
        """Take one call's tensors, nested ones flattened in order; inputs is () unless they were asked for."""


class Keep:
    """All tensors of all calls, cloned: `outputs` and `inputs` are lists with one tuple a call."""

    def __init__(self) -> None:
        self.outputs: list[Tensors] = []
        self.inputs: list[Tensors] = []

    def update(self, outputs: Tensors, inputs: Tensors, /) -> None:
        """Append clones of the outputs; inputs are copies already."""
        self.outputs.append(tuple(x.clone() for x in outputs))
        self.inputs.append(inputs)

    @property
    def tensor(self) -> Tensor:
        """The first output of every call, joined along axis 0, the batch where it comes first."""
        return torch.cat([outputs[0] for outputs in self.outputs])


class Moments:
    """Count, mean and variance per channel of a site's first output, in float64; memory does not grow with the images.

    `count` is the number of values in each channel, axis 1 (a tensor of fewer axes is one channel). Sums and sums of squares are
    kept: what cancels between them in float64 is far below the rounding of float32. Values that are exact beyond that, float64
    and integers, are counted from the first batch's mean, so that a mean far from zero costs no digits.
    """

    def __init__(self) -> None:
        self.count = 0
        self.origin: Tensor | None = None
        self._sum = self._squares = torch.zeros((), dtype=torch.float64)

    def update(self, outputs: Tensors, inputs: Tensors, /) -> None:
        """Add one batch."""
        x = outputs[0]
        if x.is_nested or x.is_complex():
            raise MultiresError(f"moments of a {'nested' if x.is_nested else 'complex'} tensor: only dense, real ones have them")
        if not x.numel():
            return
        # flat in space first: torch reduces two axes several times faster than three
        x = (x.reshape(len(x), x.shape[1], -1) if x.ndim > 1 else x.reshape(-1, 1, 1)).double()
        count = x.shape[0] * x.shape[2]
        if self.count and self._sum.shape != (x.shape[1],):
            raise MultiresError(f"moments of {x.shape[1]} channels after {len(self._sum)}: one site's calls have the same channels")
        if not self.count and (outputs[0].dtype == torch.float64 or not outputs[0].is_floating_point()):
            self.origin = x.sum(2).sum(0) / count
        if self.origin is not None:
            x = x - self.origin[:, None]
        self.count += count
        self._sum = self._sum + x.sum(2).sum(0)
        self._squares = self._squares + torch.linalg.vector_norm(x, dim=2).square().sum(0)

    @property
    def mean(self) -> Tensor:
        """The mean."""
        mean = self._sum / self.count
        return mean if self.origin is None else mean + self.origin

    @property
    def variance(self) -> Tensor:
        """The mean squared deviation from the mean (divided by count, not count - 1)."""
        return (self._squares / self.count - (self._sum / self.count).square()).clamp(min=0)

    @property
    def second(self) -> Tensor:
        """The second moment, the mean of the squares."""
        return self.variance + self.mean.square()

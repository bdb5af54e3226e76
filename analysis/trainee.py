"""What one training loop for every model has to be given."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from multires import training

COPIES = 5  # of the weights while they train: gradients, two moments, the average


@dataclass(frozen=True)
class Trainee:
    """A model with its loss, its batches and its test."""

    model: nn.Module
    loss: training.Loss
    batches: training.Batches
    evaluate: Callable[[nn.Module], float]
    """The test loss of the averaged weights, whenever a checkpoint is written."""
    describe: Callable[[nn.Module], dict[str, Any]]
    """What is measured at the end, for the card of the weights."""

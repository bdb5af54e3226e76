"""Square patches of images for training and for held-out measurements: each batch is fixed by a seed and its number.

Training and test pixels are disjoint: of a set of many images some are kept back, photographs are cut into a left half to
train on and a right half to test on.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from multires.data import Images
from multires.errors import MultiresError

MANY = 20  # from so many images on, whole images are kept back
KEPT_BACK = 5  # every set that names no test images keeps its last fifth back


@dataclass(frozen=True)
class Patches:
    """Patches of `side` pixels from images of shape (image, channel, y, x), all with the same channels."""

    sources: tuple[Tensor, ...]
    side: int

    @property
    def channels(self) -> int:
        """Channels of every patch."""
        return int(self.sources[0].shape[1])

    def batch(self, size: int, seed: int, number: int) -> Tensor:
        """`size` patches at random places, in float32 of shape (size, channel, side, side).

        The same for the same seed and number, whatever was drawn before: a number is all that a position in the data needs.
        """
        rng = np.random.default_rng([seed, number])
        places = np.array([len(s) * (s.shape[2] - self.side + 1) * (s.shape[3] - self.side + 1) for s in self.sources])
        ends = np.cumsum(places)
        patches = []
        for place in rng.integers(ends[-1], size=size):
            which = int(np.searchsorted(ends, place, "right"))
            source = self.sources[which]
            rows, columns = (n - self.side + 1 for n in source.shape[2:])
            rest, column = divmod(int(place - ends[which] + places[which]), columns)
            image, row = divmod(rest, rows)
            patches.append(source[image, :, row : row + self.side, column : column + self.side])
        return torch.stack(patches).float()

    def tiles(self, most: int | None = None) -> Tensor:
        """The patches that do not overlap, in order; evenly chosen ones where there are more than `most`."""
        cut = (s.unfold(2, self.side, self.side).unfold(3, self.side, self.side) for s in self.sources)
        tiles = torch.cat([t.permute(0, 2, 3, 1, 4, 5).flatten(0, 2) for t in cut])
        if most is not None and most < len(tiles):
            tiles = tiles[torch.linspace(0, len(tiles) - 1, most).round().long()]
        return tiles.float()


def split(images: Images, side: int) -> tuple[Patches, Patches]:
    """Return patches to train on and patches to test on, which share no pixel.

    Raises MultiresError where the images have too few pixels for two disjoint sets of patches, or different channels.
    """
    batches = images.batches[: len(images.batches) - images.views]
    channels = sorted({int(batch.shape[1]) for batch in batches})
    if len(channels) > 1:
        raise MultiresError(f"{images.name}: images of {channels[0]} and of {channels[1]} channels; a network needs one kind")
    train, test = [], []
    for batch in batches:
        if len(batch) >= MANY:
            kept_back = images.test or len(batch) // KEPT_BACK
            train.append(batch[:-kept_back])
            test.append(batch[-kept_back:])
        else:
            half = batch.shape[3] // 2
            train.append(batch[..., :half])
            test.append(batch[..., half:])
    for part in (train, test):
        part[:] = [batch for batch in part if min(batch.shape[2:]) >= side]
    if not train:
        shapes = ", ".join(sorted({f"{batch.shape[2]} x {batch.shape[3]}" for batch in batches}))
        raise MultiresError(
            f"{images.name}: {sum(map(len, batches))} images of {shapes} have no room for disjoint patches of {side} x {side}"
            " to train and to test on; name larger images"
        )
    return Patches(tuple(train), side), Patches(tuple(test), side)

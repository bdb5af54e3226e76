"""What the tests of data loading share: pixels, image files, and what becomes of a set's only batch or of its error."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from multires import data
from multires.errors import MultiresError


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def only(images: data.Images) -> Tensor:
    assert len(images.batches) == 1
    return images.batches[0]


def refused(name: str | Path) -> str:
    """The text of the error that loading raises, once it is known to be one line that names what was asked for."""
    with pytest.raises(MultiresError) as caught:
        data.load(str(name))
    text = str(caught.value)
    assert "\n" not in text
    assert str(name) in text
    return text


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path

"""The user's own files as tensors: images, folders and arrays.

The files are made here, and what they must become is computed from what was put in them. Every warning is an error, as in
test_data.py.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from multires import data
from tests.multires.loaded import noise, only, save

pytestmark = pytest.mark.usefixtures("warn_always")


# The user's own files: images


def test_grey_png(tmp_path: Path) -> None:
    raw = noise(16, 16)
    images = data.load(str(save(tmp_path / "grey.png", Image.fromarray(raw))))
    values = only(images)
    assert values.shape == (1, 1, 16, 16)
    assert values.dtype == torch.float32
    np.testing.assert_allclose(values[0, 0].numpy(), raw / 255, rtol=1e-6, atol=0)
    assert images.name == str(tmp_path / "grey.png")
    assert images.note == "one image of 16 x 16, 1 channels, from grey.png"


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colour_png(tmp_path: Path, mode: str) -> None:
    """Channels first, red first; the opacity is no colour and is left out."""
    raw = noise(8, 8, len(mode))
    values = only(data.load(str(save(tmp_path / "colour.png", Image.fromarray(raw)))))
    assert values.shape == (1, 3, 8, 8)
    assert values.is_contiguous()
    np.testing.assert_allclose(values[0].numpy(), raw[..., :3].transpose(2, 0, 1) / 255, rtol=1e-6, atol=0)


@pytest.mark.parametrize("transparency", [None, 3, bytes([0, 100, 255])])
def test_palette_png(tmp_path: Path, transparency: int | bytes | None) -> None:
    """The colours, not the numbers of the colours; one of them, or several, may be transparent."""
    palette, indices = noise(16, 3), noise(8, 8, seed=1) % 16
    image = Image.fromarray(indices).convert("L")
    image.putpalette(palette.tobytes())
    options = {} if transparency is None else {"transparency": transparency}
    path = save(tmp_path / "palette.png", image, **options)
    with Image.open(path) as written:
        assert written.mode == "P"
    values = only(data.load(str(path)))
    assert values.shape == (1, 3, 8, 8)
    np.testing.assert_allclose(values[0].numpy(), palette[indices].transpose(2, 0, 1) / 255, rtol=1e-6, atol=0)


def test_deep_grey_png(tmp_path: Path) -> None:
    """16 bits are kept: no two neighbours of 65,536 greys become one."""
    raw = np.array([0, 1, 2, 255, 256, 257, 32767, 32768, 4e4, 5e4, 6e4, 6.5e4, 65532, 65533, 65534, 65535], np.uint16).reshape(
        4, 4
    )
    values = only(data.load(str(save(tmp_path / "deep.png", Image.fromarray(raw)))))
    assert values.shape == (1, 1, 4, 4)
    np.testing.assert_allclose(values[0, 0].numpy(), raw / 65535, rtol=1e-6, atol=0)
    assert len(values.unique()) == 16


def test_black_and_white_png(tmp_path: Path) -> None:
    raw = noise(8, 8) > 127
    values = only(data.load(str(save(tmp_path / "bits.png", Image.fromarray(raw)))))
    assert values.shape == (1, 1, 8, 8)
    np.testing.assert_array_equal(values[0, 0].numpy(), raw)


def test_floating_point_tiff(tmp_path: Path) -> None:
    raw = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    values = only(data.load(str(save(tmp_path / "field.tiff", Image.fromarray(raw)))))
    np.testing.assert_array_equal(values[0, 0].numpy(), raw)


def test_a_picture_is_upright_as_viewers_show_it(tmp_path: Path) -> None:
    raw = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6  # to be turned by 90 degrees clockwise
    values = only(data.load(str(save(tmp_path / "camera.png", Image.fromarray(raw), exif=turned.tobytes()))))
    np.testing.assert_array_equal((values[0, 0] * 255).round().numpy(), np.rot90(raw, -1))


def test_every_page_of_a_tiff_and_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    raw = [noise(8, 8, seed=k) for k in range(3)] + [noise(16, 16)]
    first, *others = map(Image.fromarray, raw)
    images = data.load(str(save(tmp_path / "stack.tif", first, save_all=True, append_images=others)))
    pages, large = images.batches
    np.testing.assert_array_equal((pages[:, 0] * 255).round().numpy(), np.stack(raw[:3]))
    np.testing.assert_array_equal((large[0, 0] * 255).round().numpy(), raw[3])
    assert images.note == "4 images from stack.tif"
    animation = save(tmp_path / "animation.gif", first, save_all=True, append_images=others[:2])
    np.testing.assert_array_equal((only(data.load(str(animation)))[0, 0] * 255).round().numpy(), raw[0])
    assert data.load(str(tmp_path)).note == f"5 images from {tmp_path.name}"


# The user's own files: folders


def test_folder_with_mixed_sizes(tmp_path: Path) -> None:
    """One batch for each shape, images in the order of their names, endings in any case; other files are passed over."""
    shapes = {"c.png": (8, 8), "a.PNG": (8, 8), "b.png": (16, 16), "d.png": (8, 8, 3)}
    raw = {name: noise(*shape, seed=k) for k, (name, shape) in enumerate(shapes.items())}
    for name, values in raw.items():
        save(tmp_path / name, Image.fromarray(values))
    (tmp_path / "notes.txt").write_text("where these come from")
    (tmp_path / "table.json").write_text("{}")
    (tmp_path / "below").mkdir()
    save(tmp_path / "below" / "e.png", Image.fromarray(noise(8, 8)))
    images = data.load(str(tmp_path))
    small, middle, colour = images.batches
    assert (small.shape, middle.shape, colour.shape) == ((2, 1, 8, 8), (1, 1, 16, 16), (1, 3, 8, 8))
    np.testing.assert_allclose(small[:, 0].numpy(), np.stack([raw["a.PNG"], raw["c.png"]]) / 255, rtol=1e-6, atol=0)
    np.testing.assert_allclose(middle[0, 0].numpy(), raw["b.png"] / 255, rtol=1e-6, atol=0)
    assert images.note == f"4 images from {tmp_path.name}; 2 other files passed over"


def test_folder_with_images_alone(tmp_path: Path) -> None:
    save(tmp_path / "a.png", Image.fromarray(noise(8, 8)))
    assert data.load(str(tmp_path)).note == f"1 images from {tmp_path.name}"


# The user's own files: arrays


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "becomes"),
    [((8, 8), (1, 1, 8, 8)), ((5, 8, 8), (5, 1, 8, 8)), ((5, 3, 8, 8), (5, 3, 8, 8)), ((1, 2, 4, 4), (1, 2, 4, 4))],
)
def test_npy(tmp_path: Path, dtype: type, shape: tuple[int, ...], becomes: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    np.save(tmp_path / "fields.npy", array)
    images = data.load(str(tmp_path / "fields.npy"))
    values = only(images)
    assert values.shape == becomes
    np.testing.assert_array_equal(values.numpy(), array.reshape(becomes), strict=True)
    assert images.note == f"{becomes[0]} images of {becomes[2]} x {becomes[3]}, {becomes[1]} channels, from fields.npy"


@pytest.mark.parametrize(("dtype", "becomes"), [("<f2", "float32"), (">f4", "float32"), (">f8", "float64"), ("g", "float64")])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_other_layouts(tmp_path: Path, dtype: str, becomes: str, order: str) -> None:
    array = np.asarray(np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(dtype), order=order)  # type: ignore[call-overload]
    np.save(tmp_path / "fields.npy", array)
    values = only(data.load(str(tmp_path / "fields.npy")))
    np.testing.assert_array_equal(values.numpy(), array.astype(becomes), strict=True)


def test_npy_is_not_changed_by_what_is_done_to_the_tensor(tmp_path: Path) -> None:
    np.save(tmp_path / "field.npy", np.zeros((8, 8)))
    only(data.load(str(tmp_path / "field.npy"))).add_(1)
    assert not np.load(tmp_path / "field.npy").any()

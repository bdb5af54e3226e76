"""The user's own files as tensors: images, folders and arrays, and each way these can be wrong.

The files are made here, and what they must become is computed from what was put in them. Every warning is an error, as in
test_data.py.
"""

import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from multires import data
from multires.errors import MultiresError
from tests.multires.loaded import noise, only, refused

MEBIBYTE = 1 << 20
pytestmark = pytest.mark.usefixtures("warn_always")


# The user's own files: images


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


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


# What is wrong

Make = Callable[[Path], Path]


def png(values: np.ndarray, keep: float = 1) -> Make:
    def make(folder: Path) -> Path:
        path = save(folder / "image.png", Image.fromarray(values))
        content = path.read_bytes()
        path.write_bytes(content[: int(keep * len(content))])
        return path

    return make


def file(name: str, content: bytes) -> Make:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def npy(array: np.ndarray, keep: float = 1, **options: bool) -> Make:
    def make(folder: Path) -> Path:
        path = folder / "array.npy"
        np.save(path, array, **options)
        content = path.read_bytes()
        path.write_bytes(content[: int(keep * len(content))])
        return path

    return make


def npz(folder: Path) -> Path:
    np.savez(folder / "array.npz", a=np.zeros((8, 8)))
    return (folder / "array.npz").rename(folder / "array.npy")


def npy_header(text: str) -> Make:
    """An .npy file with this header and 512 bytes of values."""
    return file("array.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n" + bytes(512))


def npy_claiming(shape: str) -> Make:
    return npy_header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}")


def huge_png(folder: Path) -> Path:
    """Claims 2^27 pixels, which Pillow only warns about."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2**14, 2**13, 8, 0, 0, 0, 0))
    path = folder / "huge.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    return path


def broken(values: np.ndarray, bad: float) -> np.ndarray:
    values[..., 1, 2] = bad
    return values


BAD: dict[str, tuple[Make, str]] = {
    "text named png": (file("image.png", b"hello\n"), "no image that can be read"),
    "empty png": (file("image.png", b""), "no image that can be read"),
    "png cut short": (png(noise(32, 32), keep=0.6), "no image that can be read"),
    "deep png cut short": (png(noise(32, 32).astype(np.uint16) * 257, keep=0.6), "no image that can be read"),
    "png signature alone": (file("image.png", b"\x89PNG\r\n\x1a\n"), "no image that can be read"),
    "huge png": (huge_png, "decompression bomb"),
    "unknown ending": (file("image.xyz", b"hello\n"), "no image that can be read"),
    "odd png": (png(noise(30, 31)), "30 x 31 cells: all sides must be the same power of two, the nearest that works is 32 x 32"),
    "small odd png": (png(noise(5, 5)), "the nearest that works is 4 x 4"),
    "png not square": (png(noise(16, 64)), "16 x 64 cells"),
    "png of 2 x 2": (png(noise(2, 2)), "4 x 4 is the least"),
    "png of 1 x 1": (png(noise(1, 1)), "4 x 4 is the least"),
    "npy of integers": (npy(np.zeros((8, 8), np.int64)), "holds int64; cell values are floating point"),
    "npy of bytes": (npy(noise(8, 8)), "holds uint8; cell values are floating point"),
    "npy of truth values": (npy(np.zeros((8, 8), bool)), "holds bool; cell values are floating point"),
    "npy of complex numbers": (npy(np.zeros((8, 8), complex)), "holds complex128; cell values are floating point"),
    "npy of objects": (npy(np.full((8, 8), None), allow_pickle=True), "not an array that numpy.save wrote"),
    "npy of records": (npy(np.zeros((8, 8), [("a", float)])), "cell values are floating point"),
    "pickle named npy": (file("array.npy", b"\x80\x04N."), "not an array that numpy.save wrote"),
    "text named npy": (file("array.npy", b"hello\n"), "not an array that numpy.save wrote"),
    "empty npy": (file("array.npy", b""), "not an array that numpy.save wrote"),
    "npz named npy": (npz, "not an array that numpy.save wrote"),
    "zip magic named npy": (file("array.npy", b"PK\x03\x04" + bytes(100)), "not an array that numpy.save wrote"),
    "npy cut short": (npy(np.zeros((8, 8)), keep=0.8), "cut short"),
    "npy cut short in its header": (npy(np.zeros((8, 8)), keep=0.1), "cut short"),
    "npy cut short in its first line": (file("array.npy", b"\x93NUMPY\x01"), "cut short"),
    "npy claiming 2^40 rows": (npy_claiming(f"({2**40}, 8, 8)"), "cut short"),
    "npy claiming 2^61 rows": (npy_claiming(f"({2**61}, 8, 8)"), "not an array that numpy.save wrote"),
    "npy claiming 2^70 rows": (npy_claiming(f"({2**70}, 8, 8)"), "not an array that numpy.save wrote"),
    "npy claiming -1 rows": (npy_claiming("(-1, 8, 8)"), "not an array that numpy.save wrote"),
    "npy with an unfinished header": (npy_header("{'descr': ('<f8', "), "not an array that numpy.save wrote"),
    "npy with an unusable header": (npy_header("{[]: 1}"), "not an array that numpy.save wrote"),
    "npy of 1 axis": (npy(np.zeros(8)), "has shape (8,); expected (y, x)"),
    "npy of 0 axes": (npy(np.zeros(())), "has shape (); expected (y, x)"),
    "npy of 5 axes": (npy(np.zeros((1, 1, 8, 8, 8))), "has shape (1, 1, 8, 8, 8); expected (y, x)"),
    "npy without images": (npy(np.zeros((0, 8, 8))), "no images in it (shape (0, 1, 8, 8))"),
    "npy without channels": (npy(np.zeros((5, 0, 8, 8))), "no images in it (shape (5, 0, 8, 8))"),
    "npy without pixels": (npy(np.zeros((5, 1, 8, 0))), "no images in it"),
    "npy with NaN": (npy(broken(np.zeros((3, 8, 8)), np.nan)), "3 values are NaN or infinite"),
    "npy with inf": (npy(broken(np.zeros((2, 8, 8), np.float32), np.inf)), "2 values are NaN or infinite"),
    "npy with -inf": (npy(broken(np.zeros((8, 8)), -np.inf)), "1 values are NaN or infinite"),
    "npy with odd sides": (npy(np.zeros((3, 7, 7))), "the nearest that works is 8 x 8"),
    "npy not square": (npy(np.zeros((8, 16))), "8 x 16 cells"),
    "npy of 2 x 2": (npy(np.zeros((2, 2))), "4 x 4 is the least"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file(tmp_path: Path, case: str) -> None:
    make, says = BAD[case]
    path = make(tmp_path)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")  # what a user would see: the test must not turn a warning into the error it waits for
        text = refused(path)
    assert text.startswith(f"{path}: ")
    assert says in text
    assert [str(warning.message) for warning in shown] == []


def test_a_damaged_tiff_is_refused_whatever_its_decoder_makes_of_it(tmp_path: Path) -> None:
    path = save(tmp_path / "stack.tif", Image.fromarray(noise(8, 8)), save_all=True, append_images=[Image.fromarray(noise(8, 8))])
    whole, lines = path.read_bytes(), set()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            data.load(str(path))  # where nothing is raised a pixel has another value
        except MultiresError as error:
            lines.add(str(error))
    assert len(lines) > 5
    assert all(line.startswith(f"{path}: ") and "\n" not in line for line in lines)


@pytest.mark.parametrize("rows", [2**40, 2**21])
def test_memory_does_not_grow_with_what_an_npy_claims(tmp_path: Path, rows: int) -> None:
    """2^21 rows are 1 GiB, which a machine would give."""
    path = npy_claiming(f"({rows}, 8, 8)")(tmp_path)
    tracemalloc.start()
    try:
        refused(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * MEBIBYTE


@pytest.mark.parametrize("others", [(), ("notes.txt", "array.npy")])
def test_folder_without_images(tmp_path: Path, others: tuple[str, ...]) -> None:
    for name in others:
        (tmp_path / name).write_bytes(b"hello")
    text = refused(tmp_path)
    assert "no images in this folder" in text
    assert f"its {len(others)} files" in text


@pytest.mark.parametrize("case", ["text named png", "png cut short", "odd png", "png of 2 x 2"])
def test_folder_with_one_bad_image_names_it(tmp_path: Path, case: str) -> None:
    save(tmp_path / "a good one.png", Image.fromarray(noise(8, 8)))
    make, says = BAD[case]
    path = make(tmp_path)
    text = refused(tmp_path)
    assert str(path) in text
    assert says in text


@pytest.mark.parametrize(
    ("value", "fits"), [(1e29, True), (1e31, False), (-1e300, False), (1e-29, True), (1e-31, False), (-5e-324, False), (0, True)]
)
def test_values_that_would_over_or_underflow(tmp_path: Path, value: float, fits: bool) -> None:
    array = np.ones((4, 4))
    array[1, 2] = value
    np.save(tmp_path / "a.npy", array)
    if fits:
        assert data.load(str(tmp_path / "a.npy")).batches[0].min() == min(1, value)
    else:
        with pytest.raises(MultiresError, match=r"beyond 1e\+30 or below 1e-30"):
            data.load(str(tmp_path / "a.npy"))

"""The user's own files, each way that these can be wrong: one line, and no warning beside it."""

import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from multires import data
from multires.errors import MultiresError
from tests.multires.loaded import noise, refused, save

MEBIBYTE = 1 << 20
pytestmark = pytest.mark.usefixtures("warn_always")
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

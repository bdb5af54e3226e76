"""The IDX reader: round trips of every type and shape, and every way in which a file can be wrong.

The writer here is the test's own, from the description of the format, and shares nothing with `multires.idx`. The
statement about errors is the same for all of them: a MultiresError of one line that names the file.
"""

import gzip
import struct
import tracemalloc
from math import prod
from pathlib import Path
from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from multires.errors import MultiresError
from multires.idx import read_idx

CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}
MEBIBYTE = 1 << 20

arrays = st.sampled_from(sorted(CODES)).flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
)


def header(code: int, *shape: int) -> bytes:
    return bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


def idx(array: np.ndarray) -> bytes:
    return header(CODES[array.dtype.name], *array.shape) + array.astype(array.dtype.newbyteorder(">")).tobytes()


def refused(path: Path) -> str:
    """The text of the error that reading the file raises, once it is known to be one line that names the file."""
    with pytest.raises(MultiresError) as caught:
        read_idx(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    return text


@settings(deadline=None)
@given(array=arrays, packed=st.booleans())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, packed: bool) -> None:
    path = tmp_path_factory.getbasetemp() / ("round-trip.gz" if packed else "round-trip")
    path.write_bytes(gzip.compress(idx(array), 1) if packed else idx(array))
    read = read_idx(path)
    assert read.dtype == array.dtype
    assert read.dtype.isnative
    assert read.shape == array.shape
    assert read.tobytes() == array.tobytes()  # bits, so that NaN equals itself and -0 is not 0


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("ndim", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_each_dtype_and_dimension(tmp_path: Path, dtype: str, ndim: int, suffix: str) -> None:
    shape = (5, 2, 3, 4)[:ndim]
    array = (np.arange(prod(shape)) * 7 - (0 if dtype == "uint8" else 100)).astype(dtype).reshape(shape)
    path = tmp_path / f"file{suffix}"
    path.write_bytes(gzip.compress(idx(array)) if suffix else idx(array))
    np.testing.assert_array_equal(read_idx(path), array, strict=True)


def test_the_array_is_the_callers_own(tmp_path: Path) -> None:
    """A read-only array makes torch warn, and a write to it is undefined."""
    path = tmp_path / "file"
    path.write_bytes(idx(np.zeros(3, np.uint8)))
    read = read_idx(path)
    read[0] = 1
    assert read.tolist() == [1, 0, 0]


def test_more_than_one_piece(tmp_path: Path) -> None:
    """Content longer than what the reader takes at once arrives whole and in order."""
    array = np.random.default_rng(0).integers(0, 256, 2 * MEBIBYTE + 17, np.uint8)
    (tmp_path / "file").write_bytes(idx(array))
    np.testing.assert_array_equal(read_idx(tmp_path / "file"), array)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "nothing", id="empty"),
        pytest.param(header(0x08, 2, 3)[:3], "000008", id="magic cut short"),
        pytest.param(b"\x01\x00\x08\x01" + struct.pack(">I", 1) + b"x", "01000801", id="first byte not zero"),
        pytest.param(b"\x00\x01\x08\x01" + struct.pack(">I", 1) + b"x", "00010801", id="second byte not zero"),
        pytest.param(header(0x0A, 1) + b"x", "00000a01", id="unknown type"),
        pytest.param(header(0x08) + b"x", "00000800", id="no dimensions"),
        pytest.param(b"hello, world", "68656c6c", id="text"),
        pytest.param(header(0x08, 2, 3)[:-1], "header is cut short", id="header cut short"),
        pytest.param(header(0x08, 2, 3)[:4], "header is cut short", id="header without sizes"),
        pytest.param(header(0x08, 2, 3) + bytes(5), "claims 2 x 3 values, 6 bytes, but 5 follow", id="content cut short"),
        pytest.param(header(0x08, 2, 3), "claims 2 x 3 values, 6 bytes, but 0 follow", id="no content"),
        pytest.param(header(0x0E, 2, 3) + bytes(47), "claims 2 x 3 values, 48 bytes, but 47 follow", id="float64 cut short"),
        pytest.param(header(0x08, 2, 3) + bytes(7), "6 bytes, but more follow", id="one byte more"),
        pytest.param(header(0x08, 0, 3) + b"x", "0 bytes, but more follow", id="a byte after nothing"),
        pytest.param(header(0x08, *[1] * 65) + b"x", "", id="65 dimensions"),
        pytest.param(header(0x08, 0, *[2**32 - 1] * 3), "", id="nothing times 2^96"),
    ],
)
def test_wrong_content(tmp_path: Path, content: bytes, says: str, suffix: str) -> None:
    path = tmp_path / f"images{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    assert says in refused(path)


def test_an_empty_gz_file(tmp_path: Path) -> None:
    (tmp_path / "images.gz").write_bytes(b"")
    assert "nothing" in refused(tmp_path / "images.gz")


def test_gz_that_is_not_gzipped(tmp_path: Path) -> None:
    (tmp_path / "images.gz").write_bytes(idx(np.zeros((2, 2), np.uint8)))
    assert "not a gzip file" in refused(tmp_path / "images.gz")


def test_gzipped_without_gz(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(gzip.compress(idx(np.zeros((2, 2), np.uint8))))
    assert "1f8b" in refused(tmp_path / "images")


def packed_noise() -> bytes:
    return gzip.compress(idx(np.random.default_rng(0).integers(0, 256, (8, 28, 28), np.uint8)), mtime=0)


@pytest.mark.parametrize("kept", [5, 12, 2000, -8, -1])
def test_truncated_gzip(tmp_path: Path, kept: int) -> None:
    """Inside the gzip header, right after it, inside the data, before the checksum, inside the checksum."""
    path = tmp_path / "images.gz"
    path.write_bytes(packed_noise()[:kept])
    assert "cut short" in refused(path)


def test_gzip_with_one_bit_flipped(tmp_path: Path) -> None:
    """Noise is stored as it is, so that only the checksum at the end can tell."""
    content = bytearray(packed_noise())
    content[3000] ^= 1
    (tmp_path / "images.gz").write_bytes(content)
    assert "corrupt" in refused(tmp_path / "images.gz")


def test_gzip_whose_blocks_are_broken(tmp_path: Path) -> None:
    (tmp_path / "images.gz").write_bytes(packed_noise()[:10] + b"\xff" * 100)  # 10 bytes of gzip header, then no deflate block
    assert "corrupt" in refused(tmp_path / "images.gz")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_missing_file(tmp_path: Path, suffix: str) -> None:
    assert "No such file" in refused(tmp_path / f"nowhere{suffix}")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_folder(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"folder{suffix}"
    path.mkdir()
    assert "Is a directory" in refused(path)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("claim", "follows"),
    [
        pytest.param(header(0x08, 2**20, 2**20, 28, 28), 784, id="claims 2^40 images"),
        pytest.param(header(0x08, 2**28), 784, id="claims 256 MiB"),
        pytest.param(header(0x08, 1, 28, 28), 64 * MEBIBYTE, id="64 MiB after one image"),
    ],
)
def test_memory_does_not_grow_with_the_claim(tmp_path: Path, claim: bytes, follows: int, suffix: str) -> None:
    path = tmp_path / f"images{suffix}"
    if suffix:
        path.write_bytes(gzip.compress(claim + bytes(follows), 1))
    else:
        with path.open("wb") as stream:
            stream.write(claim)
            stream.truncate(len(claim) + follows)
    start = process_time()
    tracemalloc.start()
    try:
        text = refused(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "header claims" in text
    assert peak < 8 * MEBIBYTE
    assert process_time() - start < 2

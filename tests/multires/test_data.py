"""Data sets as tensors: those that ship and those that are fetched, and each way these can be wrong.

The files are made here, and what they must become is computed from what was put in them. Every warning is an error, those
that PyTorch says only once in a process included, because a user would see it above the table.
"""

import gzip
import io
import os
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from multires import data, download
from multires.errors import MultiresError
from tests.multires.loaded import noise, only, refused

TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"
BATCHES = [f"cifar-10-batches-bin/{part}.bin" for part in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")]
RECORD = 1 + 3 * 32 * 32
pytestmark = pytest.mark.usefixtures("warn_always")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the data sets, empty."""
    monkeypatch.setenv("MULTIRES_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


# The sets that ship


def test_natural() -> None:
    images = data.load("natural")
    whole, patches = images.batches
    assert whole.shape == (3, 1, 512, 512)
    assert patches.shape == (3 * 16 * 16, 1, 32, 32)
    for batch in images.batches:
        assert batch.dtype == torch.float32
        assert 0 <= batch.min() < 0.01
        assert 0.99 < batch.max() <= 1
    for image, row, column in [(0, 0, 0), (0, 0, 1), (1, 3, 15), (2, 15, 15)]:
        patch = whole[image, :, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
        assert torch.equal(patches[256 * image + 16 * row + column], patch)
    assert len({float(photograph.mean()) for photograph in whole}) == 3
    assert "3 photographs" in images.note
    assert "768 patches" in images.note
    assert images.border == 0


def test_digits() -> None:
    from sklearn.datasets import load_digits

    images = data.load("digits")
    values = only(images)
    assert values.shape == (1797, 1, 8, 8)
    assert values.dtype == torch.float32
    assert values.min() == 0
    assert values.max() == 1
    np.testing.assert_array_equal(values[:, 0].numpy() * 16, load_digits().images)
    assert "1,797" in images.note
    assert images.border == 0


# MNIST and Fashion-MNIST


def write_idx(path: Path, array: np.ndarray, code: int = 0x08) -> None:
    content = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)


@pytest.mark.data
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_published_sets(name: str) -> None:
    root = os.environ.get("MULTIRES_DATA")
    if not root:
        pytest.skip("MULTIRES_DATA is not set: it names the folder that holds mnist/ and fashion-mnist/")
    raw = []
    for file, count in ((TRAIN, 60_000), (TEST, 10_000)):
        path = Path(root) / name / f"{file}.gz"
        if not path.is_file():
            pytest.skip(f"no {path}: MULTIRES_DATA={root} lacks {name}; run: multires data fetch {name}")
        raw.append(np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=16).reshape(count, 28, 28))
    images = data.load(name)
    values = only(images)
    assert values.shape == (70_000, 1, 32, 32)
    assert values.dtype == torch.float32
    for border in (values[..., :2, :], values[..., -2:, :], values[..., :2], values[..., -2:]):
        assert not border.any()
    expected = np.concatenate(raw).astype(np.float32)
    expected /= 255
    assert np.array_equal(values[:, 0, 2:-2, 2:-2].numpy(), expected)
    assert "70,000" in images.note


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_is_set_in_zeros(home: Path, name: str, suffix: str) -> None:
    """From made-up files, packed or not; the training images come first."""
    raw = noise(8, 28, 28) | 1  # no pixel is 0, so that the border is known from the image
    write_idx(home / name / (TRAIN + suffix), raw[:5])
    write_idx(home / name / (TEST + suffix), raw[5:])
    images = data.load(name)
    values = only(images)
    assert images.name == name
    assert values.dtype == torch.float32
    expected = np.zeros((8, 1, 32, 32), np.float32)
    expected[:, 0, 2:30, 2:30] = raw / 255
    assert images.border == 2
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-6, atol=0)
    assert "8 images" in images.note


@pytest.mark.parametrize("there", [(), (TRAIN + ".gz",), (TEST + ".gz",)])
def test_mnist_that_is_not_there(home: Path, there: tuple[str, ...]) -> None:
    for file in there:
        write_idx(home / "mnist" / file, noise(1, 28, 28))
    text = refused("mnist")
    assert str(home / "mnist") in text
    assert (TEST if there == (TRAIN + ".gz",) else TRAIN) in text
    assert "multires data fetch mnist" in text


@pytest.mark.parametrize(
    ("array", "code", "says"),
    [
        pytest.param(noise(5), 0x08, "(5,)", id="labels"),
        pytest.param(noise(5, 28, 27), 0x08, "(5, 28, 27)", id="28 x 27"),
        pytest.param(noise(5, 32, 32), 0x08, "(5, 32, 32)", id="32 x 32"),
        pytest.param(noise(5, 28, 28).astype(">i2"), 0x0B, "int16", id="int16"),
    ],
)
def test_mnist_files_that_hold_something_else(home: Path, array: np.ndarray, code: int, says: str) -> None:
    write_idx(home / "mnist" / f"{TRAIN}.gz", noise(5, 28, 28))
    write_idx(home / "mnist" / f"{TEST}.gz", array, code)
    text = refused("mnist")
    assert str(home / "mnist" / f"{TEST}.gz") in text
    assert says in text


def test_mnist_cut_short(home: Path) -> None:
    path = home / "mnist" / f"{TRAIN}.gz"
    write_idx(path, noise(5, 28, 28))
    path.write_bytes(path.read_bytes()[:-100])
    text = refused("mnist")
    assert str(path) in text
    assert "cut short" in text


def test_mnist_without_images(home: Path) -> None:
    for file in (TRAIN, TEST):
        write_idx(home / "mnist" / file, noise(0, 28, 28))
    assert "no images" in refused("mnist")


# CIFAR-10


def archive(contents: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as members:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            members.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def records(count: int) -> dict[str, bytes]:
    return {name: noise(count, RECORD, seed=k).tobytes() for k, name in enumerate(BATCHES)}


def cifar(home: Path, content: bytes) -> Path:
    path = home / "cifar-10" / "cifar-10-binary.tar.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def test_cifar10(home: Path) -> None:
    """Records are a label and three planes; the order is that of the names, whatever the archive's is."""
    contents = records(2)
    mixed = {"cifar-10-batches-bin/batches.meta.txt": b"airplane\n"} | {name: contents[name] for name in reversed(BATCHES)}
    cifar(home, archive(mixed))
    images = data.load("cifar-10")
    values = only(images)
    raw = np.concatenate([np.frombuffer(contents[name], np.uint8).reshape(2, RECORD) for name in BATCHES])
    assert values.shape == (12, 3, 32, 32)
    assert values.dtype == torch.float32
    np.testing.assert_allclose(values.numpy(), raw[:, 1:].reshape(12, 3, 32, 32) / 255, rtol=1e-6, atol=0)
    assert "12 colour images" in images.note


def test_cifar10_that_is_not_there(home: Path) -> None:
    text = refused("cifar-10")
    assert str(home / "cifar-10") in text
    assert "multires data fetch cifar-10" in text


@pytest.mark.parametrize("kept", [0, 5, 0.5, -4, -30])
def test_cifar10_cut_short(home: Path, kept: float) -> None:
    """Nothing of it, in the gzip header, in the middle, in the checksum, before the checksum."""
    content = archive(records(2))
    path = cifar(home, content[: int(kept * len(content)) if kept == 0.5 else int(kept)])
    text = refused("cifar-10")
    assert str(path) in text


@pytest.mark.parametrize("size", [0, 1, RECORD - 1, RECORD + 1, 2 * RECORD + 1])
def test_cifar10_with_a_member_of_a_wrong_size(home: Path, size: int) -> None:
    path = cifar(home, archive(records(2) | {BATCHES[3]: bytes(size)}))
    text = refused("cifar-10")
    assert str(path) in text
    assert f"{BATCHES[3]} has {size:,} bytes" in text


@pytest.mark.parametrize("missing", [BATCHES[0], BATCHES[4], BATCHES[5]])
def test_cifar10_with_a_member_missing(home: Path, missing: str) -> None:
    path = cifar(home, archive({name: content for name, content in records(2).items() if name != missing}))
    text = refused("cifar-10")
    assert str(path) in text
    assert missing in text


def test_cifar10_with_a_folder_for_a_member(home: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as members:
        for name in BATCHES:
            member = tarfile.TarInfo(name)
            member.type = tarfile.DIRTYPE
            members.addfile(member)
    path = cifar(home, stream.getvalue())
    assert str(path) in refused("cifar-10")


@pytest.mark.parametrize(
    "content",
    [b"", b"hello\n" * 1000, gzip.compress(b"hello\n" * 1000, mtime=0), gzip.compress(b"", mtime=0)],
    ids=["empty", "text", "gzip of text", "gzip of nothing"],
)
def test_cifar10_that_is_no_archive(home: Path, content: bytes) -> None:
    assert str(cifar(home, content)) in refused("cifar-10")


def test_cifar10_with_a_byte_changed(home: Path) -> None:
    """Noise does not compress, so only the checksum at the end of the gzip file can tell."""
    content = bytearray(archive(records(2)))
    content[len(content) // 2] ^= 1
    assert str(cifar(home, bytes(content))) in refused("cifar-10")


def test_cifar10_with_a_broken_block(home: Path) -> None:
    """What is read of the first member is right, then there is no deflate block."""
    member = tarfile.TarInfo(BATCHES[0])
    member.size = 100 * RECORD
    squeeze = zlib.compressobj(wbits=31)
    head = squeeze.compress(member.tobuf() + noise(50 * RECORD).tobytes()) + squeeze.flush(zlib.Z_FULL_FLUSH)
    assert str(cifar(home, head + b"\xff" * 1000)) in refused("cifar-10")


@pytest.mark.parametrize("name", ["mnits", "nowhere/at/all.png", "no\nwhere", "x" * 300], ids=["typo", "path", "two lines", "long"])
def test_unknown_name(name: str) -> None:
    with pytest.raises(MultiresError) as caught:
        data.load(name)
    text = str(caught.value)
    assert "\n" not in text
    assert repr(name) in text
    assert all(known in text for known in ("natural", "digits", "mnist", "fashion-mnist", "cifar-10"))


def test_every_set_that_is_fetched_can_be_loaded() -> None:
    assert set(download.SOURCES) <= set(data.SETS)

"""Images that cannot be used, through the command: exit code 2, one line on standard error, and nothing else anywhere."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.analysis.mistakes import Refused, files, grey

pytestmark = pytest.mark.usefixtures("desk")


@pytest.mark.parametrize("name", ["mnits", "nowhere/at/all.png", "no\nwhere", "x" * 300], ids=["typo", "path", "two lines", "long"])
def test_unknown_data(refused: Refused, name: str) -> None:
    line = refused("verify", "A1", "--data", name, "--out", "out")
    assert repr(name) in line
    assert "natural, digits, mnist" in line
    assert files(Path()) == []


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar-10"])
def test_a_set_that_was_not_fetched(refused: Refused, tmp_path: Path, name: str) -> None:
    line = refused("verify", "A1", "--data", name, "--out", "out")
    assert str(tmp_path / "data" / name) in line
    assert f"multires data fetch {name}" in line
    assert files(Path()) == []


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def text_named_png(path: Path) -> None:
    path.with_suffix(".png").write_text("hello\n")


def png_cut_short(path: Path) -> None:
    grey(32, 32).save(path.with_suffix(".png"))
    cut(path.with_suffix(".png"))


def png_with_odd_sides(path: Path) -> None:
    grey(30, 31).save(path.with_suffix(".png"))


def png_not_square(path: Path) -> None:
    grey(8, 16).save(path.with_suffix(".png"))


def png_of_2_x_2(path: Path) -> None:
    grey(2, 2).save(path.with_suffix(".png"))


def empty_folder(path: Path) -> None:
    path.mkdir()


def folder_with_a_bad_image(path: Path) -> None:
    path.mkdir()
    grey(8, 8).save(path / "a.png")
    (path / "b.png").write_text("hello\n")


def npy_of_integers(path: Path) -> None:
    np.save(path, np.zeros((8, 8), int))


def npy_of_objects(path: Path) -> None:
    np.save(path, np.full((8, 8), None), allow_pickle=True)


def npy_cut_short(path: Path) -> None:
    np.save(path, np.zeros((8, 8)))
    cut(path.with_suffix(".npy"))


def npy_that_lies(path: Path) -> None:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({2**40}, 8, 8), }}\n"
    path.with_suffix(".npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + bytes(512))


def npz_named_npy(path: Path) -> None:
    np.savez(path, a=np.zeros((8, 8)))
    path.with_suffix(".npz").rename(path.with_suffix(".npy"))


def npy_with_nan(path: Path) -> None:
    np.save(path, np.full((8, 8), np.nan))


def npy_with_inf(path: Path) -> None:
    np.save(path, np.full((8, 8), np.inf))


def npy_without_images(path: Path) -> None:
    np.save(path, np.zeros((0, 8, 8)))


def npy_of_1_axis(path: Path) -> None:
    np.save(path, np.zeros(8))


BAD: dict[Callable[[Path], None], str] = {
    text_named_png: "no image that can be read",
    png_cut_short: "no image that can be read",
    png_with_odd_sides: "the nearest that works is 32 x 32",
    png_not_square: "8 x 16 cells",
    png_of_2_x_2: "4 x 4 is the least",
    empty_folder: "no images in this folder",
    folder_with_a_bad_image: "b.png: no image that can be read",
    npy_of_integers: "holds int64",
    npy_of_objects: "not an array that numpy.save wrote",
    npy_cut_short: "cut short",
    npy_that_lies: "cut short",
    npz_named_npy: "not an array that numpy.save wrote",
    npy_with_nan: "64 values are NaN or infinite",
    npy_with_inf: "64 values are NaN or infinite",
    npy_without_images: "no images in it",
    npy_of_1_axis: "expected (y, x)",
}


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_bad_data(refused: Refused, tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "bad")
    path = next(path for path in tmp_path.iterdir() if path.stem == "bad")
    line = refused("verify", "A1", "--data", path, "--out", "out")
    assert str(path) in line
    assert BAD[make] in line
    assert files(Path()) == []

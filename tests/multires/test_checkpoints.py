"""Weights and checkpoints: back without loss, there whole or not at all, refused in one line, and never through pickle."""

import ast
import math
import os
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from torch import Tensor, nn

from multires import MultiresError, checkpoints, files
from multires.configs import UNetConfig
from multires.unet import UNet
from tests.strategies import unet_configs

ROOT = Path(__file__).parents[2]
NOT_FINITE = "has values that are NaN or infinite, as torch.float32; weights are finite"
FAILURES = [
    (
        OSError(28, "No space left"),
        MultiresError,
        r"^[^\n]*/(00000002|file): cannot be written \([^\n]*No space left[^\n]*\)[^\n]*$",
    ),
    (KeyboardInterrupt("stop"), KeyboardInterrupt, r"^stop$"),
]


class Tied(nn.Module):
    """Two layers of one weight, a buffer of integers, two empty ones, and equal values that are not tied."""

    count: Tensor
    ones: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.register_buffer("count", torch.tensor([2**40 + 1, 7]))
        self.register_buffer("nothing", torch.empty(0))
        self.register_buffer("void", torch.empty(0))
        self.register_buffer("ones", torch.ones(2))
        self.register_buffer("more", torch.ones(2))


def copies(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float16])
@given(config=unet_configs())
def test_weights_come_back(config: UNetConfig, dtype: torch.dtype | None, tmp_path: Path) -> None:
    net, other, path = UNet(config), UNet(config), tmp_path / "new" / "net.safetensors"
    checkpoints.write_weights(path, net, {"third": 1 / 3}, dtype)
    assert files.read_json(path.with_suffix(".json")) == {"third": 1 / 3}
    assert {t.dtype for t in checkpoints.read_tensors(path).values()} == {dtype or torch.float32}
    checkpoints.load_into(other, checkpoints.read_tensors(path), "here")
    expected = {name: t.to(dtype or t.dtype).to(t.dtype) for name, t in net.state_dict().items()}
    assert same(other.state_dict(), expected)
    assert same(net.state_dict(), expected) == (dtype is not torch.float16)


def test_tied_weights_are_stored_once_and_stay_tied(tmp_path: Path) -> None:
    module, other, path = Tied(), Tied(), tmp_path / "tied.safetensors"
    module.count += 1
    module.ones += 1
    checkpoints.write_weights(path, module, {}, torch.float16)
    stored = checkpoints.read_tensors(path)
    assert sorted(stored) == ["count", "first.bias", "first.weight", "more", "nothing", "ones", "second.bias", "void"]
    assert stored["count"].dtype == torch.int64
    checkpoints.load_into(other, stored, "here")
    assert same(other.half().state_dict(), module.half().state_dict())
    assert other.second.weight is other.first.weight
    assert other.count.tolist() == [2**40 + 2, 8]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"head.bias": None}, "here: head.bias is missing (1 of 20 tensors are)"),
        ({"head.bias": None, "stem.bias": None}, "here: head.bias is missing (2 of 20 tensors are)"),
        ({"more": torch.ones(1)}, "here: more belongs to another network (1 of 21 tensors do)"),
        ({"head.bias": torch.ones(2)}, "here: head.bias has shape (2,), the network's is (1,)"),
        ({"head.bias": torch.tensor([math.nan])}, f"here: head.bias {NOT_FINITE}"),
        ({"head.bias": torch.tensor([-math.inf])}, f"here: head.bias {NOT_FINITE}"),
        ({"head.bias": torch.tensor([1e39], dtype=torch.float64)}, f"here: head.bias {NOT_FINITE}"),
        ({"head.bias": torch.tensor([1])}, "here: head.bias is of torch.int64, the network's is of torch.float32"),
        ({"head.bias": torch.tensor([True])}, "here: head.bias is of torch.bool, the network's is of torch.float32"),
        ({"head.bias": torch.tensor([1j])}, "here: head.bias is of torch.complex64, the network's is of torch.float32"),
    ],
)
def test_tensors_that_do_not_fit_change_nothing(change: dict[str, Tensor | None], says: str) -> None:
    net, other = UNet(UNetConfig(widths=(2, 3))), UNet(UNetConfig(widths=(2, 3)))
    tensors = {name: t for name, t in {**net.state_dict(), **change}.items() if t is not None}
    before = copies(other)
    with pytest.raises(MultiresError) as error:
        checkpoints.load_into(other, tensors, "here")
    assert str(error.value) == says
    assert same(other.state_dict(), before)


def test_a_count_is_no_fraction() -> None:
    module = Tied()
    tensors = {**checkpoints.unshared(Tied()), "count": torch.tensor([1.5, 2.5])}
    with pytest.raises(MultiresError, match=r"^here: count is of torch\.float32, the network's is of torch\.int64$"):
        checkpoints.load_into(module, tensors, "here")
    assert module.count.tolist() == [2**40 + 1, 7]


def test_damaged_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    checkpoints.write_weights(path, UNet(UNetConfig(widths=(2, 2))), {})
    content = path.read_bytes()
    torch_file = b"PK\x03\x04" + bytes(200)
    for damaged in (b"", b"{}", content[:7], content[:100], content[:-1], content + b"x", b"\xff" * 8 + content[8:], torch_file):
        path.write_bytes(damaged)
        with pytest.raises(MultiresError, match=r"^[^\n]*net\.safetensors: not a whole safetensors file \([^\n]+\)$"):
            checkpoints.read_tensors(path)
    with pytest.raises(MultiresError, match=r"^[^\n]*nothing: no such file$"):
        checkpoints.read_tensors(tmp_path / "nothing")
    with pytest.raises(MultiresError, match=r"^[^\n]*: not a whole safetensors file \([^\n]+\)$"):
        checkpoints.read_tensors(tmp_path)


def parts(value: float) -> dict[str, dict[str, Tensor]]:
    return {"model": {"a": torch.full((2, 3), value).T, "b": torch.tensor(1)}, "random": {"torch": torch.zeros(3)}}


def test_the_newest_checkpoint_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    assert checkpoints.steps(folder) == []
    for step in (0, 9, 10, 123_456_789):
        place = checkpoints.write(folder, step, parts(step), {"step": step, "third": 1 / 3})
        assert place == folder / f"{step:08d}"
        assert checkpoints.steps(folder) == [step]
        assert [path.name for path in folder.iterdir()] == [place.name]
        assert sorted(path.name for path in place.iterdir()) == ["model.safetensors", "random.safetensors", "state.json"]
        assert same(checkpoints.read_tensors(place / "model.safetensors"), parts(step)["model"])
        assert files.read_json(place / "state.json") == {"step": step, "third": 1 / 3}


def test_every_file_reaches_the_disk_before_the_checkpoint_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: set[int] = set()

    def fsync(number: int) -> None:
        assert not (tmp_path / "00000005").exists()
        flushed.add(os.fstat(number).st_ino)

    monkeypatch.setattr(os, "fsync", fsync)
    place = checkpoints.write(tmp_path, 5, parts(1), {})
    assert {path.stat().st_ino for path in place.iterdir()} <= flushed


def test_a_whole_checkpoint_of_the_same_step_is_kept_and_a_damaged_one_replaced(tmp_path: Path) -> None:
    place = checkpoints.write(tmp_path, 5, parts(1), {})
    assert checkpoints.write(tmp_path, 5, parts(2), {}) == place
    assert same(checkpoints.read_tensors(place / "model.safetensors"), parts(1)["model"])
    (place / "state.json").unlink()
    assert checkpoints.steps(tmp_path) == []
    assert checkpoints.write(tmp_path, 5, parts(2), {}) == place
    assert same(checkpoints.read_tensors(place / "model.safetensors"), parts(2)["model"])
    assert checkpoints.steps(tmp_path) == [5]


def test_steps_counts_whole_checkpoints_in_order(tmp_path: Path) -> None:
    for name in ("00000010", "00000002", "123456789", ".00000011", "00000012 copy", "12", "00000013.old", "notes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").write_text("{}")
    (tmp_path / "00000014").mkdir()
    (tmp_path / "00000015").write_text("")
    assert checkpoints.steps(tmp_path) == [2, 10, 123456789]


@pytest.mark.parametrize("where", ["save", "write_json", "rename"])
@pytest.mark.parametrize(("error", "expected", "says"), FAILURES, ids=["full", "interrupt"])
def test_a_checkpoint_is_there_whole_or_not_at_all(
    where: str,
    error: BaseException,
    expected: type[BaseException],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoints.write(tmp_path, 1, parts(1), {})

    def fails(*args: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr({"save": checkpoints, "write_json": files, "rename": Path}[where], where, fails)
        with pytest.raises(expected, match=says):
            checkpoints.write(tmp_path, 2, parts(2), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".00000002", "00000001"]
    assert checkpoints.steps(tmp_path) == [1]
    (tmp_path / ".00000002" / "left.safetensors").write_text("half")
    place = checkpoints.write(tmp_path, 2, parts(3), {})
    assert [path.name for path in tmp_path.iterdir()] == ["00000002"]
    assert sorted(path.name for path in place.iterdir()) == ["model.safetensors", "random.safetensors", "state.json"]
    assert same(checkpoints.read_tensors(place / "model.safetensors"), parts(3)["model"])


@pytest.mark.parametrize(("error", "expected", "says"), FAILURES, ids=["full", "interrupt"])
@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_file_is_there_whole_or_not_at_all(
    where: str,
    error: BaseException,
    expected: type[BaseException],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "file"
    files.write(path, b"old")

    def fails(*args: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os if where == "fsync" else Path, where, fails)
        with pytest.raises(expected, match=says):
            files.write(path, b"new, and longer")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    files.write(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644


def test_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MultiresError, match=r"/file: cannot be written \(.*\); name another folder$"):
        files.require_writable(tmp_path / "file" / "net.safetensors")
    with pytest.raises(MultiresError, match=r": is a folder; name a file, or remove it$"):
        files.require_writable(tmp_path)
    with pytest.raises(MultiresError, match=r"nowhere/file: cannot be written \(No such file or directory\); name another folder$"):
        files.write(tmp_path / "nowhere" / "file", b"")
    files.require_writable(tmp_path / "a" / "b" / "file")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_numbers_keep_full_precision_in_json(tmp_path: Path) -> None:
    files.write_json(tmp_path / "n.json", [math.pi, 5e-324, 2**63])
    assert files.read_json(tmp_path / "n.json") == [math.pi, 5e-324, 2**63]


def pickles(source: str) -> set[str]:
    """Names in a source that read or write pickles."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names = (
            [node.attr]
            if isinstance(node, ast.Attribute)
            else [a.name for a in getattr(node, "names", []) if isinstance(a, ast.alias)]
        )
        if isinstance(node, ast.Attribute) and node.attr in ("load", "save") and ast.unparse(node.value) != "torch":
            names = []  # others' load and save: numpy's and ours
        if isinstance(node, ast.ImportFrom):
            names = [node.module or "", *names] if node.module != "safetensors.torch" else []
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            names = ["allow_pickle"]
        pattern = r"(c|cloud)?[pP]ickle|dill|joblib|shelve|marshal|load|save|load_state|save_state|allow_pickle"
        found |= {name for name in names if re.fullmatch(pattern, name.split(".")[-1])}
    return found


@pytest.mark.parametrize("path", [p for name in ("multires", "analysis") for p in sorted((ROOT / name).rglob("*.py"))], ids=str)
def test_no_pickles_in(path: Path) -> None:
    assert pickles(path.read_text()) == set()


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib",
        "from torch import load",
        "torch.load(x)",
        "torch.save(x, y)",
        "multiprocessing.pickle",
        "numpy.load(x, allow_pickle=True)",
        "accelerator.save_state(x)",
    ],
)
def test_pickles_would_be_found(source: str) -> None:
    assert pickles(source)

"""A run's evidence on disk: it comes back as it was, and what is damaged, false or of another version is refused in one line."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis import claims, record
from analysis.evidence import REGISTRY, Check, Control, Evidence, Result
from multires import MultiresError, data

assert claims
EVIDENCE = Evidence(
    [Check("one", 1e-16, 1e-13), Check("two", 2e-7, 1e-6, "float32")],
    [Control("broken", 0.5, 1e-3)],
    {"curve": np.arange(3.0), "names": np.array(["haar", "db2"])},
    "a note",
)
RESULTS = [
    Result(REGISTRY["A2"], "supported", "", EVIDENCE, 1.25),
    Result(REGISTRY["B5"], "not supported", "RuntimeError: no", None, 0.5),
    Result(REGISTRY["C2"], "skipped", "too small", None, 0.0),
    Result(
        REGISTRY["C6"],
        "not supported",
        "nan: nan exceeds 1",
        Evidence([Check("nan", math.nan, 1.0)], [Control("infinite", math.inf, 0.0)]),
        2.0,
    ),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    record.write(record.measured(RESULTS, data.load("digits"), 3, full=True), tmp_path)
    return tmp_path


def test_what_is_written_comes_back(folder: Path) -> None:
    found = record.read(folder)
    assert (found.data, found.seed, found.full) == ("digits", 3, True)
    assert found.versions == record.environment()
    for mine, theirs in zip(RESULTS, found.results, strict=True):
        assert [getattr(theirs.claim, name) for name in ("id", *record.STATED)] == [
            getattr(mine.claim, name) for name in ("id", *record.STATED)
        ]
        assert (theirs.verdict, theirs.reason, theirs.seconds) == (mine.verdict, mine.reason, mine.seconds)
        assert (theirs.evidence is None) == (mine.evidence is None)
    evidence = found.results[0].evidence
    assert evidence
    assert (evidence.checks, evidence.controls, evidence.note) == (EVIDENCE.checks, EVIDENCE.controls, EVIDENCE.note)
    assert {name: values.tolist() for name, values in evidence.arrays.items()} == {
        name: values.tolist() for name, values in EVIDENCE.arrays.items()
    }
    nothing = found.results[3].evidence
    assert nothing
    assert math.isnan(nothing.checks[0].measured)
    assert not nothing.controls[0].fails


def test_what_comes_back_is_written_the_same(folder: Path, tmp_path: Path) -> None:
    (other := tmp_path / "other").mkdir()
    record.write(record.read(folder), other)
    assert [(other / name).read_bytes() for name in (record.EVIDENCE, record.ARRAYS)] == [
        (folder / name).read_bytes() for name in (record.EVIDENCE, record.ARRAYS)
    ]


def _set(*path: Any, value: Any) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


def _without(*path: Any) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        del content[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("format"), "evidence of format 1, this version reads 2; measure again"),
        (_set("format", value=99), "evidence of format 99, this version reads 2"),
        (_without("claims"), "damaged"),
        (_set("claims", value=3), "damaged"),
        (_set("claims", 0, value="text"), "damaged"),
        (_without("claims", 0, "checks"), "damaged"),
        (_without("claims", 0, "statement"), "damaged"),
        (_without("seed"), "damaged"),
        (_set("seed", value="0"), "expected int, found '0'"),
        (_set("versions", value=[]), "versions: expected dict, found []"),
        (_set("versions", "torch", value=2), "versions: expected str, found 2"),
        (_set("claims", value=[]), "damaged, no claims or one twice"),
        (_set("claims", 1, "id", value="A2"), "damaged, no claims or one twice"),
        (
            _set("claims", 0, "verdict", value="not supported"),
            "A2: damaged, said to be not supported, but its numbers say supported",
        ),
        (_set("claims", 0, "id", value="<script>"), "damaged"),
        (_set("claims", 0, "verdict", value="proven"), "expected 'supported' or 'not supported' or 'skipped', found 'proven'"),
        (_set("claims", 0, "checks", 0, "measured", value="0"), "expected float, found '0'"),
        (
            _set("claims", 0, "checks", 0, "bound", value=1e-20),
            "A2: damaged, said to be supported, but its numbers say not supported",
        ),
        (_set("claims", 0, "controls", value=[]), "A2: damaged, said to be supported, but its numbers say not supported"),
        (_set("claims", 1, "verdict", value="supported"), "B5: damaged, said to be supported"),
        (_set("claims", 3, "verdict", value="supported"), "C6: damaged, said to be supported"),
        (_set("claims", 0, "verdict", value="skipped"), "A2: damaged, said to be skipped, but its numbers say supported"),
        (_set("claims", 0, "id", value="Z9"), "'Z9' is no claim's id"),
        (_set("claims", 0, "checks", 0, "bound", value=math.inf), "not finite"),
        (_set("claims", 0, "controls", 0, "floor", value=-math.inf), "not finite"),
        (_set("claims", 0, "seconds", value=math.nan), "not finite"),
    ],
)
def test_damaged_evidence_is_refused_in_one_line(change: Callable[[Any], None], message: str, folder: Path) -> None:
    content = json.loads((folder / record.EVIDENCE).read_text())
    change(content)
    (folder / record.EVIDENCE).write_text(json.dumps(content))
    with pytest.raises(MultiresError) as refused:
        record.read(folder)
    assert message in str(refused.value)
    assert str(folder / record.EVIDENCE) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", [record.EVIDENCE, record.ARRAYS])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "text"])
def test_damaged_files_are_refused_in_one_line(name: str, damage: str, folder: Path) -> None:
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "text": b"not what it was"}[damage])
    with pytest.raises(MultiresError) as refused:
        record.read(folder)
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_archive_with_any_byte_changed_is_read_or_refused(folder: Path) -> None:
    content = (folder / record.ARRAYS).read_bytes()
    said = []
    for place in range(len(content)):
        (folder / record.ARRAYS).write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            record.read(folder)
        except MultiresError as error:
            said.append(str(error))
    assert len(said) > len(content) / 4
    assert not [message for message in said if "\n" in message]


def test_pickled_arrays_are_not_loaded(folder: Path) -> None:
    np.savez(folder / record.ARRAYS, **{"A2/curve": np.array([{}], dtype=object)})
    with pytest.raises(MultiresError, match="damaged"):
        record.read(folder)


def test_a_statement_keeps_where_it_is_measured() -> None:
    for claim in REGISTRY.values():
        name, _, line = claim.source.partition(":")
        text = (Path(__file__).parents[2] / name).read_text().splitlines()
        assert text[int(line) - 1] == "@claim("
        assert text[int(line)].strip() == f'"{claim.id}",'

"""Tables of records: only columns that say something, numbers to the right."""

import pytest

from analysis import terminal
from analysis.report import tables

ROW = {"ratio": 0.5, "case": "a case", "ours_s": 2e-3, "peers": {"plain": 1e-3}}


def test_columns_that_no_row_fills_are_left_out() -> None:
    assert terminal.bench_table([ROW]) == (["ratio", "case", "ours ms", "plain ms"], [["0.50", "a case", "2.00", "1.00"]])
    headings, (first, second) = terminal.bench_table([ROW, ROW | {"copies": 1.5, "copy_s": 1e-3}])
    assert headings == ["ratio", "case", "copies", "ours ms", "copy ms", "plain ms"]
    assert (first[2], second[2]) == ("-", "1.5")
    assert terminal.bench_table([ROW | {"ratio": None, "value": 1.0}])[1] == []


@pytest.mark.parametrize("path", tables.recorded(), ids=lambda path: path.stem)
def test_numbers_stand_to_the_right(path: object) -> None:
    (table,) = tables.tables([path])  # type: ignore[list-item]
    right = {heading for heading, column in zip(table.headings, table.columns, strict=True) if column == "n"}
    words = {"case", "network", "net", "pooling", "basis", "side"}
    assert right
    assert not right & words
    assert all(any(c.isdigit() for c in "".join(row)) for row in table.rows)


def test_words_beside_numbers_do_not() -> None:
    rows = [["1.5", "1,000", "1.5 (1.0 to 2.0)", "-", "db2", "1.5 of 2", "3"], ["2", "10", "-", "-3.1", "1", "2", "x"]]
    table = tables.Table("", "", "", list("abcdefg"), rows, [])
    assert table.columns == ["n", "n", "n", "n", "nowrap", "nowrap", "nowrap"]

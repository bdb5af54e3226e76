"""What the report shows of studies and benchmarks: the tables of their JSON records."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from analysis import provenance, study, terminal
from analysis.figures import style
from multires import files
from multires.errors import MultiresError, summary

NUMBER = re.compile(r"-|[-+]?[\d.,]+( \(.*\))?")
BENCHMARKS = {
    "haar": "The Haar transform beside PyWavelets and ptwt. ratio: the fastest peer's time over ours; copies: ours over copying the"
    " input. The cost of very small images is that of the call, so over all sizes it grows by less than the number of cells.",
    "capture": "A forward pass that is recorded beside the plain one. ratio: the plain pass's time over the recorded one's, 1 where"
    " recording is free.",
    "audit": "An audit of a large U-Net beside one forward pass of it. ratio: the forward pass's time over the audit's.",
    "hvae": "An HVAE beside a plain reading of the same network. ratio: the plain network's time over ours.",
}
"""What each compares; times are medians."""


@dataclass(frozen=True)
class Table:
    """A table with its title, the command that makes it again, and its figure, as SVG, if it has one."""

    title: str
    about: str
    command: str
    headings: list[str]
    rows: list[list[str]]
    notes: list[str]
    values: tuple[tuple[str, str], ...] = ()
    """What was fitted or counted, by name."""
    figure: bytes = b""
    caption: str = ""

    @property
    def columns(self) -> list[str]:
        """The class of each column: n, where its cells are numbers, alone or with their intervals."""
        return ["n" if all(NUMBER.fullmatch(row[i]) for row in self.rows) else "nowrap" for i in range(len(self.headings))]


def recorded() -> list[Path]:
    """The records that ship."""
    folder = Path(str(resources("analysis").joinpath("records")))
    return sorted(folder.glob("*.json"))


def tables(paths: Iterable[Path]) -> list[Table]:
    """The tables of records that `study --json` and `bench --json` wrote; raises MultiresError for anything else."""
    return [_table(files.read_json(path), path) for path in paths]


def _table(content: Any, path: Path) -> Table:
    try:
        if content.get("study") in study.STUDIES:
            return _study(content)
        if content.get("bench") in BENCHMARKS:
            return _bench(content)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise MultiresError(f"{path}: damaged, or of another version ({summary(error)}); write it again") from None
    raise MultiresError(f"{path}: not what multires study --json or multires bench --json wrote")


def _study(content: dict[str, Any]) -> Table:
    name, rows, size = content["study"], content["rows"], content["size"]
    chosen = study.STUDIES[name]
    headings, cells = chosen.table(rows)
    command = f"multires study {name}" + ("" if size == next(iter(chosen.sizes)) else f" --size {size}")
    notes = [f"Measured with {provenance.made(content)}"] if "commit" in content else []  # the first records do not say
    try:
        figure = style.render(chosen.figure, rows) if chosen.figure else b""
    except MultiresError as error:  # a table that is not finished
        figure, notes = b"", [*notes, str(error)]
    return Table(f"Study {name}, {size}", chosen.about, command, list(headings), cells, notes, (), figure, chosen.caption)


def _bench(content: dict[str, Any]) -> Table:
    headings, cells = terminal.bench_table(content["rows"])
    name = content["bench"]
    values = tuple((row["case"], f"{row['value']:.2f}") for row in content["rows"] if "value" in row)
    notes = [f"Timed with {provenance.made(content)}"]
    return Table(f"Benchmark {name}", BENCHMARKS[name], f"multires bench {name}", headings, cells, notes, values)

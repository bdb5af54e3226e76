"""A run of claims on disk: evidence.json says what was found and with what, arrays.npz holds what figures are drawn from.

What is read back is all that the report and the figures need; nothing is measured again.
"""

import io
import json
import math
import platform
import re
import sys
import zipfile
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from analysis.evidence import GROUPS, Check, Control, Evidence, Result, Statement, Verdict
from analysis.provenance import commit, versions
from multires import _kernel, files, plain
from multires.data import Images
from multires.errors import MultiresError, summary

LIBRARIES = ("multires-toolkit", "torch", "numpy", "scipy", "PyWavelets")
FORMAT = 2
"""Raised whenever evidence that was written before can no longer be read."""
EVIDENCE, ARRAYS = "evidence.json", "arrays.npz"


@dataclass(frozen=True)
class Circumstances:
    """What claims were measured with."""

    data: str
    """What was asked for: a name, or a path."""
    images: str
    """What that is, in words."""
    seed: int
    full: bool
    """Whether claims about HVAEs looked at all test images."""
    device: str
    commit: str
    when: str
    """The time at its end, UTC."""
    versions: dict[str, str]


@dataclass(frozen=True)
class Run(Circumstances):
    """What was found, and with what."""

    results: list[Result]

    @property
    def supported(self) -> bool:
        """Whether every claim is supported."""
        return all(result.verdict == "supported" for result in self.results)


def measured(results: list[Result], images: Images, seed: int, full: bool) -> Run:
    """The record of what was measured just now; claims are measured where the oracle runs, on the CPU."""
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Run(images.name, images.note, seed, full, "cpu", commit(), when, environment(), results)


def environment() -> dict[str, str]:
    """Versions of everything that takes part in a number, and whether the Haar transform was compiled."""
    return {
        "python": platform.python_version(),
        **versions(*LIBRARIES),
        "haar": "compiled" if _kernel.LIBRARY else "slicing",
        "platform": f"{sys.platform} {platform.machine()}",
    }


def to_json(run: Run) -> dict[str, Any]:
    """What was printed, and every check and control behind it."""
    return {"format": FORMAT, "claims": [_to_row(result) for result in run.results], **{name: getattr(run, name) for name in ABOUT}}


ABOUT = tuple(field.name for field in fields(Circumstances))
STATED = tuple(field.name for field in fields(Statement) if field.name != "id")


def _to_row(result: Result) -> dict[str, Any]:
    claim, evidence = result.claim, result.evidence
    whole = evidence if evidence and evidence.checks and evidence.controls else None
    return {
        "id": claim.id,
        "verdict": result.verdict,
        "measured": _number(whole.worst.measured) if whole else None,
        "bound": _number(whole.worst.bound) if whole else None,
        "control": _number(whole.weakest.measured) if whole else None,
        "seconds": round(result.seconds, 3),
        "reason": result.reason,
        "statement": {name: getattr(claim, name) for name in STATED},
        "note": evidence.note if evidence else "",
        "checks": [_numbers(asdict(check)) for check in evidence.checks] if evidence else [],
        "controls": [_numbers(asdict(control)) for control in evidence.controls] if evidence else [],
    }


def _number(value: float) -> float | None:
    """JSON has no NaN and no infinity: null."""
    return float(value) if math.isfinite(value) else None


def _numbers(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value if isinstance(value, str) else _number(value) for key, value in row.items()}


def arrays(results: list[Result]) -> bytes:
    """The arrays of all figures as one .npz, under claim/name."""
    stored = {f"{r.claim.id}/{name}": values for r in results if r.evidence for name, values in r.evidence.arrays.items()}
    stream = io.BytesIO()
    np.savez_compressed(stream, **stored)  # type: ignore[arg-type]  # names are arbitrary keyword arguments
    return stream.getvalue()


def write(run: Run, folder: Path) -> None:
    """Write the record to a folder that is there."""
    files.write(folder / ARRAYS, arrays(run.results))
    files.write(folder / EVIDENCE, dumps(to_json(run)))


def dumps(content: dict[str, Any]) -> bytes:
    """JSON text of a record."""
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def read(folder: Path) -> Run:
    """The record in a folder; raises MultiresError where there is none, where it is damaged, or of another version."""
    where = folder / EVIDENCE
    if files.exists(folder) and folder.is_file():
        raise MultiresError(f"{folder}: is a file; name the folder that multires verify wrote")
    if not files.exists(where):
        raise MultiresError(f"{folder}: no {EVIDENCE} here; multires verify --out {folder} writes one")
    try:
        content = files.read_json(where)
    except MultiresError as error:
        raise MultiresError(f"{error}; measure again: multires verify --out {folder}") from None
    found = content.get("format", 1) if isinstance(content, dict) else None
    if found != FORMAT:
        raise MultiresError(
            f"{where}: evidence of format {found!r}, this version reads {FORMAT}; measure again: multires verify --out {folder}"
        )
    by_claim: dict[str, dict[str, np.ndarray]] = {}
    for name, values in _read_arrays(folder / ARRAYS).items():
        id, _, rest = name.partition("/")
        by_claim.setdefault(id, {})[rest] = values
    try:
        results = [_from_row(row, by_claim.get(row["id"], {}), where) for row in content["claims"]]
        about = plain.from_json(Circumstances, {name: content[name] for name in ABOUT}, str(where))
    except (KeyError, TypeError, AttributeError) as error:
        raise MultiresError(f"{where}: damaged ({summary(error)}); measure again: multires verify --out {folder}") from None
    if not results or len({result.claim.id for result in results}) < len(results):
        raise MultiresError(f"{where}: damaged, no claims or one twice; measure again: multires verify --out {folder}")
    return Run(**{name: getattr(about, name) for name in ABOUT}, results=results)


@dataclass(frozen=True)
class _Row:
    """What one claim's row must hold beside its evidence."""

    verdict: Verdict
    seconds: float
    reason: str
    note: str


def _from_row(row: dict[str, Any], arrays: dict[str, np.ndarray], where: Path) -> Result:
    id = row["id"]
    if not re.fullmatch(rf"[{''.join(GROUPS)}][0-9]{{1,3}}", id):
        raise TypeError(f"{id!r} is no claim's id")
    at = f"{where}: {id}"
    said = plain.from_json(_Row, {field.name: row[field.name] for field in fields(_Row)}, at)
    statement = plain.from_json(Statement, {"id": id, **row["statement"]}, at)
    checks = [plain.from_json(Check, _with_nan(each), at) for each in row["checks"]]
    controls = [plain.from_json(Control, _with_nan(each), at) for each in row["controls"]]
    evidence = Evidence(checks, controls, arrays, said.note) if checks or controls else None
    # no one's word is taken for a verdict: it is what the numbers say
    judged = evidence.judge()[0] if evidence else "not supported"
    if not all(map(math.isfinite, (said.seconds, *(each.bound for each in checks), *(each.floor for each in controls)))):
        raise TypeError("a bound, a floor or the seconds are not finite")
    if said.verdict != judged and (evidence or said.verdict != "skipped"):
        raise MultiresError(f"{at}: damaged, said to be {said.verdict}, but its numbers say {judged}; measure it again")
    return Result(statement, said.verdict, said.reason, evidence, said.seconds)


def _with_nan(row: dict[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in row.items()}


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as members:
            return {name.removesuffix(".npy"): np.lib.format.read_array(members.open(name)) for name in members.namelist()}
    except FileNotFoundError:
        raise MultiresError(
            f"{path}: no such file, figures are drawn from it; multires verify --out {path.parent} writes it"
        ) from None
    except Exception as error:  # whatever damage to an archive may raise
        raise MultiresError(f"{path}: damaged ({summary(error)}); measure again: multires verify --out {path.parent}") from None

"""A run of claims as a record on disk: evidence.json, the figures' arrays in arrays.npz, and the report beside them."""

import io
import json
import math
import platform
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from analysis.evidence import Result
from multires import _kernel
from multires.data import Images

LIBRARIES = ("multires-toolkit", "torch", "numpy", "scipy", "PyWavelets")


@dataclass(frozen=True)
class Run:
    """Results, and what they were measured with."""

    results: list[Result]
    images: Images
    seed: int
    device: str = "cpu"  # claims are measured where the oracle runs

    @property
    def supported(self) -> bool:
        """Whether every claim is supported."""
        return all(result.verdict == "supported" for result in self.results)

    def versions(self) -> dict[str, str]:
        """Versions of everything that takes part in a number, and whether the Haar transform was compiled."""
        kernel = "compiled" if _kernel.LIBRARY else "slicing"
        libraries = {name: version(name) for name in LIBRARIES}
        return {
            "python": platform.python_version(),
            **libraries,
            "haar": kernel,
            "platform": f"{sys.platform} {platform.machine()}",
        }

    def to_json(self) -> dict[str, Any]:
        """The record: what was printed, and every check and control behind it."""
        return {
            "claims": [_claim(result) for result in self.results],
            "seed": self.seed,
            "data": self.images.name,
            "images": self.images.note,
            "device": self.device,
            "versions": self.versions(),
        }


def _claim(result: Result) -> dict[str, Any]:
    claim, evidence = result.claim, result.evidence
    measurable = evidence and evidence.checks and evidence.controls
    return {
        "id": claim.id,
        "verdict": result.verdict,
        "measured": _number(evidence.worst.measured) if evidence and measurable else None,
        "bound": _number(evidence.worst.bound) if evidence and measurable else None,
        "control": _number(evidence.weakest.measured) if evidence and measurable else None,
        "seconds": round(result.seconds, 3),
        "reason": result.reason,
        "sentence": claim.sentence,
        "kind": claim.kind,
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


def dumps(content: dict[str, Any]) -> bytes:
    """JSON text of a record."""
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()

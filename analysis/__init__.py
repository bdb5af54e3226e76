"""The evidence: verifies every claim of docs/theory.md numerically, draws it, and reports it; and audits any network."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.auditing import audit

__all__ = ["audit"]


def __getattr__(name: str) -> Any:  # importing torch takes a second, which --help does without
    if name == "audit":
        from analysis.auditing import audit

        return audit
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""What a number was made with: the commit of the source, and versions of libraries."""

import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any


def commit() -> str:
    """The commit of the source that runs, with '-dirty' where files differ from it; 'unknown' outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def versions(*libraries: str) -> dict[str, str]:
    """The versions of installed distributions."""
    return {name: version(name) for name in libraries}


def made(record: Mapping[str, Any]) -> str:
    """The commit and the versions that a record names, as text."""
    return ", ".join(f"{name} {value}" for name, value in {"commit": record["commit"], **record["versions"]}.items())

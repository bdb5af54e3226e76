"""Files that are there whole or not at all."""

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from multires.errors import MultiresError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]


def exists(path: Path) -> bool:
    """Whether something has that name; it has not where the name is one that no file can have."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def require_writable(path: Path) -> None:
    """Create the folder of a file and try another in it, before anything is computed; raises MultiresError where that fails."""
    if exists(path) and path.is_dir():
        raise MultiresError(f"{path}: is a folder; name a file, or remove it")
    try:
        path.exists()  # raises for names that no file can have
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except (OSError, ValueError) as error:
        raise MultiresError(
            f"{path.parent}: cannot be written ({getattr(error, 'strerror', error)}); name another folder"
        ) from None


def write(path: Path, content: bytes) -> None:
    """Put a file in place whole or not at all, also where the machine stops in between."""
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
            temporary = Path(stream.name)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise MultiresError(f"{path}: cannot be written ({error.strerror}); name another folder") from None
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def held(path: Path, why: str) -> Iterator[None]:
    """Hold a file for this process alone, where the system knows of such; raises MultiresError while another one does."""
    with path.open() as stream:
        if fcntl is not None:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise MultiresError(f"{path.parent}: {why}") from None
            except OSError:  # a file system without locks
                pass
        yield


def write_json(path: Path, values: Any) -> None:
    """Write plain values as indented JSON, floats at full precision."""
    write(path, (json.dumps(values, indent=1) + "\n").encode())


def append_json(path: Path, values: Mapping[str, Any]) -> None:
    """Append a line of JSON, with null for numbers that are not finite, which JSON has none of."""
    line = json.dumps(
        {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()}
    )
    try:
        with path.open("a") as file:
            file.write(line + "\n")
    except OSError as error:
        raise MultiresError(f"{path}: cannot be written ({error.strerror}); make room, then go on") from None


def read_json(path: Path) -> Any:
    """Read a JSON file; MultiresError where it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise MultiresError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise MultiresError(f"{path}: cannot be read as JSON ({error})") from None

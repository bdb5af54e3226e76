"""The most memory that this process has held."""

import re
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_mib() -> float | None:
    """The peak of the resident memory in MiB, Linux's VmHWM; None where the system does not tell it.

    Not getrusage's: that is inherited from the process that started this one.
    """
    found = re.search(r"VmHWM:\s+(\d+)", STATUS.read_text()) if STATUS.exists() else None
    return int(found[1]) / 1024 if found else None

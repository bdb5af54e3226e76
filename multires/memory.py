"""Memory: what does not fit is refused before it is asked for; and the C library's allocator is told to keep what is freed.

A training asks for the same tensors again at the next step.
"""

import ctypes
import os
import sys

from multires.errors import MultiresError

OBJECTS = 2048  # float32 numbers that would take the memory of what Python itself keeps of a block or a step of a network
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def require(what: str, floats: int) -> None:
    """Raise MultiresError where so many float32 numbers are more than the memory of this machine, if it tells how much it has."""
    if hasattr(os, "sysconf"):
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if 4 * floats > there:
            raise MultiresError(f"{what}: takes {4 * floats / 2**30:,.0f} GiB or more, and this machine has {there / 2**30:,.0f}")


def keep_freed() -> None:
    """With glibc, serve tensors up to 32 MiB from the heap and leave it as large as it has been; elsewhere nothing is changed.

    By default the heap shrinks whenever much of it is free, and its pages are cleared again by the system on first touch.
    Source: mallopt(3).
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # the largest it takes
            mallopt(M_TRIM_THRESHOLD, 2**31 - 1)

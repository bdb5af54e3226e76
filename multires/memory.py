"""The C library's allocator, told to keep what is freed: a training asks for the same tensors again at the next step."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


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

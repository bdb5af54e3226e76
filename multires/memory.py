"""The C library's allocator, told to keep what is freed: a training asks for the same tensors again at the next step."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def keep_freed() -> None:
    """With glibc, serve large tensors from the heap and leave it as large as it has been; elsewhere nothing is changed.

    By default each tensor beyond 32 MiB, and at first each beyond 128 KiB, is mapped anew and its pages are cleared by the system
    on first touch; on CPUs that is a tenth of a training step. Source: mallopt(3).
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, 2**30)
            mallopt(M_TRIM_THRESHOLD, 2**31 - 1)

"""Memory that is freed at one step and wanted again at the next: the C library is told to keep it.

NumPy takes an array's memory from the C library. By default glibc gives what is freed back to the system as soon as a
little lies idle at the end of the heap, so that each step gets its megabytes anew, a page at a time: on a virtual
machine, where a page costs microseconds, that was a third of the time of a step of small convolutions.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from functools import cache

__all__ = ["keep_freed"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as malloc.h numbers them
_IDLE = 512 << 20  # bytes that may lie idle at the end of the heap
_LARGE = 32 << 20  # bytes from which an array has pages of its own, given back when it is freed: the limit of glibc too
_ASKED = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_")


@cache
def keep_freed() -> bool:
    """Have glibc keep up to half a gigabyte of freed memory for this process, once; arrays of 32 MiB and more excepted.

    Returns:
        Whether it does. It does not where another C library is at work, or where the environment says how malloc should
        behave (MALLOC_TRIM_THRESHOLD_, GLIBC_TUNABLES=glibc.malloc...): then that stays.
    """
    if any(name in os.environ for name in _ASKED) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no such function, or no C library to be asked
        library = ctypes.CDLL(None)
        if hasattr(library, "gnu_get_libc_version"):
            return bool(library.mallopt(_MMAP_THRESHOLD, _LARGE) and library.mallopt(_TRIM_THRESHOLD, _IDLE))
    return False

"""Freed memory that the process keeps for its next step.

NumPy allocates arrays with the C library. By default glibc returns freed memory to the system as soon as a little is
unused at the end of the heap, so each step gets its megabytes anew, a page at a time: on a virtual machine, where a
page costs microseconds, that was a third of the time of a step of small convolutions.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from functools import cache

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # as malloc.h numbers them
_UNUSED = 512 << 20  # bytes that may lie unused at the end of the heap
_LARGE = 32 << 20  # bytes from which an array has its own pages, returned when it is freed: glibc's limit too
_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_")


@cache
def keep_freed_memory() -> bool:
    """Set glibc's malloc to keep up to half a gigabyte of freed memory, for this process and until it ends.

    Arrays of 32 MiB and more are returned to the system as before. ``Trainer.fit`` and the command line call this; a
    program that computes steps itself may.

    Returns:
        Whether it is set: not with another C library, nor where the environment configures malloc
        (MALLOC_TRIM_THRESHOLD_, GLIBC_TUNABLES=glibc.malloc...).
    """
    if any(name in os.environ for name in _VARIABLES) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no such function, or no C library to load
        library = ctypes.CDLL(None)
        if hasattr(library, "gnu_get_libc_version"):
            return bool(library.mallopt(_MMAP_THRESHOLD, _LARGE) and library.mallopt(_TRIM_THRESHOLD, _UNUSED))
    return False

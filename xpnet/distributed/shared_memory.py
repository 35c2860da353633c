"""The memory that the processes of one machine share, which MPICH keeps as a file until the last process ends it.

A process that is killed or aborts does not, and each such run would leave some megabytes of main memory in use.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

__all__ = ["unlink_shared"]

_FILES = re.compile(r"/dev/shm/mpich_shm_\w+$", re.MULTILINE)


def unlink_shared() -> None:
    """Remove the names of the memory that MPICH shares, which stays until the last process that uses it ends.

    All processes call it, after all have opened that memory: after a collective call.
    """
    with contextlib.suppress(OSError):  # no Linux, or another process has removed it
        for name in sorted(set(_FILES.findall(Path("/proc/self/maps").read_text()))):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)

"""The processes of a group that run on this machine, found by the mark in their environment. On Linux, by /proc."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from xpnet.distributed.launched import launched
from xpnet.distributed.supervised import SUPERVISED

__all__ = ["count_ended", "kill_members"]


def count_ended(mark: str) -> int:
    """Return how many processes of a group have ended on this machine while others of it run here.

    Args:
        mark: of the group, the value of SUPERVISED in its processes.
    Returns:
        0 also where that is not known: without /proc, or of a launcher that does not say how many it starts here.
    """
    starts = [start for environment in _members(mark).values() if (start := launched(environment)) is not None]
    ranks, sizes = {start.rank for start in starts}, [start.local_size for start in starts]
    return max(0, (sizes[0] or 0) - len(ranks)) if sizes else 0


def kill_members(mark: str) -> None:
    """Kill what is left of a group on this machine, such as what mpiexec leaves where it cannot reach another one."""
    for number in _members(mark):
        with contextlib.suppress(OSError):
            os.kill(number, signal.SIGKILL)


def _members(mark: str) -> dict[int, dict[str, str]]:
    """The environments of the processes with a mark, mpiexec and what it starts on machines included, by process id."""
    found, own = {}, f"{SUPERVISED}={mark}".encode()
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            variables = (place / "environ").read_bytes().split(b"\0")
            if own in variables:
                pairs = (variable.decode(errors="replace").partition("=") for variable in variables)
                found[int(place.name)] = {name: value for name, _, value in pairs}
    return found

"""How far each process of MPI has come, which the others can read without its help.

A process that ends while another waits for it in a collective call would leave that one waiting for ever. So each
process counts the calls that it begins, where the others can read the number (one-sided communication), and one that
ends checks whether another has begun more calls than it. One that waits for the others to call the same method checks
whether one of them has begun another call, or ended.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

__all__ = ["Presence"]

_LEFT = -1  # in place of a number of calls
_PAUSE = 0.05  # seconds between checks
_CHECKS = 100  # that find others gone on, before it is certain: messages of a meeting may still be on their way
_NAME = 64  # bytes


class Presence:
    """A counter of this process, and the view of the others'.

    Args:
        library: the module mpi4py.MPI.
        world: the communicator, a copy of which is made. All its processes construct this, and all that are left call
            leave.
    """

    def __init__(self, library: Any, world: Any) -> None:
        self._mpi, self._world, self._meetings = library, world, world.Dup()
        self._window = library.Win.Allocate(8, 8, comm=world)
        self._begun = np.frombuffer(self._window.tomemory(), np.int64)
        self._begun[0] = 0
        self._window.Lock_all()
        world.Barrier()

    def begin(self) -> None:
        """Count a call that all processes make."""
        self._begun[0] += 1

    def meet(self, name: str) -> list[str | None]:
        """Wait until all processes call this, and return the name that each gave, of at most 64 bytes.

        Where some have begun a call or left instead, return at once: None in their places.
        """
        data = name.encode()[:_NAME].ljust(_NAME, b"\0")
        found = np.empty((self._world.Get_size(), _NAME), np.uint8)
        request = self._meetings.Iallgather(np.frombuffer(data, np.uint8), found)
        mine, pause, checks = int(self._begun[0]), 1e-4, 0
        while not request.Test():
            time.sleep(pause)
            pause = min(2 * pause, _PAUSE)
            if pause == _PAUSE:
                gone = [n > mine or n == _LEFT for n in self._numbers()]
                checks = checks + 1 if any(gone) else 0
                if checks == _CHECKS:
                    return [None if is_gone else name for is_gone in gone]
        return [row.tobytes().rstrip(b"\0").decode(errors="replace") for row in found]

    def leave(self) -> bool:
        """Wait until all have left, and return True; or return False, where one waits for this process."""
        mine = int(self._begun[0])
        self._begun[0] = _LEFT
        self._window.Sync()
        while True:
            others = self._numbers()
            if any(n > mine for n in others):
                return False
            if all(n == _LEFT for n in others):
                self._window.Unlock_all()
                self._window.Free()
                return True
            time.sleep(_PAUSE)

    def _numbers(self) -> list[int]:
        return [self._read(rank) for rank in range(self._world.Get_size())]

    def _read(self, rank: int) -> int:
        found = np.empty(1, np.int64)
        self._window.Fetch_and_op(found, found, rank, 0, self._mpi.NO_OP)
        self._window.Flush(rank)
        return int(found[0])

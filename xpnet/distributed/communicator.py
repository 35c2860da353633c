"""What the processes of a run do together; and the communicator of one process, which does nothing.

communicator = get_communicator("auto")
communicator.allreduce(gradients)           # each process has the sum
if communicator.rank == 0:
    print(communicator.size, "processes")
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NoReturn

from xpnet.backend import Array

__all__ = ["Communicator", "Single", "single"]


class Communicator(ABC):
    """The processes of a run, of which this is one. Every method but abort is called by all of them, in one order.

    Attributes:
        name: of the engine: "single", "mpi" or "nccl".
        rank: the number of this process, 0..size-1.
        size: how many processes there are.
    """

    name: str
    rank: int
    size: int

    @abstractmethod
    def allreduce(self, array: Array) -> None:
        """Replace an array, contiguous and of floats, by its sum over the processes, in the engine's own order."""

    @abstractmethod
    def alltoall(self, blocks: list[Array]) -> list[Array]:
        """Send one array, 1-D and of one dtype, which may be empty, to each process; return what each sent here."""

    @abstractmethod
    def allgather(self, array: Array) -> list[Array]:
        """Return the array of each process; they may differ in length, not in dtype."""

    @abstractmethod
    def allgather_bytes(self, data: bytes) -> list[bytes]:
        """Return the bytes of each process, on the host."""

    @abstractmethod
    def broadcast(self, array: Array, root: int = 0) -> None:
        """Replace an array, contiguous, by that of one process."""

    @abstractmethod
    def barrier(self) -> None:
        """Wait until each process is here."""

    @abstractmethod
    def abort(self, code: int = 1) -> NoReturn:
        """End all processes at once, with an exit code."""
        raise NotImplementedError


class Single(Communicator):
    """One process."""

    name = "single"
    rank = 0
    size = 1

    def allreduce(self, array: Array) -> None:
        """Leave the array as it is."""

    def alltoall(self, blocks: list[Array]) -> list[Array]:
        """Return the one array."""
        return list(blocks)

    def allgather(self, array: Array) -> list[Array]:
        """Return the one array."""
        return [array]

    def allgather_bytes(self, data: bytes) -> list[bytes]:
        """Return the bytes."""
        return [data]

    def broadcast(self, array: Array, root: int = 0) -> None:
        """Leave the array as it is."""

    def barrier(self) -> None:
        """Return at once."""

    def abort(self, code: int = 1) -> NoReturn:
        """End the process."""
        raise SystemExit(code)


_SINGLE = Single()


def single() -> Communicator:
    """Return the communicator of one process."""
    return _SINGLE

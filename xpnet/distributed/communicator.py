"""What the processes of a run do together; and the communicator of one process, which does nothing.

    communicator = get_communicator("auto")
    gradients = communicator.allreduce(gradients)       # each process has the sum
    if communicator.rank == 0:
        print(communicator.size, "processes")

All processes call the same methods in the same order, by one thread of each at a time; those for failures excepted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NoReturn

from xpnet.backend import Array, Backend

__all__ = ["Communicator", "Single", "single"]


class Communicator(ABC):
    """The processes of a run, of which this is one.

    Attributes:
        name: of the engine: "single", "mpi" or "nccl".
        rank: the number of this process, 0..size-1.
        size: how many processes there are.
    """

    name: str
    rank: int
    size: int

    @abstractmethod
    def takes(self, backend: Backend) -> bool:
        """Return whether arrays of a backend are sent as they are; others are copied to the host and back.

        Then allreduce, exchange and allgather_segments are work of the backend, in the order of its other work: the
        host waits for none of it where it waits for no other, and a recorder records it.
        """

    # Arrays of any backend.

    @abstractmethod
    def allreduce(self, array: Array) -> Array:
        """Return the sum of an array over the processes, in the engine's own order of sums.

        Args:
            array: contiguous, real floating, of one shape and dtype in all processes. Where its memory can be written
                it gets the sum and is returned; only what is returned may be used afterwards.
        """

    @abstractmethod
    def broadcast(self, array: Array, root: int = 0) -> Array:
        """Return the array of one process; array and result as in ``allreduce``, of any dtype."""

    @abstractmethod
    def allgather(self, array: Array) -> list[Array]:
        """Return the array of each process; the lengths of their first axes may differ, nothing else."""

    # Arrays of backends that the communicator takes, without a copy.

    @abstractmethod
    def exchange(self, outgoing: Sequence[Sequence[Array]], incoming: Sequence[Sequence[Array]]) -> None:
        """Send arrays to each process, and fill others with what each sends here.

        Args:
            outgoing: the arrays for each process, contiguous; none for this one.
            incoming: the arrays to fill from each process: as many as it sends here, and of their sizes.
        """

    @abstractmethod
    def allgather_segments(self, array: Array, counts: Sequence[int]) -> None:
        """Fill an array of which each process has one segment.

        Args:
            array: 1-D, contiguous; the segment of this process is set.
            counts: the length of each process's segment, in their order; together the length of the array.
        """

    # Other.

    @abstractmethod
    def allgather_bytes(self, data: bytes) -> list[bytes]:
        """Return the bytes of each process, on the host."""

    @abstractmethod
    def barrier(self) -> None:
        """Wait until each process is here."""

    # Failures; see xpnet.distributed.faults.

    @abstractmethod
    def allgather_failures(self, text: str, seconds: float) -> list[str] | None:
        """Return what each process says of its failure; None where not all fail within some seconds.

        Unlike the other methods it may be called while others wait in one of those.
        """

    def meet(self, where: str) -> None:  # noqa: B027
        """Wait until all processes call this, before a method that all have to call.

        Args:
            where: the method, for messages.
        Raises:
            ConfigError: others call another method, have gone on to another exchange, or have ended. Only after
                ``watch``; an engine that cannot tell does nothing.
        """

    @abstractmethod
    def watch(self) -> None:
        """Prepare for ``leave``; called by all processes."""

    @abstractmethod
    def leave(self) -> bool:
        """Wait, before the process ends, until all have called this; or return False where one waits for this one."""

    @abstractmethod
    def abort(self, code: int = 1) -> NoReturn:
        """End all processes at once, with an exit code."""
        raise NotImplementedError


class Single(Communicator):
    """One process."""

    name = "single"
    rank = 0
    size = 1

    def takes(self, backend: Backend) -> bool:
        """Nothing is sent."""
        return True

    def allreduce(self, array: Array) -> Array:
        """Return the array."""
        return array

    def broadcast(self, array: Array, root: int = 0) -> Array:
        """Return the array."""
        return array

    def allgather(self, array: Array) -> list[Array]:
        """Return the one array."""
        return [array]

    def exchange(self, outgoing: Sequence[Sequence[Array]], incoming: Sequence[Sequence[Array]]) -> None:
        """There is no other process."""

    def allgather_segments(self, array: Array, counts: Sequence[int]) -> None:
        """The array is one segment."""

    def allgather_bytes(self, data: bytes) -> list[bytes]:
        """Return the bytes."""
        return [data]

    def barrier(self) -> None:
        """Return at once."""

    def allgather_failures(self, text: str, seconds: float) -> list[str] | None:
        """Return the text."""
        return [text]

    def watch(self) -> None:
        """There is nobody to watch."""

    def leave(self) -> bool:
        """Nobody waits."""
        return True

    def abort(self, code: int = 1) -> NoReturn:
        """End the process."""
        raise SystemExit(code)


_SINGLE = Single()


def single() -> Communicator:
    """Return the communicator of one process."""
    return _SINGLE

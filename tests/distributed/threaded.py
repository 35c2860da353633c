"""A communicator whose processes are threads of one, to try on every backend what MPI does for NumPy."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import Queue
from typing import Any, NoReturn, TypeVar

import numpy as np
from emulator import TAPE

from xpnet.backend import Array, Backend, backend_of, set_at
from xpnet.distributed import Communicator

T = TypeVar("T")

SECONDS = 60  # that a thread waits for another


class Threaded(Communicator):
    """One thread of several; messages are copies.

    As with NCCL, calls with arrays of a device may be captured, by all threads in the same capture or by none: messages
    say in which they were sent.
    """

    name = "threads"

    def __init__(self, rank: int, queues: list[list[Queue[Any]]], barrier: threading.Barrier, direct: bool) -> None:
        self.rank, self.size = rank, len(queues)
        self._queues, self._barrier, self._direct = queues, barrier, direct
        self.sent = 0  # bytes

    def takes(self, backend: Backend) -> bool:
        return backend.on_host or self._direct

    def _gather(self, value: Any, capture: int = 0) -> list[Any]:
        assert not TAPE.open, "the host waits for other processes while the device's work is recorded"
        for peer in range(self.size):
            self._send(peer, value, capture)
        return [self._receive(peer, capture) for peer in range(self.size)]

    def _send(self, peer: int, value: Any, capture: int = 0) -> None:
        self._queues[self.rank][peer].put((capture, value))

    def _receive(self, peer: int, capture: int = 0) -> Any:
        theirs, value = self._queues[peer][self.rank].get(timeout=SECONDS)
        assert theirs == capture, f"rank {peer} sends in capture {theirs}, rank {self.rank} receives in {capture}"
        return value

    def _queue(self, array: Array, work: Callable[[int], Any]) -> Any:
        """Do a call that takes the number of the capture it is part of, 0 for none; while one is open, record it."""
        if not TAPE.open:
            return work(0)
        assert self.takes(backend_of(array))
        return TAPE.record(partial(work, TAPE.captures))

    def allreduce(self, array: Array) -> Array:
        backend = backend_of(array)

        def work(capture: int) -> Array:
            total = sum(self._gather(np.array(backend.to_numpy(array)), capture))
            return set_at(array, ..., backend.from_numpy(np.asarray(total)))

        done = self._queue(array, work)
        return array if TAPE.open else done

    def broadcast(self, array: Array, root: int = 0) -> Array:
        backend = backend_of(array)
        return set_at(array, ..., backend.from_numpy(self._gather(backend.to_numpy(array))[root]))

    def allgather(self, array: Array) -> list[Array]:
        backend = backend_of(array)
        return [backend.from_numpy(a) for a in self._gather(backend.to_numpy(array))]

    def exchange(self, outgoing: Sequence[Sequence[Array]], incoming: Sequence[Sequence[Array]]) -> None:
        assert outgoing[self.rank] == incoming[self.rank] == [], "a process sends nothing to itself"

        def work(capture: int) -> None:
            for peer, arrays in enumerate(outgoing):
                for array in arrays:
                    assert self.takes(backend_of(array)), f"{backend_of(array)} has to be copied to the host"
                    sent = np.array(backend_of(array).to_numpy(array))
                    self.sent += sent.nbytes
                    self._send(peer, sent, capture)
            for peer, arrays in enumerate(incoming):
                for array in arrays:
                    received = self._receive(peer, capture)
                    assert received.shape == array.shape
                    assert set_at(array, ..., backend_of(array).from_numpy(received)) is array

        if messages := [a for each in (*outgoing, *incoming) for a in each]:
            self._queue(messages[0], work)

    def allgather_segments(self, array: Array, counts: Sequence[int]) -> None:
        assert sum(counts) == array.shape[0]
        ends = np.cumsum(counts)
        parts = [slice(int(end) - n, int(end)) for end, n in zip(ends, counts, strict=True)]
        backend = backend_of(array)

        def work(capture: int) -> None:
            sent = backend.to_numpy(array[parts[self.rank]])
            for part, received in zip(parts, self._gather(np.array(sent), capture), strict=True):
                set_at(array, part, backend.from_numpy(received))

        self._queue(array, work)

    def allgather_bytes(self, data: bytes) -> list[bytes]:
        return self._gather(data)

    def barrier(self) -> None:
        self._barrier.wait(SECONDS)

    def allgather_failures(self, text: str, seconds: float) -> list[str] | None:
        return self._gather(text)

    def watch(self) -> None:
        pass

    def leave(self) -> bool:
        return True

    def abort(self, code: int = 1) -> NoReturn:
        raise SystemExit(code)


def run(size: int, work: Callable[[Threaded], T], direct: bool = True) -> list[T]:
    """Run a function in the threads of a communicator; return what each returned.

    Args:
        direct: whether arrays of every backend are sent as they are; otherwise only NumPy's.
    """
    queues: list[list[Queue[Any]]] = [[Queue() for _ in range(size)] for _ in range(size)]
    barrier = threading.Barrier(size)
    with ThreadPoolExecutor(size) as pool:
        futures = [
            pool.submit(contextvars.copy_context().run, work, Threaded(rank, queues, barrier, direct))
            for rank in range(size)
        ]
        return [future.result() for future in futures]

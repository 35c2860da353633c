"""Staging for the emulated device: copies as late as CUDA may make them, and slots that are spoiled once released."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import numpy as np

from emulator.array import FIRST, Array
from emulator.tape import TAPE, CaptureError
from xpnet.backend.staging import StagingBuffers

__all__ = ["DelayedStaging", "SpoiledBuffers", "spoil"]


def spoil(memory: np.ndarray) -> None:
    """Fill with what no one would expect."""
    memory.reshape(-1).view(np.uint8).fill(0xFF)


class Event:
    """How many of the queued copies come before it."""

    def __init__(self, stream: LateCopies) -> None:
        self._stream, self.copies = stream, 0

    def synchronize(self) -> None:
        self._stream.run(self.copies)


class LateCopies:
    """A stream of copies, made when their event is waited for, not before; one that waits for no work is spoiled."""

    def __init__(self) -> None:
        self._queue: list[Any] = []
        self._made = 0
        self._guarded = False
        self._lock = threading.RLock()

    def waiting(self) -> int:
        """How many copies have not been made."""
        return len(self._queue) - self._made

    def run(self, copies: int) -> None:
        """Make the first so many copies, as far as they have not been made."""
        with self._lock:
            while self._made < copies:
                target, source, guarded = self._queue[self._made]
                np.copyto(target, source)
                if not guarded:
                    spoil(target)
                self._queue[self._made] = None
                self._made += 1

    def copy(self, target: np.ndarray, source: np.ndarray) -> None:
        assert (target.shape, target.dtype) == (source.shape, source.dtype)
        with self._lock:
            self._queue.append((target, source, self._guarded))

    def record(self, event: Event) -> None:
        with self._lock:
            event.copies = len(self._queue)
            self._guarded = False

    def wait_event(self, event: Event) -> None:
        self._guarded = True


class Work:
    """The stream of work, which is done when it is queued."""

    def record(self, event: Event) -> None:
        self.wait_event(event)
        event.copies = 0

    def wait_event(self, event: Event) -> None:
        if TAPE.open:
            raise CaptureError("dependency created on uncaptured work in another stream")
        event.synchronize()


class DelayedStaging:
    """What backend.staging.StagingDevice is for CuPy."""

    def __init__(self, device: str = FIRST) -> None:
        self._place, self.copies = device, LateCopies()

    def active(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def current_stream(self) -> Work:
        return Work()

    def event(self) -> Event:
        return Event(self.copies)

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        memory = np.empty(shape, dtype)
        spoil(memory)
        return memory

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        return Array(self.pinned(shape, dtype), self._place)


class SpoiledBuffers(StagingBuffers):
    """Buffers whose slots hold nothing of use once they are released, nor when they are about to be loaded."""

    def host(self, slot: int) -> list[np.ndarray]:
        arrays = super().host(slot)
        for memory in arrays:
            spoil(memory)
        return arrays

    def release(self, slot: int) -> None:
        super().release(slot)
        for array in self._arrays[slot]:
            spoil(array._a)

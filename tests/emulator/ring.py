"""The way to the emulated device: copies as late as CUDA may make them, and slots that are poison once given back."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from emulator.array import FIRST, Array
from emulator.tape import TAPE, CaptureError
from xpnet.backend.ring import Ring

__all__ = ["DelayedCopier", "PoisonedRing", "spoil"]


def spoil(memory: np.ndarray) -> None:
    """Fill with what no one would expect."""
    memory.reshape(-1).view(np.uint8).fill(0xFF)


class Place:
    """A mark: how many of the queued copies must have been made before one is by it."""

    def __init__(self, copier: DelayedCopier) -> None:
        self.copier = copier
        self.copies = 0

    def synchronize(self) -> None:
        self.copier.run(self.copies)


class DelayedCopier:
    """A backend.ring.Copier: no copy is made before somebody waits for it, and one that waits for no work is torn."""

    def __init__(self, device: str = FIRST) -> None:
        self._place = device
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

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        memory = np.empty(shape, dtype)
        spoil(memory)
        return memory

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        return Array(self.pinned(shape, dtype), self._place)

    def mark(self) -> Place:
        return Place(self)

    def copy(self, target: Array, source: np.ndarray) -> None:
        assert target.shape == source.shape
        assert target.dtype == source.dtype
        with self._lock:
            self._queue.append((target._a, source, self._guarded))

    def copied(self, mark: Place) -> None:
        with self._lock:
            mark.copies = len(self._queue)
            self._guarded = False

    def worked(self, mark: Place) -> None:
        self._not_captured()
        mark.copies = 0  # the emulated work is done when it is queued

    def copy_after(self, mark: Place) -> None:
        self._guarded = True

    def work_after(self, mark: Place) -> None:
        self._not_captured()
        mark.synchronize()

    def _not_captured(self) -> None:
        if TAPE.open:
            raise CaptureError("dependency created on uncaptured work in another stream")


class PoisonedRing(Ring):
    """A ring whose slots hold nothing of use once they are given back, nor when they are about to be filled."""

    def host(self, slot: int) -> list[np.ndarray]:
        arrays = super().host(slot)
        for memory in arrays:
            spoil(memory)
        return arrays

    def give_back(self, slot: int) -> None:
        super().give_back(slot)
        self._spoil(slot)

    def rest(self) -> None:
        super().rest()
        for slot in range(self.slots):
            self._spoil(slot)

    def _spoil(self, slot: int) -> None:
        for array in self._device[slot]:
            spoil(array._a)

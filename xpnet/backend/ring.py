"""A ring of slots on the way to a device: while one is computed with, the next are copied, and another is filled.

A slot is a set of arrays in pinned host memory and their likes on the device. One thread fills slots and sends them,
another takes them and gives them back:

    host = ring.host(i)                 # waits until slot i's last copy has left it
    host[0][:n] = ...
    ring.send(i, n)                     # queued beside the work, and after what still reads the slot

    x, = ring.take(i)                   # the work queued from here on comes after the copy
    ...                                 # queue work that reads x
    ring.give_back(i)                   # the slot may be sent again once that work is done

The host waits in host() alone; all else are marks in streams that the device waits for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from xpnet.backend.base import Array

__all__ = ["CuPyCopier", "Ring"]

Part = tuple[tuple[int, ...], Any]  # the shape and the dtype of one array of a slot


class Mark(Protocol):
    """A place in a stream of work."""

    def synchronize(self) -> None:
        """Wait, on the host, until the stream has come by."""
        ...


class Copier(Protocol):
    """A stream of copies to one device, beside the stream of work; every thread may use it."""

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Host memory that is copied from without the host's help."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Memory on the device."""
        ...

    def mark(self) -> Mark:
        """A mark that is nowhere yet; nobody waits for it."""
        ...

    def copy(self, target: Array, source: np.ndarray) -> None:
        """Queue a copy from pinned memory, among the copies."""
        ...

    def copied(self, mark: Mark) -> None:
        """Set a mark among the copies."""
        ...

    def worked(self, mark: Mark) -> None:
        """Set a mark in the work of this thread."""
        ...

    def copy_after(self, mark: Mark) -> None:
        """Make copies queued from now on wait for a mark."""
        ...

    def work_after(self, mark: Mark) -> None:
        """Make this thread's work queued from now on wait for a mark."""
        ...


class Ring:
    """Slots that go round between a thread that fills them and one that computes.

    Args:
        copier: the device's.
        parts: shape and dtype of each array of a slot, (B, ...): what is sent are its first rows.
        slots: how many, >= 2.
    Cost: slots times the parts' bytes, pinned and on the device.
    """

    def __init__(self, copier: Copier, parts: Sequence[Part], slots: int = 3) -> None:
        self.slots = slots
        self._copier = copier
        self._host = [[copier.pinned(*part) for part in parts] for _ in range(slots)]
        self._device = [[copier.empty(*part) for part in parts] for _ in range(slots)]
        self._sent = [copier.mark() for _ in range(slots)]
        self._done = [copier.mark() for _ in range(slots)]
        self._rows = [0] * slots
        for mark in self._done:  # what had this memory before may still be at work on it
            copier.worked(mark)

    def host(self, slot: int) -> list[np.ndarray]:
        """Return a slot's arrays on the host, to be filled; waits until their last copy has been made."""
        self._sent[slot].synchronize()
        return self._host[slot]

    def send(self, slot: int, rows: int) -> None:
        """Queue the copies of a slot's first rows; take must not have been called since give_back was."""
        self._rows[slot] = rows
        self._copier.copy_after(self._done[slot])
        for target, source in zip(self._device[slot], self._host[slot], strict=True):
            self._copier.copy(target[:rows, ...], source[:rows])
        self._copier.copied(self._sent[slot])

    def take(self, slot: int) -> list[Array]:
        """Return what was sent, (rows, ...) each, on the device; work queued from now on finds it there."""
        self._copier.work_after(self._sent[slot])
        return [array[: self._rows[slot], ...] for array in self._device[slot]]

    def give_back(self, slot: int) -> None:
        """Let a slot be sent anew after the work that was queued since take."""
        self._copier.worked(self._done[slot])

    def rest(self) -> None:
        """Give back all slots, and have the work queued from now on wait for all copies: it may get their memory."""
        for sent, done in zip(self._sent, self._done, strict=True):
            self._copier.work_after(sent)
            self._copier.worked(done)


class CuPyCopier(Copier):
    """A CUDA stream of copies; the work is on whichever stream is CuPy's current one in the thread that asks."""

    def __init__(self, device: Any) -> None:
        import cupy
        import cupyx

        self._cuda, self._memory, self._pinned = cupy.cuda, cupy.empty, cupyx.empty_pinned
        self._device = device
        with device:
            self._stream = cupy.cuda.Stream(non_blocking=True)

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        with self._device:
            return self._pinned(shape, dtype)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        with self._device:
            return self._memory(shape, dtype)

    def mark(self) -> Any:
        with self._device:
            return self._cuda.Event(block=True, disable_timing=True)  # block: a thread that waits sleeps

    def copy(self, target: Array, source: np.ndarray) -> None:
        target.set(source, stream=self._stream)

    def copied(self, mark: Any) -> None:
        with self._device:
            mark.record(self._stream)

    def worked(self, mark: Any) -> None:
        with self._device:
            mark.record(self._cuda.get_current_stream())

    def copy_after(self, mark: Any) -> None:
        with self._device:
            self._stream.wait_event(mark)

    def work_after(self, mark: Any) -> None:
        with self._device:
            self._cuda.get_current_stream().wait_event(mark)

"""Staging buffers: while a device computes with one batch, the next are copied to it and another is loaded.

A slot is a set of arrays in pinned host memory and arrays of the same shapes on the device. One thread loads and sends
slots, another takes and releases them:

    host = buffers.host(i)              # waits until slot i's last copy has left it
    host[0][:n] = ...
    buffers.send(i, n)                  # queued on the stream of copies, after the work that still reads the slot

    x, = buffers.take(i)                # work queued from here on comes after the copy
    ...                                 # queue work that reads x
    buffers.release(i)                  # the slot may be sent again once that work is done

Only host() waits on the host; everything else is ordered by events, for which the device waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from xpnet.backend.base import Array

if TYPE_CHECKING:
    import cupy

__all__ = ["CuPyStaging", "StagingBuffers", "StagingDevice"]

Part = tuple[tuple[int, ...], Any]  # the shape and the dtype of one array of a slot


class Stream(Protocol):
    """A queue of work on a device."""

    def record(self, event: Any) -> Any:
        """Set an event at the end of the queue; ``event.synchronize()`` makes the host wait for it."""
        ...

    def wait_event(self, event: Any) -> Any:
        """Make work queued from now on wait for an event; one that was never set is not waited for."""
        ...


class StagingDevice(Protocol):
    """Memory, streams and events of one device; every thread may use it."""

    copies: Any  # the stream of copies: a Stream, and what ``array.set(source, stream=...)`` takes

    def active(self) -> AbstractContextManager[Any]:
        """Make this device the current one within a with-block."""
        ...

    def current_stream(self) -> Stream:
        """The stream that this thread's work goes to."""
        ...

    def event(self) -> Any:
        """A new event, which is not set."""
        ...

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Host memory that a device copies from on its own."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Memory on the device."""
        ...


class StagingBuffers:
    """Slots that one thread loads and another computes with.

    Args:
        device: the device that they stage for.
        parts: shape and dtype of each array of a slot, (B, ...): what is sent are its first rows.
        slots: how many, >= 2.
    Cost: slots times the parts' bytes, pinned and on the device.
    """

    def __init__(self, device: StagingDevice, parts: Sequence[Part], slots: int = 3) -> None:
        self.slots = slots
        self._device = device
        self._rows = [0] * slots
        with device.active():
            self._host = [[device.pinned(*part) for part in parts] for _ in range(slots)]
            self._arrays = [[device.empty(*part) for part in parts] for _ in range(slots)]
            self._sent, self._released = ([device.event() for _ in range(slots)] for _ in range(2))
            for event in self._released:  # what used this memory before may still be at work on it
                device.current_stream().record(event)

    def host(self, slot: int) -> list[np.ndarray]:
        """Return a slot's arrays on the host, to be loaded; waits until their last copy has been made."""
        self._sent[slot].synchronize()
        return self._host[slot]

    def send(self, slot: int, rows: int) -> None:
        """Queue the copies of a slot's first rows; a slot that was taken must have been released."""
        copies = self._device.copies
        self._rows[slot] = rows
        with self._device.active():
            copies.wait_event(self._released[slot])
            for target, source in zip(self._arrays[slot], self._host[slot], strict=True):
                target[:rows, ...].set(source[:rows], stream=copies)
            copies.record(self._sent[slot])

    def take(self, slot: int) -> list[Array]:
        """Return what was sent, (rows, ...) each, on the device, for work that this thread queues from now on."""
        with self._device.active():
            self._device.current_stream().wait_event(self._sent[slot])
        return [array[: self._rows[slot], ...] for array in self._arrays[slot]]

    def release(self, slot: int) -> None:
        """Let a slot be sent again after the work that this thread has queued."""
        with self._device.active():
            self._device.current_stream().record(self._released[slot])

    def drain(self) -> None:
        """Release all slots, and make work queued from now on wait for all copies: it may reuse their memory."""
        for slot in range(self.slots):
            self.take(slot)
            self.release(slot)


class CuPyStaging(StagingDevice):
    """A CUDA device, with a stream for copies; work is on whichever stream is CuPy's current one in the thread."""

    def __init__(self, device: cupy.cuda.Device) -> None:
        import cupy
        import cupyx

        self._device, self._cuda = device, cupy.cuda
        self.empty, self.pinned, self.current_stream = cupy.empty, cupyx.empty_pinned, cupy.cuda.get_current_stream
        with device:
            self.copies = cupy.cuda.Stream(non_blocking=True)

    def active(self) -> AbstractContextManager[Any]:
        return self._device

    def event(self) -> cupy.cuda.Event:
        return self._cuda.Event(block=True, disable_timing=True)  # block: a thread that waits sleeps

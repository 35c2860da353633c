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
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import cupy

__all__ = ["StagingBuffers", "StagingDevice"]

Part = tuple[tuple[int, ...], Any]  # the shape and the dtype of one array of a slot


class StagingDevice:
    """Memory, streams and events of one of CuPy's devices; every thread may use it. Others have the same methods.

    Work is on whichever stream is CuPy's current one in the thread; ``copies`` is a stream of its own.
    """

    def __init__(self, device: cupy.cuda.Device) -> None:
        import cupy
        import cupyx

        self._device, self._cupy, self._cupyx = device, cupy, cupyx
        with device:
            self.copies = cupy.cuda.Stream(non_blocking=True)

    def active(self) -> AbstractContextManager[Any]:
        """Make this device the current one within a with-block."""
        return self._device

    def current_stream(self) -> cupy.cuda.Stream:
        """The stream that this thread's work goes to."""
        return self._cupy.cuda.get_current_stream()

    def event(self) -> cupy.cuda.Event:
        """A new event; nothing waits for it before a stream records it."""
        return self._cupy.cuda.Event(block=True, disable_timing=True)  # block: a thread that waits sleeps

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Host memory that the device copies from on its own."""
        return self._cupyx.empty_pinned(shape, dtype)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> cupy.ndarray:
        """Memory on the device."""
        return self._cupy.empty(shape, dtype)


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
            self._sent: list[cupy.cuda.Event] = [device.event() for _ in range(slots)]
            self._released: list[cupy.cuda.Event] = [device.event() for _ in range(slots)]
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

    def take(self, slot: int) -> list[cupy.ndarray]:
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

"""What a CUDA stream is for the host: work that is queued, and, while it is captured, recorded instead of done."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["TAPE", "CaptureError", "Tape"]

Work = Callable[[], object]


class CaptureError(RuntimeError):
    """As CUDA's cudaErrorStreamCaptureUnsupported."""


class _Thread(threading.local):
    """The stream of one thread."""

    def __init__(self) -> None:
        self.open = False
        self.captures = 0
        self.work: list[Work] = []


class Tape:
    """The emulated streams, one a thread.

    reads: how often the host has waited for the device.
    """

    def __init__(self) -> None:
        self.reads = 0
        self.launches: list[str] = []
        self._thread = _Thread()

    @property
    def open(self) -> bool:
        """Whether this thread's stream is being captured."""
        return self._thread.open

    @property
    def captures(self) -> int:
        """How many captures this thread has begun."""
        return self._thread.captures

    def do(self, work: Work) -> None:
        """Do work that writes to known places; while captured, only record it."""
        if self.open:
            self._thread.work.append(work)
        else:
            work()

    def record(self, work: Work) -> None:
        """Record how work that was done already is replayed."""
        self._thread.work.append(work)

    def host_reads(self) -> None:
        """The host waits for the device: forbidden while captured."""
        if self.open:
            raise CaptureError("operation not permitted when stream is capturing")
        self.reads += 1

    def begin(self) -> None:
        """Begin to capture."""
        if self.open:
            raise CaptureError("the stream is being captured already")
        thread = self._thread
        thread.open, thread.work, thread.captures = True, [], thread.captures + 1

    def end(self) -> list[Work]:
        """End the capture, and return what was recorded."""
        thread = self._thread
        thread.open = False
        work, thread.work = thread.work, []
        return work


TAPE = Tape()

"""What a CUDA stream is for the host: work that is queued, and, while it is captured, recorded instead of done."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["TAPE", "CaptureError", "Tape"]

Work = Callable[[], object]


class CaptureError(RuntimeError):
    """As CUDA's cudaErrorStreamCaptureUnsupported."""


class Tape:
    """The emulated stream.

    open: whether it is being captured. reads: how often the host has waited for the device.
    """

    def __init__(self) -> None:
        self.open = False
        self.reads = 0
        self.launches: list[str] = []
        self._work: list[Work] = []

    def do(self, work: Work) -> None:
        """Do work that writes to known places; while captured, only record it."""
        if self.open:
            self._work.append(work)
        else:
            work()

    def record(self, work: Work) -> None:
        """Record how work that was done already is replayed."""
        self._work.append(work)

    def host_reads(self) -> None:
        """The host waits for the device: forbidden while captured."""
        if self.open:
            raise CaptureError("operation not permitted when stream is capturing")
        self.reads += 1

    def begin(self) -> None:
        """Begin to capture."""
        if self.open:
            raise CaptureError("the stream is being captured already")
        self.open, self._work = True, []

    def end(self) -> list[Work]:
        """End the capture, and return what was recorded."""
        self.open = False
        work, self._work = self._work, []
        return work


TAPE = Tape()

"""Ctrl-C, SIGTERM and SIGHUP while training: finish the step, then stop. A second one stops at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

__all__ = ["Interrupt"]

_OTHERS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # SIGHUP: not on Windows


class Interrupt:
    """Within a with-block in the main thread, the first such signal only sets ``asked``, to its number."""

    def __init__(self) -> None:
        self.asked = 0
        self._before: dict[int, Any] = {}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = int(number)

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            # a program's own handler stays, and so does nohup's
            asked = [signal.SIGINT, *(n for n in _OTHERS if signal.getsignal(n) == signal.SIG_DFL)]
            self._before = {number: signal.signal(number, self._ask) for number in asked}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

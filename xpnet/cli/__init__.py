"""The command line: one file a command, which parses, calls and prints. Every error is one line and exit code 2."""

from __future__ import annotations

import os
import signal
import sys
import threading

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit: 0 done, 2 bad input, 130 interrupted, 128 + n ended by signal n."""
    for _ in range(3):  # a standard stream that is closed: no file that is opened later may get its number
        if (number := os.open(os.devnull, os.O_RDWR)) > 2:
            os.close(number)
            break
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, _end_at_once) if in_main else None
    from xpnet.cli.commands import run  # takes a second: Ctrl-C must not end in a half-imported library

    if in_main:
        signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)
    run(sys.argv[1:] or ["--help"])


def _end_at_once(number: int, frame: object) -> None:
    if os.environ.get("PMI_RANK") or os.environ.get("OMPI_COMM_WORLD_RANK"):  # of a process that others may wait for
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # its launcher then ends those
        os.kill(os.getpid(), signal.SIGINT)
    os.write(2, b"xpnet: interrupted\n")
    os._exit(130)

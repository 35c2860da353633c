"""Servers run until a signal ends them."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

from xpnet.cli.options import print_line

if TYPE_CHECKING:
    from xpnet.serving.listening import Listener

__all__ = ["serve_until_signal"]


def serve_until_signal(server: Listener, line: str) -> None:
    """Print a line that says where it is, wait for Ctrl-C or SIGTERM, and close the server."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        print_line(line)
        while not stop.wait(0.5):  # a signal is handled between waits
            pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # a second Ctrl-C ends it at once
        all_answered = server.close()
    if not all_answered:
        print_line("xpnet: warning: some requests were not answered in time", to_people_only=True)

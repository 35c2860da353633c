"""What a process tells the supervisor that started it, and what it hears from it; see supervisor.

A message is a line on standard error that the supervisor takes out, so it also arrives from other machines.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

__all__ = [
    "RESTART",
    "RUN",
    "SUPERVISED",
    "Reported",
    "continued_run",
    "tell_joined",
    "tell_joining",
    "tell_left",
    "tell_run",
    "tell_watched",
]

SUPERVISED = "XPNET_SUPERVISED"  # set in processes that xpnet launch has started, to a mark of the group
RESTART = "XPNET_RESTART"  # how often they were started again
RUN = "XPNET_CONTINUE"  # the run's folder, in processes that are started again

_log = logging.getLogger("xpnet")


def tell_run(folder: str | Path) -> None:
    """Tell the supervisor in which folder the run is: after a fault it is continued there."""
    _tell(run=str(Path(folder).absolute()))


def tell_joining() -> None:
    """Tell the supervisor that this process starts MPI, which waits until all processes do."""
    _tell(joining=1)


def tell_joined() -> None:
    """Tell the supervisor that MPI has started: from here on it ends all where one is lost."""
    _tell(joined=1)


def tell_watched() -> None:
    """Tell the supervisor that this process will tell it when it ends as a program should."""
    _tell(watched=1)


def tell_left() -> None:
    """Tell the supervisor that this process ends as a program should."""
    _tell(watched=-1)


def _tell(**message: object) -> None:
    stream = sys.__stderr__ or sys.stderr
    if SUPERVISED in os.environ and stream is not None:
        stream.write(f"\x1expnet {json.dumps(message)}\n")
        stream.flush()


class Reported:
    """What the processes of a group have reported to the supervisor.

    Attributes:
        run: the folder of the run; "": not known.
        joining: how many processes have begun to start MPI.
        joined: how many have done so.
        watched: how many run still, or have ended otherwise than a program should, such as by os._exit.
        is_whole: every message could be read.
    """

    def __init__(self, run: str = "") -> None:
        self.run, self.is_whole = run, True
        self.joining = self.joined = self.watched = 0

    def receive(self, message: str) -> None:
        """Take a message, as JSON."""
        try:
            found = json.loads(message)
            self.run = str(found.get("run", self.run))
            self.joining += found.get("joining", 0)
            self.joined += found.get("joined", 0)
            self.watched += found.get("watched", 0)
        except (ValueError, AttributeError, TypeError):  # of two processes at once
            self.is_whole = False
            _log.warning("a message of a process cannot be read: %r", message)


def continued_run() -> Path | None:
    """Return the folder of the run that this process continues after a fault, or None."""
    folder = os.environ.get(RUN)
    return Path(folder) if folder else None

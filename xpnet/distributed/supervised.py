"""What a process tells the supervisor that started it, and what it hears from it; see supervisor.

A message is a line on standard error that the supervisor takes out, so it also arrives from other machines.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

__all__ = ["RESTART", "RUN", "SUPERVISED", "continued_run", "tell_run"]

SUPERVISED = "XPNET_SUPERVISED"  # set in processes that xpnet launch has started, to a mark of the group
RESTART = "XPNET_RESTART"  # how often they were started again
RUN = "XPNET_CONTINUE"  # the run's folder, in processes that are started again


def tell_run(folder: str | Path) -> None:
    """Tell the supervisor, where there is one, in which folder the run is: after a fault it is continued there."""
    if SUPERVISED in os.environ:
        stream = sys.__stderr__ or sys.stderr
        stream.write(f"\x1expnet {json.dumps({'run': str(Path(folder).absolute())})}\n")
        stream.flush()


def continued_run() -> Path | None:
    """Return the folder of the run that this process continues after a fault, or None."""
    folder = os.environ.get(RUN)
    return Path(folder) if folder else None

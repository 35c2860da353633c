"""What process 0 alone does for all, such as making the folder of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from xpnet import errors
from xpnet.distributed.communicator import Communicator
from xpnet.errors import XpnetError

__all__ = ["by_first", "read_error", "written_error"]


def by_first(communicator: Communicator, function: Callable[[], Any]) -> Any:
    """Call a function in process 0 alone, and return in each process what it returned there.

    Args:
        communicator: of the processes, which all call this.
        function: returns what JSON can hold.
    Raises:
        XpnetError: that of process 0, the same in each.
    """
    if communicator.size == 1:
        return function()
    sent: dict[str, Any] = {}
    if communicator.rank == 0:
        try:
            sent = {"value": function()}
        except XpnetError as error:
            communicator.allgather_bytes(json.dumps({"error": written_error(error)}).encode())
            raise
    (message, *_) = communicator.allgather_bytes(json.dumps(sent).encode())
    found = json.loads(message)
    if "error" in found:
        raise read_error(found["error"])
    return found["value"]


def written_error(error: XpnetError) -> dict[str, Any]:
    """Return an error in a form that JSON can hold."""
    got = {name: str(tuple(v) if isinstance(v, tuple) else v) for name, v in error.got.items()}
    words = [error.where, error.rule, error.do]
    return {"kind": type(error).__name__, "words": words, "got": got, "event": error.is_event, "path": error.path}


def read_error(written: dict[str, Any]) -> XpnetError:
    """Return the error that was written."""
    kind = getattr(errors, written["kind"], XpnetError)
    error = kind(*written["words"])
    error.got, error.is_event, error.path = written["got"], written["event"], written["path"]
    return error

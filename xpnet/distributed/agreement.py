"""Work that each process does by itself, and of which all learn whether it failed.

    found = attempt(communicator, "evaluate", lambda: score(own_batches))

Otherwise the processes whose work went well would wait for ever for one that raised an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

from xpnet import errors
from xpnet.distributed.communicator import Communicator
from xpnet.errors import XpnetError

__all__ = ["attempt"]

T = TypeVar("T")


def attempt(communicator: Communicator, where: str, work: Callable[[], T]) -> T:
    """Return what work returns; an error in one process is raised in all.

    Args:
        communicator: of the processes, all of which call this.
        where: for messages.
        work: without arguments.
    Raises:
        XpnetError: work failed in another process; of the kind that was raised there. Where it failed here, the error
            itself.
    """
    if communicator.size == 1:
        return work()
    result: list[T] = []
    failed: Exception | None = None
    try:
        result.append(work())
    except Exception as error:
        failed = error
    failure = b"" if failed is None else json.dumps([type(failed).__name__, _line(failed)]).encode()
    each = communicator.allgather_bytes(failure)
    if failed is not None:
        raise failed
    for rank, data in enumerate(each):
        if data:
            name, line = json.loads(data)
            kind = getattr(errors, name, None) if name in errors.__all__ else None
            kind = kind if isinstance(kind, type) and issubclass(kind, XpnetError) else XpnetError
            raise kind.event(where, f"process {rank} of {communicator.size} failed", error=line)
    return result[0]


def _line(error: Exception) -> str:
    """Return an error in one line."""
    text = str(error).partition("\n")[0]
    return text if isinstance(error, XpnetError) else f"{type(error).__name__}: {text}".rstrip(": ")

"""The failure of one process ends all: otherwise the others would wait for it for ever.

    with aborting(communicator):
        trainer.fit(data)

Where all processes fail alike, for example because none finds the data, the error is raised in each, as in one process.
"""

from __future__ import annotations

import atexit
import contextlib
import sys
import threading
import time
import traceback
from types import TracebackType
from typing import Any

from xpnet.distributed.communicator import Communicator
from xpnet.distributed.supervised import tell_left, tell_watched
from xpnet.errors import XpnetError
from xpnet.output import printable

__all__ = ["aborting", "install"]

SECONDS = 3.0  # that a process which fails waits for the others to fail too
_PRINTED = 0.5  # seconds in which mpiexec passes on what was printed: it drops the rest when all are ended
GRACE = SECONDS + _PRINTED + 1.5  # seconds after which a process that fails has ended all, if its error is not caught


class aborting(contextlib.ContextDecorator):
    """End all processes where this one leaves a with-block, or a function, by an exception that the others do not have.

        with aborting(communicator):
            ...

        @aborting(communicator)
        def main(): ...

    SystemExit and KeyboardInterrupt count. The process prints one line that names its rank; before that a traceback,
    unless the error is xpnet's own or an interruption. Where each process fails within SECONDS, each raises its own
    error, and prints the line if it differs from that of rank 0.

    Args:
        communicator: of the processes; of one: nothing is done.
    """

    def __init__(self, communicator: Communicator) -> None:
        self._communicator = communicator

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._communicator.size > 1:
            _fail(self._communicator, error)


def _fail(communicator: Communicator, error: BaseException) -> None:
    """Return where all processes fail, and end them otherwise."""
    if getattr(error, "failed_everywhere", False):  # an inner block has found that
        return
    code, text = _described(error)
    texts = communicator.allgather_failures(text, SECONDS)
    if texts is not None:
        with contextlib.suppress(AttributeError):
            error.failed_everywhere = True  # pyright: ignore[reportAttributeAccessIssue]
        if text != texts[0]:
            _print(communicator, text)
        return
    if not isinstance(error, XpnetError | SystemExit | KeyboardInterrupt):
        traceback.print_exception(error)
    _print(communicator, text)
    time.sleep(_PRINTED)
    communicator.abort(code)


def _described(error: BaseException) -> tuple[int, str]:
    """Return the exit code that Python or the command line gives an error, and the error in one line."""
    match error:
        case XpnetError():
            return 2, str(error)
        case KeyboardInterrupt():
            return 130, "interrupted"
        case SystemExit(code=None | 0):
            return 1, "the process exits while the others go on"
        case SystemExit(code=int(code)):
            return code, f"the process exits with code {code} while the others go on"
        case SystemExit(code=message):
            return 1, str(message)
    return 1, f"{type(error).__name__}: {error}".rstrip(": ")


def _print(communicator: Communicator, text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(f"xpnet: rank {communicator.rank}: {printable(text)}", file=sys.stderr, flush=True)


_installed: list[Communicator] = []


def install(communicator: Communicator) -> None:
    """Let an uncaught exception of this process end all, and so its end while another waits for it.

    All processes call it; ``get_communicator`` does, and a Trainer and a Step. Where all processes fail alike, rank 0
    alone prints the traceback. A second call does nothing.

    Args:
        communicator: of the processes; of one: nothing is done.
    Cost: 0.1 us for each call of the communicator.
    """
    if communicator.size < 2 or _installed:
        return
    _installed.append(communicator)
    communicator.watch()
    tell_watched()
    sys.excepthook = _hook(communicator, sys.excepthook)
    before = threading.excepthook

    def in_thread(arguments: Any) -> None:
        before(arguments)
        if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
            _print(communicator, f"in a thread: {_described(arguments.exc_value)[1]}")
            time.sleep(_PRINTED)
            communicator.abort()

    threading.excepthook = in_thread
    atexit.register(_leave, communicator)


def _hook(communicator: Communicator, before: Any) -> Any:
    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        _fail(communicator, error)
        if communicator.rank == 0:
            before(kind, error, trace)

    return hook


def _leave(communicator: Communicator) -> None:
    """Called at the end of the process, whatever ends it but a signal."""
    try:
        if communicator.leave():
            tell_left()
            return
    except KeyboardInterrupt:
        communicator.abort(130)
    _print(communicator, "the process has ended, and another waits for it")
    time.sleep(_PRINTED)
    communicator.abort()

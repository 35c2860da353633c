"""A command in one of several processes: the first prints, and one that fails ends all.

What several processes do not run together, such as an export, the first does alone, and the others end at once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator

from xpnet.distributed import aborting, get_communicator, launched

__all__ = ["is_first", "joined", "silent", "takes_part"]

_JOINT = ("train", "evaluate", "predict")  # the commands that several processes run together


def is_first() -> bool:
    """Whether this process prints: it is alone, or the first of several."""
    start = launched()
    return start is None or start.rank == 0


def takes_part(command: str) -> bool:
    """Whether this process runs a command: it is the first, or all run it together."""
    return command in _JOINT or is_first()


@contextlib.contextmanager
def joined(command: str) -> Iterator[None]:
    """Join the other processes of a launcher, within a with-block that is the command; see aborting.

    Raises:
        ConfigError: they cannot be joined.
    """
    if command not in _JOINT or launched() is None:
        yield
        return
    with aborting(get_communicator()):
        yield


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Print nothing within a with-block, neither warnings nor what the log warns of."""
    logging.getLogger("xpnet").addHandler(logging.NullHandler())
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield

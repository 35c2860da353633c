"""Loops compiled for this processor: by numba, when they are first needed, and kept on disk from then on.

    @compiled("T1, T1, i")
    def add(x, y, n): ...

A loop is compiled without fastmath, so NaN and infinity stay what they are, and without the interpreter's lock, so
threads run loops side by side. Its arrays are contiguous and writable: see ``kernels.numpy.arrays.as_contiguous``.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.core.compiler_lock import global_compiler_lock

from xpnet.kernels.numba.cache import keep_on_disk

__all__ = ["FLOATS", "compiled", "prepare"]

FLOATS = frozenset([np.dtype(np.float32), np.dtype(np.float64)])  # for which loops are compiled
_OPTIONS = {"nogil": True, "error_model": "numpy"}
_SCALARS = {"i": numba.int64, "d": numba.float64}
_ELEMENTS = {"T": None, "I": numba.int64, "B": numba.boolean, "U": numba.uint8}
_log = logging.getLogger("xpnet")
_loops: list[tuple[Any, str]] = []
_preparing: threading.Thread | None = None


def compiled(signature: str) -> Callable[[Callable[..., Any]], Any]:
    """Compile the decorated loop when it is first called, once for float32 and once for float64.

    Args:
        signature: its arguments, for ``prepare``: T1, T2, ... an array of the element type and that rank, I1 of int64,
            B1 of booleans, U1 of bytes, i an integer, d a float.
    """

    def wrap(function: Callable[..., Any]) -> Any:
        loop = numba.njit(**_OPTIONS)(function)
        keep_on_disk(loop, function)
        _loops.append((loop, signature))
        return loop

    return wrap


def prepare() -> None:
    """Start a thread that compiles every loop for float32 or reads it from disk; calls do not wait for it."""
    global _preparing
    if _preparing is None:
        _preparing = threading.Thread(target=_compile_all, name="xpnet-compiling")
        _preparing.start()


def _forget_thread() -> None:
    global _preparing
    _preparing = None


# A child begins without the thread, so what that compiles is finished first: numba's lock would stay held for good.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )
    os.register_at_fork(after_in_child=_forget_thread)


def _compile_all() -> None:
    for loop, signature in list(_loops):
        if not threading.main_thread().is_alive():  # the program has ended
            return
        if loop.signatures:
            continue
        try:
            loop.compile(_types(signature))
        except Exception as error:  # raised when the loop is called
            _log.debug("%s was not compiled ahead: %s", loop.__name__, error)
        if loop.stats.cache_misses and loop.stats.cache_path:
            _warn_once(str(loop.stats.cache_path))
        time.sleep(0.002)  # lets a thread in that waits to compile


_warned: set[str] = set()


def _warn_once(folder: str) -> None:
    if not _warned:
        _warned.add(folder)
        _log.warning(
            "loops are compiled for this processor, which takes some seconds, once: they are kept in %s", folder
        )


def _types(signature: str) -> tuple[Any, ...]:
    """The numba types of a signature, for float32."""
    found = []
    for word in signature.split(", "):
        if word in _SCALARS:
            found.append(_SCALARS[word])
        else:
            found.append(numba.types.Array(_ELEMENTS[word[0]] or numba.float32, int(word[1:]), "C"))
    return tuple(found)

"""HOW FAST: drop-ins for ops, a folder a backend; never required, always tested against the op.

A kernel is an op's drop-in for one kind of arrays: same arguments (already checked by the op), same ``(y, vjp)``. It
may return NotImplemented for a case it leaves to the next. NumPy's arrays are served by ``kernels/numba/`` where numba
is installed, then by ``kernels/numpy/``; CuPy's by ``kernels/cuda/``; last of all comes the op's own standard code.

Those of NumPy's arrays take memory from ``backend.empty`` and work on it through ``backend.launch``, so that a step can
be noted and done again; one that does not is called again instead, and its results are copied.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["attempt", "disable", "disabled", "find", "prepare", "register", "register_array_type"]

Kernel = Callable[..., Any]

_LIBRARIES = {"numpy": ("numba", "numpy"), "cupy": ("cuda",)}  # whose arrays which folders serve, the first first
_FOLDERS: dict[str, dict[str, Kernel]] = {}  # kernels by folder and op
_LENT: dict[type, tuple[str, ...]] = {}  # the folders that serve a type of array
_serving: dict[type, dict[str, Kernel]] = {}  # what find returns, worked out as it is asked for
_hidden: frozenset[str] | None = frozenset()  # folders left out for now; None: all
_log = logging.getLogger("xpnet")


def register(op: str, folder: str) -> Callable[[Kernel], Kernel]:
    """Make the decorated function the kernel of an op, in a folder of kernels."""

    def keep(kernel: Kernel) -> Kernel:
        _FOLDERS.setdefault(folder, {})[op] = kernel
        return kernel

    return keep


def register_array_type(array_type: type, *folders: str) -> None:
    """Serve arrays of one more type by the kernels of folders, such as a stand-in for CuPy's by those of "cuda"."""
    _LENT[array_type] = tuple(folder for folder in folders if _load(folder))
    _serving.pop(array_type, None)


def find(op: str, x: Any) -> Kernel | None:
    """Return the kernel of an op for arrays like x, or None: then the op's own code runs."""
    kind = type(x)
    if kind not in _serving:
        _serve(kind)
    return _serving[kind].get(op)


def attempt(op: str, x: Any, *arguments: Any) -> Any:
    """Run the kernel of an op on x and more; NotImplemented where there is none or it leaves the case to the op."""
    kernel = find(op, x)
    return NotImplemented if kernel is None else kernel(x, *arguments)


def prepare(x: Any) -> None:
    """Make the kernels for arrays like x ready ahead of their first call, in a thread, where that takes a while."""
    find("", x)
    for folder in _LENT[type(x)]:
        ahead = getattr(importlib.import_module(f"{__name__}.{folder}"), "prepare", None)
        if ahead:
            ahead()


def _serve(kind: type) -> None:
    """Work out which kernels serve a type of array."""
    global _serving
    if kind not in _LENT:
        register_array_type(kind, *_LIBRARIES.get(kind.__module__.partition(".")[0], ()))
    table: dict[str, list[Kernel]] = {}
    for folder in _LENT[kind]:
        if _hidden is not None and folder not in _hidden:
            for op, kernel in _FOLDERS.get(folder, {}).items():
                table.setdefault(op, []).append(kernel)
    _serving[kind] = {op: ks[0] if len(ks) == 1 else _first_of(ks) for op, ks in table.items()}


def _first_of(kernels: list[Kernel]) -> Kernel:
    """One kernel of several: the first that takes the case."""
    first, *rest = kernels

    def kernel(*arguments: Any) -> Any:
        result = first(*arguments)
        if result is not NotImplemented:
            return result
        for other in rest:
            if (result := other(*arguments)) is not NotImplemented:
                break
        return result

    return kernel


def _load(folder: str) -> bool:
    """Import a folder of kernels; False, and a line in the log, where the library that it needs is not to be had."""
    try:
        importlib.import_module(f"{__name__}.{folder}")
    except ModuleNotFoundError as error:
        _log.info("kernels/%s is left out: %s is not installed", folder, error.name)
    except Exception as error:
        line = str(error).partition("\n")[0]
        _log.warning("kernels/%s is left out: %s (%s)", folder, type(error).__name__, line)
    else:
        return True
    return False


def disabled() -> frozenset[str] | None:
    """Return the folders that ``disable`` leaves out, None for all: what was recorded with others is out of date."""
    return _hidden


@contextlib.contextmanager
def disable(*folders: str) -> Iterator[None]:
    """Do without the kernels of some folders within a with-block, in every thread; tests compare the two.

    Args:
        folders: such as "numba"; none: all, so that the ops' own standard code runs.
    """
    global _hidden, _serving
    before = _hidden, _serving
    _hidden = None if not folders or _hidden is None else _hidden.union(folders)
    _serving = {}
    try:
        yield
    finally:
        _hidden, _serving = before

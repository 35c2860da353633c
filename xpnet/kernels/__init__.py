"""HOW FAST: drop-ins for ops, a folder a backend; never required, always tested against the op.

A kernel is an op's drop-in for one kind of arrays: same arguments (already checked by the op), same ``(y, vjp)``. It
may return NotImplemented for a case it leaves to the op's own standard code. The kernels of ``kernels/numpy/`` serve
NumPy's arrays, those of ``kernels/cuda/`` CuPy's.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["attempt", "find", "lend", "off", "register"]

Kernel = Callable[..., Any]

_FOLDERS: dict[str, dict[str, Kernel]] = {}  # kernels by folder and op
_SERVING: dict[type, dict[str, Kernel]] = {}  # the kernels that serve a type of array
_NAMED_OTHERWISE = {"cupy": "cuda"}  # libraries whose folder does not bear their name
_enabled = True


def register(op: str, folder: str) -> Callable[[Kernel], Kernel]:
    """Make the decorated function the kernel of an op, in a folder of kernels."""

    def keep(kernel: Kernel) -> Kernel:
        _FOLDERS.setdefault(folder, {})[op] = kernel
        return kernel

    return keep


def lend(array_type: type, folder: str) -> None:
    """Serve arrays of one more type by the kernels of a folder, such as a stand-in for CuPy's by those of "cuda"."""
    importlib.import_module(f"{__name__}.{folder}")
    _SERVING[array_type] = _FOLDERS.setdefault(folder, {})


def find(op: str, x: Any) -> Kernel | None:
    """Return the kernel of an op for arrays like x, or None: then the op's own code runs."""
    kind = type(x)
    if kind not in _SERVING:
        _load(kind)
    return _SERVING[kind].get(op) if _enabled else None


def attempt(op: str, x: Any, *arguments: Any) -> Any:
    """Run the kernel of an op on x and more; NotImplemented where there is none or it leaves the case to the op."""
    kernel = find(op, x)
    return NotImplemented if kernel is None else kernel(x, *arguments)


def _load(kind: type) -> None:
    """Find the kernels of the library that a type of array belongs to, once, if it has a folder here."""
    library = kind.__module__.partition(".")[0]
    folder = _NAMED_OTHERWISE.get(library, library)
    if importlib.util.find_spec(f"{__name__}.{folder}"):
        lend(kind, folder)
    else:
        _SERVING[kind] = {}


@contextlib.contextmanager
def off() -> Iterator[None]:
    """Run the ops' own standard code within a with-block, in every thread; tests compare the two."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before

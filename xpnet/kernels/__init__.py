"""HOW FAST: drop-ins for ops, a folder a backend; never required, always tested against the op.

A kernel is an op's drop-in for one array library: same arguments (already checked by the op), same ``(y, vjp)``. It may
return NotImplemented for a case it leaves to the op's own standard code.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["attempt", "find", "off", "register"]

_TABLE: dict[type, dict[str, Callable[..., Any]]] = {}
_enabled = True


def register(op: str, array_type: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make the decorated function the kernel of an op for arrays of one type."""

    def keep(kernel: Callable[..., Any]) -> Callable[..., Any]:
        _TABLE.setdefault(array_type, {})[op] = kernel
        return kernel

    return keep


def find(op: str, x: Any) -> Callable[..., Any] | None:
    """Return the kernel of an op for arrays like x, or None: then the op's own code runs."""
    kind = type(x)
    if kind not in _TABLE:
        _load(kind)
    return _TABLE[kind].get(op) if _enabled else None


def attempt(op: str, x: Any, *arguments: Any) -> Any:
    """Run the kernel of an op on x and more; NotImplemented where there is none or it leaves the case to the op."""
    kernel = find(op, x)
    return NotImplemented if kernel is None else kernel(x, *arguments)


def _load(kind: type) -> None:
    """Import the kernels of the library that a type of array belongs to, once, if it has a folder here."""
    _TABLE.setdefault(kind, {})
    folder = f"{__name__}.{kind.__module__.partition('.')[0]}"
    if importlib.util.find_spec(folder):
        importlib.import_module(folder)


@contextlib.contextmanager
def off() -> Iterator[None]:
    """Run the ops' own standard code within a with-block, in every thread; tests compare the two."""
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before

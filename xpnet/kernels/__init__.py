"""HOW FAST: drop-ins for ops, a folder a backend; never required, always tested against the op.

    @kernels.op("relu")                             # xpnet/ops/activation.py: the reference, after argument checks
    def _relu(x): ...                               # returns (y, vjp)

    @register("relu", "numba", recordable=True)     # xpnet/kernels/numba/activation.py: same arguments, same result
    def relu(x): ...                                # or NotImplemented: the next kernel, then the reference, is called

A call of the reference looks up the kernels for the type of its first argument. NumPy's arrays are served by
``kernels/numba/`` where numba is installed, then by ``kernels/numpy/``; CuPy's by ``kernels/cuda/``. What is not an op
(an update, a batch, a counter) is a service: the same, with any result.

A recordable kernel takes memory from ``backend.empty`` and works through ``backend.launch``, so a program replays it. A
reference in standard code is recordable too: a replay calls it anew and copies its results to where they were.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

from xpnet.backend import record_call, this_thread
from xpnet.backend.registry import kernel_folders

__all__ = ["Kernel", "disable", "disabled", "find", "op", "prepare", "register", "register_array_type", "service",
           "table"]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])


class Kernel(NamedTuple):
    """A function that serves an op or service, the folder it is in, and whether a program records its launches."""

    function: Callable[..., Any]
    folder: str
    recordable: bool


_kernels: dict[str, dict[str, Kernel]] = {}  # by folder and op
_references: dict[str, Callable[..., Any]] = {}  # by op, as they are called where no kernel takes the case
_folders: dict[type, tuple[str, ...]] = {}  # the folders that serve a type of array
# What an op calls, in order; filled on demand. Each change of what serves is followed by a new dict, so that a table
# that a thread works out meanwhile ends in one that is no longer read.
_serving: dict[type, dict[str, tuple[Callable[..., Any], ...]]] = {}
_blocks: list[frozenset[str]] = []  # the folders of each open block of disable, none for all; changed under the lock
_lock = threading.Lock()
_disabled: frozenset[str] | None = frozenset()  # folders disabled at present; None: all
_log = logging.getLogger("xpnet")


def op(name: str, *, views: bool = False) -> Callable[[F], F]:
    """Make the decorated function the reference of an op: a call runs the first kernel that takes the case, or else it.

    Args:
        name: the op's, under which kernels are registered.
        views: whether y and the gradients are views of what the function and vjp receive, or those arrays themselves:
            then there is nothing to replay.
    """
    return lambda function: _dispatcher(name, function, function if views else _replayable(function))


def service(name: str) -> Callable[[F], F]:
    """Like ``op``, for a function that returns an array, a tuple of arrays or None, some of them written in place."""

    def replayable(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            return function(*arguments) if this_thread.program is None else record_call(function, *arguments)

        return run

    return lambda function: _dispatcher(name, function, replayable(function))


def _dispatcher(name: str, function: F, reference: Callable[..., Any]) -> F:
    global _serving
    _references[name] = reference
    _serving = {}

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        kind = type(arguments[0] if arguments else next(iter(options.values()), None))
        for serve in (_serving.get(kind) or _serve(kind))[name]:
            if (result := serve(*arguments, **options)) is not NotImplemented:
                return result
        raise AssertionError(f"the reference of {name} returned NotImplemented")

    return call  # pyright: ignore[reportReturnType]


def _replayable(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that returns (y, vjp), recordable: replays call it anew and copy its results to where they were."""

    def run(*arguments: Any, **options: Any) -> Any:
        if this_thread.program is None:
            return function(*arguments, **options)
        newest: list[Any] = [None]

        def forward() -> Any:
            y, newest[0] = function(*arguments, **options)
            return y

        return record_call(forward), lambda dy, needs: record_call(lambda: newest[0](dy, needs))

    return run


def _unrecordable(name: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel that works without launches: where it takes a case while a program records, that is unsupported."""

    def run(*arguments: Any, **options: Any) -> Any:
        result, program = kernel(*arguments, **options), this_thread.program
        if program is not None and result is not NotImplemented:
            program.unsupported(name)
        return result

    return run


def register(name: str, folder: str, *, recordable: bool = False) -> Callable[[F], F]:
    """Make the decorated function the kernel of an op or service, in a folder of kernels.

    Args:
        name: the op's.
        folder: such as "numpy".
        recordable: whether it and its vjp work through launch on arrays from empty, or on a stream that is captured.
    """

    def keep(function: F) -> F:
        global _serving
        _kernels.setdefault(folder, {})[name] = Kernel(function, folder, recordable)
        _serving = {}
        return function

    return keep


def register_array_type(array_type: type, *folders: str) -> None:
    """Serve arrays of one more type by the kernels of folders, such as a stand-in for CuPy's by those of "cuda"."""
    global _serving
    _folders[array_type] = tuple(folder for folder in folders if _load(folder))
    _serving = {}


def table(x: Any) -> dict[str, list[Kernel]]:
    """Return the kernels that serve arrays like x, or of type x: by op or service, in the order they are asked.

    An op without kernels has an empty list; the modules that define ops and services must have been imported.
    """
    folders = [_kernels.get(folder, {}) for folder in _folders_of(x if isinstance(x, type) else type(x))]
    names = {*_references, *(name for folder in folders for name in folder)}
    return {name: [folder[name] for folder in folders if name in folder] for name in sorted(names)}


def find(name: str, x: Any) -> Callable[..., Any] | None:
    """Return the first kernel of an op or service for arrays like x, or None."""
    for folder in _folders_of(type(x)):
        if name in _kernels.get(folder, {}):
            return _kernels[folder][name].function
    return None


def _folders_of(kind: type) -> list[str]:
    """The folders that serve arrays of a type at present."""
    if kind not in _folders:
        register_array_type(kind, *kernel_folders(kind))
    return [folder for folder in _folders[kind] if _disabled is not None and folder not in _disabled]


def _serve(kind: type) -> dict[str, tuple[Callable[..., Any], ...]]:
    """Work out what ops and services call for arrays of a type."""
    _folders_of(kind)  # imports kernels, which register themselves
    serving = _serving  # read before what the table depends on
    chains = {name: [k.function if k.recordable else _unrecordable(name, k.function) for k in kernels]
              for name, kernels in table(kind).items()}  # fmt: skip
    serving[kind] = {name: (*chains[name], reference) for name, reference in _references.items()}
    return serving[kind]


def prepare(x: Any) -> None:
    """Make the kernels for arrays like x ready ahead of their first call, in a thread, where that takes a while."""
    for folder in _folders_of(type(x)):
        ahead = getattr(importlib.import_module(f"{__name__}.{folder}"), "prepare", None)
        if ahead:
            ahead()


def _load(folder: str) -> bool:
    """Import a folder of kernels; False, and a line in the log, where a library that it needs is not installed."""
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
    """Return the disabled folders, None for all: a recording made with others is out of date."""
    return _disabled


@contextlib.contextmanager
def disable(*folders: str) -> Iterator[None]:
    """Disable the kernels of some folders within a with-block, in every thread; tests compare the two.

    Blocks may be nested or overlap: a folder is disabled while any block that names it is open.

    Args:
        folders: such as "numba"; none: all, so that the ops' own standard code runs.
    """
    block = frozenset(folders)
    _change_blocks(_blocks.append, block)
    try:
        yield
    finally:
        _change_blocks(_blocks.remove, block)


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def _change_blocks(change: Callable[[frozenset[str]], None], block: frozenset[str]) -> None:
    """Open or close a block of disable."""
    global _disabled, _serving
    with _lock:
        change(block)
        _disabled = frozenset().union(*_blocks) if all(_blocks) else None
        _serving = {}

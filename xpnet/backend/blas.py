"""NumPy's BLAS and its threads: one thread for products of medium size, all of them for large ones.

    launch(limit_threads(np.matmul, n, k, m), a, b, y)      # (n, k) by (k, m) into y

BLAS divides a product among threads that wait for each other in a busy loop. If another process takes a core, each
product waits for the scheduler, and while BLAS's threads spin, they take the cores from xpnet's own: ten epochs of the
small CNN took 33 to 87 s on two busy cores, and 4.5 s with BLAS held to one thread.

The rule depends on shapes alone, not on the machine's load, so that a run repeats bit for bit.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from functools import cache, lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

__all__ = ["can_limit_blas", "limit_threads", "single_threaded"]

Product = Callable[..., Any]

# About 0.1 ms on one core. Where both cores are free, two threads save half of that; where they are not, they lose
# 0.4 ms and more (medians on two busy cores, one thread / two: 0.6 million multiply-adds 0.09 / 0.50 ms, 6 million
# 0.6 / 1.2, 134 million 18 / 13). A product of one row waits for memory, which two cores read faster: it is not held
# (a prediction of one image by the MLP took 0.074 ms held, 0.041 ms not).
_LARGE = 5_000_000
_SMALL = 250_000  # multiply-adds up to which OpenBLAS uses one thread anyway


class _Library(NamedTuple):
    get: Callable[[], int]
    set: Callable[[int], Any]


def can_limit_blas() -> bool:
    """Return whether NumPy's BLAS can be held to one thread, which work shared among threads needs."""
    return bool(_libraries())


@lru_cache(maxsize=1024)
def limit_threads(product: Product, n: int, k: int, m: int) -> Product:
    """Return the function that computes a product (n, k) by (k, m), held to one thread unless it is large or one row.

    Args:
        product: np.matmul or np.dot, called with two arrays and the result's.
    Cost: 1.5 us a held product; none for small ones, for which BLAS uses one thread by itself. Products of known shapes
        are looked up.
    """
    is_held = min(n, m) > 1 and _SMALL < n * k * m < _LARGE and _has_threads()
    return partial(_in_one_thread, product) if is_held else product


def _in_one_thread(product: Product, *arrays: Any) -> None:
    if _holders:
        product(*arrays)
    else:
        with single_threaded():
            product(*arrays)


_holders = 0  # calls that hold BLAS to one thread now
_before: list[tuple[_Library, int]] = []  # the libraries that they limited, and their number of threads
_lock = threading.Lock()


@contextlib.contextmanager
def single_threaded() -> Iterator[None]:
    """Hold BLAS to one thread in the whole process within a with-block; with-blocks of several threads may overlap."""
    global _holders
    with _lock:
        if not _holders:
            _before[:] = [(library, threads) for library in _libraries() if (threads := library.get()) > 1]
            for library, _ in _before:
                library.set(1)
        _holders += 1
    try:
        yield
    finally:
        with _lock:
            _holders = max(0, _holders - 1)  # 0 already in a child that was forked within the block
            if not _holders:
                for library, threads in _before:
                    library.set(threads)


def _release_all() -> None:
    """In a child process, where the threads that held BLAS do not exist: make the lock anew, and lift their limits."""
    global _lock, _holders
    _lock = threading.Lock()
    if _holders:
        _holders = 0
        for library, threads in _before:
            library.set(threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_all)


@cache
def _has_threads() -> bool:
    return any(library.get() > 1 for library in _libraries())


@cache
def _libraries() -> tuple[_Library, ...]:
    """The loaded BLAS libraries whose threads can be set; none where NumPy's own is not among them."""
    try:
        from threadpoolctl import ThreadpoolController

        found = ThreadpoolController().select(user_api="blas").lib_controllers
        built_on = np.show_config("dicts")["Build Dependencies"]["blas"]["name"]  # type: ignore[index]
    except Exception:  # not installed, or a library that it cannot read
        return ()
    if "accelerate" in built_on.lower():
        return ()
    return tuple(_functions(c) for c in found if c.get_num_threads() is not None)


def _functions(controller: Any) -> _Library:
    """A library's own two functions: threadpoolctl's take four times as long, and do nothing in a second thread."""
    if controller.internal_api == "openblas" and controller.threading_layer == "pthreads":
        for affixes in ("{}", "{}64_", "scipy_{}64_", "scipy_{}", "{}_64", "scipy_{}_64"):
            get, set = (affixes.format(f"openblas_{verb}_num_threads") for verb in ("get", "set"))
            if hasattr(controller.dynlib, get):
                return _Library(getattr(controller.dynlib, get), getattr(controller.dynlib, set))
    return _Library(controller.get_num_threads, controller.set_num_threads)

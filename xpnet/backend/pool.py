"""Memory of large arrays that is used again, where code takes and drops many of one size.

    pool = ArrayPool()
    with pool.in_use():
        ...                     # large arrays from ``empty`` are taken from the pool, in this thread

Arrays of 32 MiB and more are mapped anew by the C library each time, whatever ``keep_freed_memory`` set, and the system
clears their pages. In a step of AlexNet in eight virtual shards that took 1.6 of 5.0 seconds.
"""

from __future__ import annotations

import contextlib
import math
import weakref
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from xpnet.backend.launching import this_thread

__all__ = ["LARGE", "ArrayPool"]

LARGE = 32 << 20  # bytes from which arrays are pooled


class ArrayPool:
    """Keeps the memory of large arrays, for threads that share it.

    An array owns its memory until neither it nor a view of it exists; then the memory comes back.

    Cost: as much memory as its arrays took at any time, for as long as the pool.
    """

    def __init__(self) -> None:
        self._free: defaultdict[int, deque[npt.NDArray[np.uint8]]] = defaultdict(deque)  # by bytes
        self.blocks = 0  # that were made

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Let ``empty`` take large arrays from here, in this thread, where no program records."""
        before, this_thread.pool = this_thread.pool, self
        try:
            yield
        finally:
            this_thread.pool = before

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return an array, uninitialized, of new memory or of such as came back."""
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        if size < LARGE:
            return np.empty(shape, dtype)
        free = self._free[size]
        try:
            block = free.pop()  # a deque needs no lock
        except IndexError:
            block = np.empty(size, np.uint8)
            self.blocks += 1
        owner = np.frombuffer(
            block.data, np.uint8
        )  # the base of all views: NumPy looks through arrays, not through this
        weakref.finalize(owner, free.append, block).atexit = False
        return owner.view(dtype).reshape(shape)

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
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from xpnet.backend.launching import this_thread

__all__ = ["LARGE", "ArrayPool"]

LARGE = 32 << 20  # bytes from which arrays are pooled


class ArrayPool:
    """Keeps the memory of large arrays, for threads that share it.

    Cost: as much memory as its arrays took at any time, for as long as the pool; a search of its blocks an array.
    """

    def __init__(self) -> None:
        self._blocks: list[npt.NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Let ``empty`` take large arrays from here, in this thread, where no program records."""
        before, this_thread.pool = this_thread.pool, self
        try:
            yield
        finally:
            this_thread.pool = before

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return an array, uninitialized; of the memory of one to which, and to whose views, nothing refers now."""
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        if size < LARGE:
            return np.empty(shape, dtype)
        with self._lock:  # no other thread takes a block between the count and the view
            blocks = self._blocks
            free = (i for i in range(len(blocks)) if blocks[i].nbytes == size and _references(blocks, i) == _FREE)
            place = next(free, len(blocks))
            if place == len(blocks):
                blocks.append(np.empty(size, np.uint8))
            return blocks[place].view(dtype).reshape(shape)


def _references(blocks: list[Any], i: int) -> int:
    return sys.getrefcount(blocks[i])


_FREE = _references([np.empty(0)], 0)  # of a block to which only the list refers, counted in the same way

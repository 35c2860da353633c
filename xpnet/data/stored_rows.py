"""Examples that lie in a file one after the other, read when they are asked for: sets larger than memory.

    rows = StoredRows(path, offset, (N, 28, 28), np.uint8)
    x = rows.lazy()                             # (N, 28, 28): nothing is read yet

They are read by position, not mapped into memory: a file that is truncated meanwhile is an error in one line, where a
mapped one would end the process. The system keeps in its page cache what it has memory for, once for all processes.
"""

from __future__ import annotations

import math
import os
import threading
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.data.lazy import Lazy
from xpnet.data.opening import open_file
from xpnet.errors import DataError

__all__ = ["LARGE", "StoredRows"]

LARGE = 768 << 20  # bytes of an array above which it stays in its file
_SAMPLE, _NUMBERS, _MOST = 64, 1 << 20, 1 << 14  # examples that measure a set: at least, numbers in them, at most


class StoredRows:
    """Reads rows of an array in a file, which stays open: one that takes its name later is not looked at.

    Args:
        path: the file.
        offset: of the array's first byte.
        shape: (N, ...), in C order.
        dtype: of its numbers.
    Raises:
        DataError: the file cannot be read, or is shorter than that.
    """

    def __init__(self, path: Path, offset: int, shape: tuple[int, ...], dtype: Any) -> None:
        self._given = path, offset, shape, dtype
        self._path, self._offset, self._shape, self._dtype = path, offset, shape, np.dtype(dtype)
        self._row = math.prod(shape[1:]) * self._dtype.itemsize  # bytes
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._file = self._stack.enter_context(open_file(path))
        found = os.fstat(self._file.fileno())
        self._written = found.st_size, found.st_mtime_ns
        size = offset + shape[0] * self._row
        if found.st_size < size:
            raise DataError(str(path), f"a file of {size} bytes", "copy or download it again", bytes=found.st_size)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._given  # another process opens it anew

    def __deepcopy__(self, memo: Any) -> StoredRows:
        return self

    def lazy(self) -> Lazy:
        """Return the rows as examples."""
        sampled = max(_SAMPLE, min(_MOST, _NUMBERS // max(1, math.prod(self._shape[1:]))))
        return Lazy(self._shape, self.read, self._dtype, sampled=sampled)

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Fill out, (M, ...), with rows, (M,); neighbours in the file are read at once.

        Raises:
            DataError: the file cannot be read, or has been changed since it was opened.
        """
        is_same = out.flags.c_contiguous and out.dtype == self._dtype
        target = out if is_same else np.empty((len(rows), *self._shape[1:]), self._dtype)
        view = target.reshape(-1).view(np.uint8).data
        cuts = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
        try:
            for start, stop in pairwise(cuts):
                if start < stop:
                    self._fill(view[start * self._row : stop * self._row], int(rows[start]))
            found = os.fstat(self._file.fileno())
        except OSError as error:
            raise DataError.event(str(self._path), "cannot read the file", error=error.strerror) from error
        if (found.st_size, found.st_mtime_ns) != self._written:
            raise DataError.event(str(self._path), "the file was changed while its examples were read", "start again")
        if target is not out:
            out[...] = target.reshape(out.shape)

    def _fill(self, view: memoryview, row: int) -> None:
        """Fill a view with the file's bytes from a row on."""
        place = self._offset + row * self._row
        while view:
            count = self._some(view, place)
            if not count:
                break  # it was truncated, which its size says
            view, place = view[count:], place + count

    def _some(self, view: memoryview, place: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [view], place)
        with self._lock:
            self._file.seek(place)
            return self._file.readinto(view)

"""Examples that are read when they are asked for, such as photos that are decoded on the way: a Lazy in place of x.

    x = Lazy((N, H, W, C), read)                # read(rows, out) fills out with the examples of rows
    x[3], x[10:20], x[[5, 1]]                   # NumPy arrays
    x.take([5, 1])                              # a Lazy of two; nothing is read

What measures a set takes a sample of it; see measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.data.arrays import host
from xpnet.errors import ConfigError
from xpnet.random import Key, permutation

__all__ = ["Lazy", "examples", "gather", "is_resident", "joined", "measured"]

_SAMPLE = 64  # examples by which a set that is not in memory is measured


class Lazy:
    """The examples of a set that is not in memory.

    Args:
        shape: (N, ...), with the shape of an example.
        read: (rows, out) -> None: fills out (M, ...) with the examples of rows (M,), int64; from several threads.
        dtype: of the examples.
        rows: the examples of read that these are, in this order; by default the first N.
        sampled: how many examples measure the set, >= 1.
    """

    nbytes = 0  # of memory that is held

    def __init__(
        self,
        shape: tuple[int, ...],
        read: Callable[[np.ndarray, np.ndarray], None],
        dtype: Any = np.uint8,
        rows: np.ndarray | None = None,
        sampled: int = _SAMPLE,
    ) -> None:
        self.sampled = arguments.count("Lazy", "sampled", sampled)
        self.shape = arguments.shape("Lazy", "shape", shape)
        if not self.shape:
            raise ConfigError("Lazy", "shape (N, ...)", shape=shape)
        try:
            self.dtype = np.dtype(dtype)
        except (TypeError, ValueError) as error:
            raise ConfigError("Lazy", "dtype, that of an array", dtype=arguments.shown(dtype)) from error
        self._read = arguments.function("Lazy", "read", read)
        self._rows = np.arange(len(self)) if rows is None else host("Lazy", rows).astype(np.int64)
        if self._rows.shape != self.shape[:1]:
            raise ConfigError("Lazy", "rows (N,)", rows=self._rows.shape, N=len(self))
        self._sample: np.ndarray | None = None

    @property
    def rows(self) -> np.ndarray:
        """The examples of read that these are."""
        return self._rows

    ndim = property(lambda self: len(self.shape), doc="The rank of an array of them.")
    size = property(lambda self: math.prod(self.shape), doc="How many numbers they are.")

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<Lazy {self.shape} {self.dtype}>"

    def __getitem__(self, which: Any) -> np.ndarray:
        """Read an example, a slice of them, or those at indices (or of a mask)."""
        rows = self._rows[which[0] if isinstance(which, tuple) and which[1:] == (Ellipsis,) else which]
        out = np.empty((rows.size, *self.shape[1:]), self.dtype)
        self._read(rows.reshape(-1), out)
        return out.reshape(*rows.shape, *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def read(self, rows: slice | np.ndarray, out: np.ndarray) -> None:
        """Fill out, (M, ...), with the examples at rows."""
        self._read(self._rows[rows], out)

    def take(self, rows: Any, axis: int = 0) -> Lazy:
        """Return the examples at rows, indices or a mask, without reading them."""
        found = self._rows[host("Lazy.take", rows)]
        return Lazy((len(found), *self.shape[1:]), self._read, self.dtype, found, self.sampled)

    def converted(self, shape: tuple[int, ...], dtype: Any) -> Lazy:
        """Return the examples in another shape, (N, ...), of as many numbers, and another dtype; nothing is read."""
        read = partial(_read_converted, self._read, self.shape[1:], self.dtype)
        return Lazy(shape, read, dtype, self._rows, self.sampled)

    def sample(self, count: int | None = None) -> np.ndarray:
        """Read so many examples, by default sampled, drawn at random, always the same; all where there are no more."""
        count = self.sampled if count is None else arguments.count("Lazy.sample", "count", count)
        count = min(count, len(self))
        if self._sample is None or len(self._sample) < count:
            self._sample = self[np.sort(permutation(Key(0, "lazy/sample"), len(self))[:count])]
        return self._sample[:count]

    def also(self, other: Any) -> Lazy | None:
        """Return these examples and then others; None unless both are read by the same function."""
        if not isinstance(other, Lazy) or other._read != self._read or other.shape[1:] != self.shape[1:]:
            return None
        shape, rows = (len(self) + len(other), *self.shape[1:]), np.append(self._rows, other._rows)
        return Lazy(shape, self._read, self.dtype, rows, self.sampled)


def _read_converted(
    read: Callable[[np.ndarray, np.ndarray], None],
    shape: tuple[int, ...],
    dtype: Any,
    rows: np.ndarray,
    out: np.ndarray,
) -> None:
    """Read examples of a shape and dtype into an array of others."""
    found = np.empty((len(rows), *shape), dtype)
    read(rows, found)
    with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite
        out[...] = found.reshape(out.shape)


# The same of arrays, which are in memory. These five functions are all that tells one from the other.


def is_resident(x: Any) -> bool:
    """Whether examples are in memory."""
    return not isinstance(x, Lazy)


def examples(where: str, x: Any) -> Any:
    """Return examples as they are where they are Lazy, else as an array of the host."""
    return x if isinstance(x, Lazy) else host(where, x)


def measured(x: Any) -> np.ndarray:
    """Return the examples by which a set is measured (its scale, mean and deviation): all, or a sample of a Lazy."""
    return x.sample() if isinstance(x, Lazy) else x


def gather(x: Any, rows: slice | np.ndarray, out: np.ndarray) -> None:
    """Fill out with the examples at rows."""
    if isinstance(x, Lazy):
        x.read(rows, out)
    elif isinstance(rows, slice):
        out[...] = x[rows]
    else:
        np.take(x, rows, axis=0, out=out, mode="clip")  # with mode="raise", NumPy would buffer out


def joined(x: Any, other: Any) -> Any:
    """Return the examples of two parts of a set as one."""
    both = x.also(other) if isinstance(x, Lazy) else None
    return np.concatenate([x[:], other[:]]) if both is None else both

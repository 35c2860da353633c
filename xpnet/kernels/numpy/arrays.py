"""NumPy arrays for kernels: their types, copies of arrays that are not contiguous, and scratch memory."""

from __future__ import annotations

import math
import threading
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from xpnet.backend import current_program, empty, launch

__all__ = ["VJP", "Array", "Gradients", "Needs", "Result", "as_contiguous", "as_rows", "as_shape", "copied", "scratch"]

Array = npt.NDArray[Any]
Needs = tuple[bool, ...]  # of which arguments the gradient is needed
Gradients = tuple[Array | None, ...]


class VJP(Protocol):
    """The backward pass of an op: from the gradient of its result to one gradient for each argument."""

    def __call__(self, dy: Array, needs: Needs, /) -> Gradients: ...


Result = tuple[Array, VJP]


def copied(x: Array) -> Array:
    """Return a copy in row-major order, made by a launch."""
    copy = empty(x.shape, x.dtype)
    launch(np.copyto, copy, x)
    return copy


def as_contiguous(x: Array) -> Array:
    """Return an array as compiled loops take it: x itself, or a copy where it is strided, misaligned or read-only."""
    return x if x.flags.carray else copied(x)


def as_shape(x: Array, shape: tuple[int, ...]) -> Array:
    """Return x in another shape: a view, or of a copy where x is not contiguous."""
    return (x if x.flags.c_contiguous else copied(x)).reshape(shape)


def as_rows(x: Array, columns: int) -> Array:
    """Return x, (..., C), as (P, C): a view where x is contiguous or has rank 2."""
    return x if x.ndim == 2 else as_shape(x, (-1, columns))


class _Kept(threading.local):
    def __init__(self) -> None:
        self.blocks: dict[str, Array] = {}


_kept = _Kept()


def scratch(name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Return an uninitialized array for the length of one call: the same memory for the same name in a thread.

    While a program records, the memory is the program's, because another thread may replay it.

    Args:
        name: what it is for; a kernel that needs two at a time gives them two names.
        shape, dtype: as numpy.empty takes them.
    Cost: keeps the largest block requested by each name. New memory would cost as much as a pass over it, because the
        system clears its pages.
    """
    dtype, program = np.dtype(dtype), current_program()
    blocks = _kept.blocks if program is None else program.blocks
    size = math.prod(shape) * dtype.itemsize
    block = blocks.get(name)
    if block is None or block.size < size:
        blocks[name] = block = np.empty(size, np.uint8)
    return block[:size].view(dtype).reshape(shape)

"""What kernels for NumPy arrays call: memory for results and for the length of a call, and work that fills it.

    y = empty(x.shape, x.dtype)
    launch(np.multiply, x, 2.0, y)          # runs now; where a program records, each replay runs it again

Memory and work belong to the program that this thread records, if there is one; else all of this costs next to nothing.
Code that cannot be recorded calls ``this_thread.program.unsupported(name)`` where that is not None.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from xpnet.backend.pool import ArrayPool
    from xpnet.backend.recording import Program

__all__ = [
    "as_contiguous",
    "as_rows",
    "as_shape",
    "copied",
    "empty",
    "empty_aligned",
    "launch",
    "record_call",
    "scratch",
    "this_thread",
]

Array = npt.NDArray[Any]


class _Thread(threading.local):
    program: Program | None = None  # which records what this thread launches
    pool: ArrayPool | None = None  # where large arrays come from

    def __init__(self) -> None:
        self.blocks: dict[str, Array] = {}  # scratch memory, by name


this_thread = _Thread()


def launch(work: Callable[..., Any], *arguments: Any) -> None:
    """Call work that writes its results into arrays among its arguments, or bound to it; a replay calls it again."""
    program = this_thread.program
    if program is None:
        work(*arguments)
    else:
        program.launch(work, arguments)


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an array for launched work to fill; a replay fills the same one."""
    source = this_thread.program or this_thread.pool
    return np.empty(shape, dtype) if source is None else source.empty(shape, dtype)


def empty_aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an array that begins at a multiple of 64 bytes; others can be 20 % slower to copy and multiply."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    block = np.empty(size + 64, np.uint8)
    start = -block.ctypes.data % 64
    return block[start : start + size].view(dtype).reshape(shape)


def record_call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return a function's arrays (or None), one or a tuple; a replay calls it again and copies its results.

    A result that is one of the arguments was written in place, and is not copied.
    """
    program = this_thread.program
    return function(*arguments) if program is None else program.call(function, arguments)


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


def scratch(name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Return an uninitialized array for the length of one call: the same memory for the same name in a thread.

    While a program records, the memory is the program's, because another thread may replay it.

    Args:
        name: what it is for; a kernel that needs two at a time gives them two names.
        shape, dtype: as numpy.empty takes them.
    Cost: keeps the largest block requested by each name. New memory would cost as much as a pass over it, because the
        system clears its pages.
    """
    dtype, program = np.dtype(dtype), this_thread.program
    blocks = (this_thread if program is None else program).blocks
    size = math.prod(shape) * dtype.itemsize
    block = blocks.get(name)
    if block is None or block.size < size:
        blocks[name] = block = np.empty(size, np.uint8)
    return block[:size].view(dtype).reshape(shape)

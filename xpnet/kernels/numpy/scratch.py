"""Memory that a kernel needs for the length of one call: kept by each thread, and used again by the next call."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

from xpnet.backend import current_program

__all__ = ["scratch"]


class _Kept(threading.local):
    def __init__(self) -> None:
        self.blocks: dict[str, np.ndarray] = {}


_kept = _Kept()


def scratch(name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an array of this thread's own, with whatever it held before; the same memory for the same name.

    Where work is noted it is the program's own: that may be done again by another thread.

    Args:
        name: what for; a kernel that needs two at a time gives them two names.
        shape, dtype: as numpy.empty takes them.
    Cost: fresh memory is handed out by the system in pages of zeros, which takes as long as a pass over it; memory kept
        is warm. What is kept is the largest that was asked for by that name.
    """
    dtype, program = np.dtype(dtype), current_program()
    blocks = _kept.blocks if program is None else program.blocks
    size = math.prod(shape) * dtype.itemsize
    block = blocks.get(name)
    if block is None or block.size < size:
        blocks[name] = block = np.empty(size, np.uint8)
    return block[:size].view(dtype).reshape(shape)

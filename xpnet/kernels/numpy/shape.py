"""reshape and getitem for NumPy: views where arrays allow them, copies that are launched elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backend import empty, launch
from xpnet.kernels import register

__all__ = ["as_shape", "getitem", "reshape"]


def as_shape(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return x in another shape: a view, or of a copy where x is not contiguous."""
    if not x.flags.c_contiguous:
        copy = empty(x.shape, x.dtype)
        launch(np.copyto, copy, x)
        x = copy
    return x.reshape(shape)


@register("reshape", "numpy", recordable=True)
def reshape(x: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, Any]:
    """Read the same elements in another shape, as ops.reshape does."""
    old = x.shape
    return as_shape(x, shape), lambda dy, needs: (as_shape(dy, old) if needs[0] else None, None)


@register("getitem", "numpy", recordable=True)
def getitem(x: np.ndarray, index: tuple[int | slice, ...]) -> tuple[np.ndarray, Any]:
    """Take a slice, as ops.getitem does."""
    shape, place = x.shape, (*index, ...)

    def vjp(dy: np.ndarray, needs: tuple[bool, ...]) -> tuple[np.ndarray | None, None]:
        if not needs[0]:
            return (None, None)
        dx = empty(shape, dy.dtype)
        launch(dx.fill, 0)
        launch(np.copyto, dx[place], dy)
        return (dx, None)

    return x[place], vjp

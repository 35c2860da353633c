"""reshape and getitem for NumPy arrays: views, and copies by a launch where arrays do not allow a view."""

from __future__ import annotations

import numpy as np

from xpnet.backend import as_shape, empty, launch
from xpnet.kernels import register
from xpnet.kernels.numpy.arrays import Array, Gradients, Needs, Result

__all__ = ["getitem", "reshape"]


@register("reshape", "numpy", recordable=True)
def reshape(x: Array, shape: tuple[int, ...]) -> Result:
    """Read the same elements in another shape, as ops.reshape does."""
    old = x.shape
    return as_shape(x, shape), lambda dy, needs: (as_shape(dy, old) if needs[0] else None, None)


@register("getitem", "numpy", recordable=True)
def getitem(x: Array, index: tuple[int | slice, ...]) -> Result:
    """Take a slice, as ops.getitem does."""
    shape, place = x.shape, (*index, ...)

    def vjp(dy: Array, needs: Needs) -> Gradients:
        if not needs[0]:
            return (None, None)
        dx = empty(shape, dy.dtype)
        launch(dx.fill, 0)
        launch(np.copyto, dx[place], dy)
        return (dx, None)

    return x[place], vjp

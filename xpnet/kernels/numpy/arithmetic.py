"""Choosing by a mask: NumPy's where is 10 times slower on masks that a processor cannot predict."""

from __future__ import annotations

import numpy as np

from xpnet.backend import record_call
from xpnet.kernels import register
from xpnet.kernels.numpy.arrays import Array

__all__ = ["masked"]


@register("masked", "numpy", recordable=True)
def masked(x: Array, mask: Array) -> Array:
    """Keep x where mask is True, as ops.arithmetic.masked does: the bits of each number times 1 or 0."""
    if x.itemsize > 8:
        return NotImplemented
    return record_call(_masked, x, mask)


def _masked(x: Array, mask: Array) -> Array:
    kept = np.array(mask, f"i{x.itemsize}")  # 1 or 0
    return np.multiply(x.view(kept.dtype), kept, out=kept if kept.shape == x.shape else None).view(x.dtype)

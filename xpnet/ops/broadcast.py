"""The adjoint of broadcasting: summing a gradient back to the shape its input had."""

from __future__ import annotations

from typing import Any

from xpnet.backend import Array
from xpnet.ops.sums import total

__all__ = ["sum_to"]


def sum_to(xp: Any, g: Array, shape: tuple[int, ...]) -> Array:
    """Sum g over the axes along which an array of the given shape was broadcast to it."""
    if g.shape == shape:
        return g
    extra = g.ndim - len(shape)
    repeated = tuple(i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1)
    g = total(xp, g, (*range(extra), *repeated), keepdims=True)
    return xp.reshape(g, shape)

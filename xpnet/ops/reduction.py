"""Reductions over axes: sum, mean, max, min. Each is (y, vjp)."""

from __future__ import annotations

import math
from typing import Any

from xpnet.backend import Array
from xpnet.ops import checks

__all__ = ["max", "mean", "min", "sum"]

Axis = int | tuple[int, ...] | None


def _axes(rank: int, axis: Axis) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(rank))
    return tuple(a % rank for a in ((axis,) if isinstance(axis, int) else axis))


def _stretch(xp: Any, dy: Array, shape: tuple[int, ...], axis: Axis) -> Array:
    """Put back, with size 1, the axes of a shape that a reduction took away."""
    axes = _axes(len(shape), axis)
    return xp.reshape(dy, tuple(1 if i in axes else n for i, n in enumerate(shape)))


def sum(x: Array, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Any]:
    """Sum over axes.

    Args:
        x: any shape, real floating.
        axis: one axis, several, or None for all.
        keepdims: keep the reduced axes with size 1.
    Returns: y, and vjp: (dy, needs) -> (dx,), dy repeated along the axes. Keeps the shape only.
    """
    xp, shape = checks.floating("sum", x), x.shape

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return (xp.broadcast_to(_stretch(xp, dy, shape, axis), shape) if needs[0] else None,)

    return xp.sum(x, axis=axis, keepdims=keepdims, dtype=x.dtype), vjp


def mean(x: Array, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Any]:
    """Average over axes. Arguments as for sum; dx is dy / n repeated, n the number averaged."""
    xp, shape = checks.floating("mean", x), x.shape
    n = math.prod(shape[a] for a in _axes(x.ndim, axis))

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return (xp.broadcast_to(_stretch(xp, dy / n, shape, axis), shape) if needs[0] else None,)

    return xp.mean(x, axis=axis, keepdims=keepdims), vjp


def _extremum(xp: Any, x: Array, y: Array, axis: Axis) -> Any:
    """The vjp of max or min: dy shared evenly among the elements that equal the extremum."""

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        if not needs[0]:
            return (None,)
        hit = xp.astype(x == _stretch(xp, y, x.shape, axis), x.dtype)
        ties = xp.sum(hit, axis=axis, keepdims=True)
        return (hit * (_stretch(xp, dy, x.shape, axis) / ties),)

    return vjp


def max(x: Array, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Any]:
    """Take the largest over axes. Arguments as for sum; ties share the gradient evenly. Keeps x and y."""
    xp = checks.floating("max", x)
    y = xp.max(x, axis=axis, keepdims=keepdims)
    return y, _extremum(xp, x, y, axis)


def min(x: Array, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Any]:
    """Take the smallest over axes. Arguments as for sum; ties share the gradient evenly. Keeps x and y."""
    xp = checks.floating("min", x)
    y = xp.min(x, axis=axis, keepdims=keepdims)
    return y, _extremum(xp, x, y, axis)

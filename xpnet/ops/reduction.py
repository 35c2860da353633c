"""Reductions over axes: sum, mean, max, min. Each is (y, vjp)."""

from __future__ import annotations

import math
from typing import Any

from xpnet import kernels
from xpnet.backend import Array
from xpnet.errors import ShapeError
from xpnet.ops import checks

__all__ = ["max", "mean", "min", "sum"]

Axis = int | tuple[int, ...] | None


def _stretch(xp: Any, dy: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """Put back, with size 1, the axes of a shape that a reduction took away."""
    return xp.reshape(dy, tuple(1 if i in axes else n for i, n in enumerate(shape)))


@kernels.op("sum")
def sum(x: Array, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Any]:
    """Sum over axes.

    Args:
        x: any shape, real floating.
        axis: one axis, several, or None for all.
        keepdims: keep the reduced axes with size 1.
    Returns: y, and vjp: (dy, needs) -> (dx,), dy repeated along the axes. Keeps the shape only.
    Raises:
        ShapeError: x has no such axis, or it is named twice.
    """
    xp, shape, axes = checks.floating("sum", x), x.shape, checks.axes("sum", x, axis)

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return (xp.broadcast_to(_stretch(xp, dy, shape, axes), shape) if needs[0] else None,)

    return xp.sum(x, axis=axis, keepdims=keepdims, dtype=x.dtype), vjp


@kernels.op("mean")
def mean(x: Array, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Any]:
    """Average over axes. Arguments as for sum; dx is dy / n repeated, n the number averaged."""
    xp, shape, axes = checks.floating("mean", x), x.shape, checks.axes("mean", x, axis)
    n = math.prod(shape[a] for a in axes)

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return (xp.broadcast_to(_stretch(xp, dy / n, shape, axes), shape) if needs[0] else None,)

    return xp.mean(x, axis=axis, keepdims=keepdims), vjp


def _extremum(xp: Any, x: Array, y: Array, axes: tuple[int, ...]) -> Any:
    """The vjp of max or min: dy shared evenly among the elements that equal the extremum."""

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        if not needs[0]:
            return (None,)
        hit = xp.astype(x == _stretch(xp, y, x.shape, axes), x.dtype)
        ties = xp.sum(hit, axis=axes, keepdims=True)
        return (hit * (_stretch(xp, dy, x.shape, axes) / ties),)

    return vjp


def _some(op: str, x: Array, axes: tuple[int, ...]) -> None:
    if not math.prod(x.shape[a] for a in axes):
        raise ShapeError(op, "at least one number along the axes", x=tuple(x.shape), axes=axes)


@kernels.op("max")
def max(x: Array, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Any]:
    """Take the largest over axes. Arguments as for sum; ties share the gradient evenly. Keeps x and y."""
    xp, axes = checks.floating("max", x), checks.axes("max", x, axis)
    _some("max", x, axes)
    y = xp.max(x, axis=axis, keepdims=keepdims)
    return y, _extremum(xp, x, y, axes)


@kernels.op("min")
def min(x: Array, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Any]:
    """Take the smallest over axes. Arguments as for sum; ties share the gradient evenly. Keeps x and y."""
    xp, axes = checks.floating("min", x), checks.axes("min", x, axis)
    _some("min", x, axes)
    y = xp.min(x, axis=axis, keepdims=keepdims)
    return y, _extremum(xp, x, y, axes)

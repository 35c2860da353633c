"""Reductions over axes: sum, mean, max, min. Each op returns (y, vjp)."""

from __future__ import annotations

import math
from typing import Any

from xpnet import kernels
from xpnet.backend import Array
from xpnet.ops import checks
from xpnet.ops.arithmetic import average, masked, total

__all__ = ["max", "mean", "min", "sum"]

Axis = int | tuple[int, ...] | None


def _with_axes(xp: Any, dy: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """Restore, with size 1, the axes of a shape that a reduction removed."""
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
        ShapeError: x has no such axis, or it is given twice.
    """
    xp, shape, axes = checks.floating("sum", x), x.shape, checks.axes("sum", x, axis)
    checks.flag("sum", "keepdims", keepdims)

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return (xp.broadcast_to(_with_axes(xp, dy, shape, axes), shape) if needs[0] else None,)

    return total(xp, x, axes, keepdims), vjp


@kernels.op("mean")
def mean(x: Array, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Any]:
    """Average over axes, of one number at least. Arguments as for sum; dx is dy / n repeated, n the number averaged."""
    xp, shape, axes = checks.floating("mean", x), x.shape, checks.axes("mean", x, axis)
    checks.not_empty("mean", x, axes)
    checks.flag("mean", "keepdims", keepdims)
    n = math.prod(shape[a] for a in axes)

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return (xp.broadcast_to(_with_axes(xp, dy / n, shape, axes), shape) if needs[0] else None,)

    return average(xp, x, axes, keepdims), vjp


@kernels.op("max")
def max(x: Array, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Any]:
    """Take the largest over axes. Arguments as for sum; ties share the gradient evenly. Keeps x and y."""
    return _extremum("max", x, axis, keepdims)


@kernels.op("min")
def min(x: Array, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Any]:
    """Take the smallest over axes. Arguments as for sum; ties share the gradient evenly. Keeps x and y."""
    return _extremum("min", x, axis, keepdims)


def _extremum(op: str, x: Array, axis: Axis, keepdims: bool) -> tuple[Array, Any]:
    xp, shape, axes = checks.floating(op, x), x.shape, checks.axes(op, x, axis)
    checks.not_empty(op, x, axes)
    checks.flag(op, "keepdims", keepdims)
    y = getattr(xp, op)(x, axis=axis, keepdims=keepdims)

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        if not needs[0]:
            return (None,)
        hit = x == _with_axes(xp, y, shape, axes)
        ties = total(xp, xp.astype(hit, x.dtype), axes, keepdims=True)
        return (masked(_with_axes(xp, dy, shape, axes) / ties, hit),)

    return y, vjp

"""Rearranging elements: reshape, permute, broadcast, join, slice. Each is (y, vjp), a linear map of zeros and ones."""

from __future__ import annotations

import math
from typing import Any

from xpnet import kernels
from xpnet.arguments import as_index, integer
from xpnet.arguments import shape as sizes
from xpnet.backend import Array, add_at, namespace
from xpnet.errors import DTypeError, ShapeError
from xpnet.ops import checks
from xpnet.ops.arithmetic import sum_to

__all__ = ["broadcast_to", "concat", "flatten", "getitem", "permute_dims", "reshape"]


def reshape(x: Array, shape: tuple[int, ...]) -> tuple[Array, Any]:
    """Read the same elements, in row-major order, in another shape.

    Args:
        x: any shape.
        shape: the new sizes; one may be -1: it follows from the others.
    Returns: y, and vjp: (dy, needs) -> (dx, None).
    Raises:
        ShapeError: the numbers of elements differ.
    """
    checks.shared("reshape", x)
    shape = sizes("reshape", "shape", shape, -1)
    known = math.prod(n for n in shape if n != -1)
    count = math.prod(x.shape)
    if shape.count(-1) > 1 or (count != known if -1 not in shape else not known or count % known):
        raise ShapeError("reshape", "shapes of the same number of elements", x=x.shape, shape=shape)
    return _reshape(x, shape)


@kernels.op("reshape")
def _reshape(x: Array, shape: tuple[int, ...]) -> tuple[Array, Any]:
    xp, old = namespace(x), x.shape
    return xp.reshape(x, shape), lambda dy, needs: (xp.reshape(dy, old) if needs[0] else None, None)


def flatten(x: Array) -> tuple[Array, Any]:
    """Make one row of features of each example: (N, ...) to (N, D). vjp: (dy, needs) -> (dx,)."""
    checks.shared("flatten", x)
    if x.ndim < 1:
        raise ShapeError("flatten", "x of shape (N, ...)", x=x.shape)
    y, vjp = _reshape(x, (x.shape[0], math.prod(x.shape[1:])))
    return y, lambda dy, needs: vjp(dy, needs)[:1]


@kernels.op("permute_dims", views=True)
def permute_dims(x: Array, axes: tuple[int, ...]) -> tuple[Array, Any]:
    """Reorder axes: axis i of y is axis axes[i] of x.

    Args:
        x: any shape.
        axes: a permutation of 0 .. rank-1.
    Returns: y, and vjp: (dy, needs) -> (dx, None).
    Raises:
        ShapeError: axes is not a permutation.
    """
    xp = checks.shared("permute_dims", x)
    axes = sizes("permute_dims", "axes", axes)
    if sorted(axes) != list(range(x.ndim)):
        raise ShapeError("permute_dims", "a permutation of the axes 0 .. rank-1", x=x.shape, axes=axes)
    back = tuple(axes.index(i) for i in range(x.ndim))
    return xp.permute_dims(x, axes), lambda dy, needs: (xp.permute_dims(dy, back) if needs[0] else None, None)


@kernels.op("broadcast_to")
def broadcast_to(x: Array, shape: tuple[int, ...]) -> tuple[Array, Any]:
    """Repeat x along new axes and axes of size 1 until it has a shape. vjp: (dy, needs) -> (dx, None), sums of dy."""
    xp, old, shape = checks.shared("broadcast_to", x), x.shape, sizes("broadcast_to", "shape", shape)
    aligned = zip(x.shape[::-1], shape[::-1], strict=False)
    if x.ndim > len(shape) or not all(n in (1, m) for n, m in aligned):
        raise ShapeError("broadcast_to", "a shape that x broadcasts to", x=x.shape, shape=shape)
    return xp.broadcast_to(x, shape), lambda dy, needs: (sum_to(xp, dy, old) if needs[0] else None, None)


@kernels.op("concat")
def concat(*arrays: Array, axis: int = 0) -> tuple[Array, Any]:
    """Join arrays along an axis they have.

    Args:
        arrays: one or more, equal in rank and in all sizes but that of the axis.
        axis: the axis to join along; may be negative.
    Returns: y, and vjp: (dy, needs) -> one slice of dy for each array.
    Raises:
        ShapeError: none given, no such axis, or ranks or other sizes differ. DTypeError: dtypes differ.
    """
    if not arrays:
        raise ShapeError("concat", "at least one array", arrays=0)
    xp = checks.shared("concat", *arrays)
    if any(a is None for a in arrays):
        raise checks.missing("concat", "each of arrays")
    (axis,) = checks.axes("concat", arrays[0], integer("concat", "axis", axis))
    if any(a.dtype != arrays[0].dtype for a in arrays):
        raise DTypeError("concat", "arrays of one dtype", dtypes=", ".join(str(a.dtype) for a in arrays))
    rest = [a.shape[:axis] + a.shape[axis + 1 :] for a in arrays]
    if any(r != rest[0] for r in rest) or any(a.ndim != arrays[0].ndim for a in arrays):
        raise ShapeError(
            "concat", "arrays whose sizes differ along the axis only", axis=axis, shapes=[a.shape for a in arrays]
        )

    sizes = [a.shape[axis] for a in arrays]

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        parts, start = [], 0
        for size, need in zip(sizes, needs, strict=True):
            stop = start + size
            index = (slice(None),) * axis + (slice(start, stop), ...)
            parts.append(dy[index] if need else None)
            start = stop
        return tuple(parts)

    return xp.concat(arrays, axis=axis), vjp


def getitem(x: Array, index: Any) -> tuple[Array, Any]:
    """Take a slice: y = x[index].

    Args:
        x: any shape.
        index: integers, slices with positive steps and at most one Ellipsis; an axis without an index is taken whole.
    Returns: y, and vjp: (dy, needs) -> (dx, None), dx is zeros, and dy at the index.
    Raises:
        ShapeError: more indices than axes, an integer out of range, or an index of another kind.
    """
    checks.shared("getitem", x)
    return _getitem(x, _full_index(x.shape, index))


@kernels.op("getitem")
def _getitem(x: Array, index: tuple[int | slice, ...]) -> tuple[Array, Any]:
    xp, shape = namespace(x), x.shape

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        if not needs[0]:
            return (None, None)
        return (add_at(xp.zeros(shape, dtype=dy.dtype, device=dy.device), index, dy), None)

    return x[(*index, ...)], vjp  # an array even where every axis has an integer


def _full_index(shape: tuple[int, ...], index: Any) -> tuple[int | slice, ...]:
    """Complete an index: one integer or in-range slice an axis, as the standard requires."""
    given = index if isinstance(index, tuple) else (index,)
    parts: list[Any] = [p if isinstance(p, slice) or p is ... else as_index(p) for p in given]
    kinds = None not in parts
    dots = [i for i, p in enumerate(parts) if p is ...]
    missing = len(shape) - (len(parts) - len(dots))
    if not kinds or len(dots) > 1 or missing < 0:
        raise ShapeError(
            "getitem", "at most one index an axis: integers, slices and one Ellipsis", x=shape, index=index
        )
    at = dots[0] if dots else len(parts)
    parts[at : at + len(dots)] = [slice(None)] * missing
    full: list[int | slice] = []
    for n, part in zip(shape, parts, strict=True):
        if isinstance(part, int):
            if not -n <= part < n:
                raise ShapeError("getitem", "an integer index within its axis", x=shape, index=index)
            full.append(part % n)
            continue
        start, stop, step = part.indices(n)
        if step < 1:
            raise ShapeError("getitem", "a slice with a positive step", x=shape, index=index)
        full.append(slice(start, max(start, stop), step))
    return tuple(full)

"""What ops compute with: sums over axes whose rounding errors do not grow with the number of terms, and masks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from xpnet import kernels
from xpnet.backend import Array, namespace

__all__ = ["at_least_float32", "average", "cast", "masked", "sum_to", "total"]

_BLOCK = 128  # terms that are added one after the other


@cache
def at_least_float32(xp: Any, dtype: Any) -> Any:
    """Return the dtype that sums of a real floating dtype are computed in."""
    return xp.float32 if xp.finfo(dtype).bits < 32 else dtype


def cast(xp: Any, x: Array, dtype: Any) -> Array:
    """Return x in a dtype: itself where it has it."""
    return x if x.dtype == dtype else xp.astype(x, dtype)


def total(xp: Any, x: Array, axes: Iterable[int], keepdims: bool = False) -> Array:
    """Sum over axes, in blocks of blocks.

    A library may add the rows of a matrix one by one: of 4 million float32 numbers 0.1, NumPy's average over leading
    axes is 0.096.

    Args:
        axes: distinct, counted from 0.
    Returns: the sums, of x's dtype; those of float16 are computed in float32.
    Cost: a pass over x, and one over a 128th of it; a copy where x is strided, or a block is not filled.
    """
    return cast(xp, _total(xp, x, tuple(sorted(axes)), keepdims), x.dtype)


def _total(xp: Any, x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    shape, wide = x.shape, at_least_float32(xp, x.dtype)
    x = cast(xp, x, wide)
    if math.prod([shape[a] for a in axes]) <= _BLOCK:
        return xp.sum(x, axis=axes, keepdims=keepdims)
    for first, last in _runs(axes):  # the last axes first
        before, after = math.prod(x.shape[:first]), math.prod(x.shape[last + 1 :])
        rows = xp.reshape(x, (before, math.prod(x.shape[first : last + 1]), after))
        while after > 1 and rows.shape[1] > _BLOCK:
            count, rest = divmod(rows.shape[1], _BLOCK)
            whole = xp.reshape(rows[:, : count * _BLOCK, :], (before, count, _BLOCK, after))
            parts = xp.sum(whole, axis=2)
            left = [xp.sum(rows[:, count * _BLOCK :, :], axis=1, keepdims=True)] if rest else []
            rows = xp.concat([parts, *left], axis=1) if rest else parts
        ones = (1,) * (last + 1 - first)
        x = xp.reshape(
            xp.sum(rows if after > 1 else rows[:, :, 0], axis=1), (*x.shape[:first], *ones, *x.shape[last + 1 :])
        )
    return x if keepdims else xp.reshape(x, tuple(n for i, n in enumerate(shape) if i not in axes))


def average(xp: Any, x: Array, axes: Iterable[int], keepdims: bool = False) -> Array:
    """Average over axes as total sums: of one number at least."""
    axes = tuple(sorted(axes))
    return cast(xp, _total(xp, x, axes, keepdims) / math.prod([x.shape[a] for a in axes]), x.dtype)


def _runs(axes: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """First and last of each run of adjacent axes, the last run first."""
    last = first = axes[-1]
    for axis in axes[-2::-1]:
        if axis != first - 1:
            yield first, last
            last = axis
        first = axis
    yield first, last


def sum_to(xp: Any, g: Array, shape: tuple[int, ...]) -> Array:
    """Sum g over the axes along which an array of the given shape was broadcast to it: the adjoint of broadcasting."""
    if g.shape == shape:
        return g
    extra = g.ndim - len(shape)
    repeated = tuple(i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1)
    g = total(xp, g, (*range(extra), *repeated), keepdims=True)
    return xp.reshape(g, shape)


@kernels.service("masked")
def masked(x: Array, mask: Array) -> Array:
    """Keep x where mask is True, 0 elsewhere, even where x is infinite or NaN; the two broadcast together."""
    return namespace(x).where(mask, x, 0.0)

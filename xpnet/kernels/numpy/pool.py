"""max_pool2d for NumPy: gradients written in place, straight to where each window's first maximum lies."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.kernels import register

__all__ = ["max_pool2d"]


@register("max_pool2d", "numpy")
def max_pool2d(x: Any, rows: Any, cols: Any) -> tuple[Any, Any]:
    """Pool as ops.max_pool2d does, where windows need no padding; rows and cols are the windows laid by the op."""
    (top, bottom), (left, right) = rows.span(0, rows.out), cols.span(0, cols.out)
    if top < 0 or left < 0 or bottom > x.shape[1] or right > x.shape[2] or not x.size:
        return NotImplemented

    def middle() -> Any:
        """Maxima along the windows of each row, (N, H, OW, C)."""
        return _maxima(x, cols, 2)

    y = _maxima(middle(), rows, 1)

    def vjp(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        if not needs[0]:
            return (None,)
        wide = middle()
        dwide = _to_first_maximum(dy, y, wide, rows, 1)
        return (_to_first_maximum(dwide, wide, x, cols, 2),)

    return y, vjp


def _tap(x: Any, axis: Any, tap: int, dim: int) -> Any:
    """The pixels under one tap of each window along dimension 1 or 2."""
    place = slice(tap, tap + axis.s * (axis.out - 1) + 1, axis.s)
    return x[:, place] if dim == 1 else x[:, :, place]


def _maxima(x: Any, axis: Any, dim: int) -> Any:
    if axis.k == 1:
        return _tap(x, axis, 0, dim).copy()
    y = np.maximum(_tap(x, axis, 0, dim), _tap(x, axis, 1, dim))
    for tap in range(2, axis.k):
        np.maximum(y, _tap(x, axis, tap, dim), out=y)
    return y


def _to_first_maximum(dy: Any, y: Any, x: Any, axis: Any, dim: int) -> Any:
    """Give dy to the first element of each window that equals its maximum y."""
    tiled = axis.s == axis.k and axis.out * axis.k == x.shape[dim]  # windows cover all and overlap nowhere
    dx = (np.empty if tiled else np.zeros)(x.shape, dtype=dy.dtype)
    left = dy  # what no earlier tap has taken
    for tap in range(axis.k):
        target = _tap(dx, axis, tap, dim)
        if tap + 1 == axis.k and tiled:
            target[...] = left
            break
        hit = (_tap(x, axis, tap, dim) == y).astype(dy.dtype)
        hit *= left
        if tiled:
            target[...] = hit
        else:
            target += hit
        if tap + 1 < axis.k:
            left = left - hit
    return dx

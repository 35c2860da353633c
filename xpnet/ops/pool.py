"""Pooling: one number a window, for each channel separately, on images (N, H, W, C). Each op returns (y, vjp).

    OH = floor((H + 2*PH - KH) / SH) + 1

with ceil in place of floor in ceil mode; OW likewise.

The gradient of a maximum goes to the first pixel that holds it, in row-major order, never to padding. A NaN is larger
than any number.
"""

from __future__ import annotations

import math
from typing import Any

from xpnet import kernels, windows
from xpnet.backend import Array, add_at, namespace
from xpnet.errors import ConfigError, ShapeError
from xpnet.ops import checks
from xpnet.ops.arithmetic import average, masked
from xpnet.windows import Axis, axes

__all__ = ["avg_pool2d", "global_avg_pool2d", "max_pool2d"]

Pair = int | tuple[int, int]


def _lay(op: str, x: Array, kernel: Pair, stride: Pair | None, padding: Pair, ceil_mode: bool) -> tuple[Axis, Axis]:
    """Check a pooling's arguments and lay its windows over rows and columns."""
    _images(op, x)
    sizes = checks.pair(op, "kernel_size", kernel, 1)
    strides = sizes if stride is None else checks.pair(op, "stride", stride, 1)
    pads = checks.pair(op, "padding", padding, 0)
    if any(2 * p > k for p, k in zip(pads, sizes, strict=True)):
        raise ConfigError(op, "padding of at most half of kernel_size", padding=padding, kernel_size=kernel)
    return axes(op, x.shape, sizes, strides, pads, ceil_mode=checks.flag(op, "ceil_mode", ceil_mode))


def _images(op: str, x: Array) -> None:
    """Raise ShapeError unless x is (N, H, W, C) with a pixel at least."""
    checks.images(op, x)
    if not x.shape[1] * x.shape[2]:
        raise ShapeError(op, "images of one pixel at least", x=tuple(x.shape))


def max_pool2d(
    x: Array, *, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0, ceil_mode: bool = False
) -> tuple[Array, Any]:
    """Take the largest number in each window, channel by channel.

        y[n,i,j,c] = max over p,q of xz[n, i*SH + p, j*SW + q, c]

    where xz is x with PH, PW of -infinity on each side.

    Args:
        x: images, (N, H, W, C), real floating.
        kernel_size: KH, KW, an integer or a pair (vertical, horizontal), >= 1.
        stride: SH, SW, >= 1; kernel_size by default, so that windows do not overlap.
        padding: PH, PW, 0 <= P <= K/2.
        ceil_mode: count a last window that reaches over the border too.
    Returns:
        y: (N, OH, OW, C).
        vjp: (dy, needs) -> (dx,); on ties dy goes to the first maximum in row-major order.
    Raises:
        ShapeError: x is not of rank 4 or has no pixel, or a window exceeds the padded image. ConfigError: an argument
            out of range.
    Cost: KH + KW comparisons a number out; keeps x and y.
    """
    checks.floating("max_pool2d", x)
    return _max_pool2d(x, *_lay("max_pool2d", x, kernel_size, stride, padding, ceil_mode))


@kernels.op("max_pool2d")
def _max_pool2d(x: Array, rows: Axis, cols: Axis) -> tuple[Array, Any]:
    xp = namespace(x)
    spans = rows.span(), cols.span()

    def middle() -> tuple[Array, Array]:
        """The padded image, and its maxima along each row's windows, (N, HT, OW, C)."""
        tile = windows.padded(xp, x, *spans, fill=-math.inf)
        return tile, _running_max(xp, tile, cols, 2)

    y = _running_max(xp, middle()[1], rows, 1)  # (N, OH, OW, C)
    if rows.k == cols.k == 1:
        y = xp.asarray(y, copy=True)

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        if not needs[0]:
            return (None,)
        tile, wide = middle()
        dwide = _to_first_max(xp, dy, y, wide, rows, 1)
        return (_crop(xp, _to_first_max(xp, dwide, wide, tile, cols, 2), x.shape, spans),)

    return y, vjp


def _along(axis: Axis, tap: int, dim: int) -> tuple[slice, ...]:
    """The pixels under one tap of each window along dimension 1 or 2 of four."""
    return (slice(None),) * dim + (axis.tap(tap),) + (slice(None),) * (3 - dim)


def _running_max(xp: Any, x: Array, axis: Axis, dim: int) -> Array:
    """The maxima of windows along one dimension."""
    y = x[_along(axis, 0, dim)]
    for tap in range(1, axis.k):
        y = xp.maximum(y, x[_along(axis, tap, dim)])
    return y


def _to_first_max(xp: Any, dy: Array, y: Array, x: Array, axis: Axis, dim: int) -> Array:
    """Give dy to the first element of each window that equals its maximum y.

    First along rows, then along columns, is the first in row-major order: the first row that holds the maximum, and in
    it the first column.
    """
    dx = xp.zeros(x.shape, dtype=dy.dtype, device=dy.device)
    first, stop = axis.span()
    on_image = None
    if first < 0 or stop > axis.n:  # padding is -infinity, which a maximum may be
        mask = xp.asarray([0 <= i < axis.n for i in range(first, stop)], device=x.device)
        on_image = xp.reshape(mask, (1,) * dim + (-1,) + (1,) * (3 - dim))
    left = dy  # what no earlier tap received
    for tap in range(axis.k):
        place = _along(axis, tap, dim)
        some = x[place]
        hit = (some == y) | (some != some)
        if on_image is not None:
            hit = hit & on_image[(slice(None),) * dim + (axis.tap(tap), ...)]
        part = masked(left, hit)
        dx = add_at(dx, place, part)
        if tap + 1 < axis.k:
            left = masked(left, ~hit)
    return dx


def avg_pool2d(
    x: Array,
    *,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> tuple[Array, Any]:
    """Average each window, channel by channel.

        y[n,i,j,c] = sum over p,q of xz[n, i*SH + p, j*SW + q, c] / n[i,j]

    where xz is x with PH, PW zeros on each side and n[i,j] the pixels averaged: those of the window within the padded
    image, or, without count_include_pad, within the image.

    Args:
        x: images, (N, H, W, C), real floating.
        kernel_size, stride, padding, ceil_mode: as for max_pool2d.
        count_include_pad: whether padding counts in the average.
    Returns:
        y: (N, OH, OW, C).
        vjp: (dy, needs) -> (dx,).
    Raises:
        ShapeError: x is not of rank 4 or has no pixel, or a window exceeds the padded image. ConfigError: an argument
            out of range.
    Cost: KH + KW additions a number out; keeps the shape of x only.
    """
    checks.floating("avg_pool2d", x)
    checks.flag("avg_pool2d", "count_include_pad", count_include_pad)
    return _avg_pool2d(x, *_lay("avg_pool2d", x, kernel_size, stride, padding, ceil_mode), count_include_pad)


@kernels.op("avg_pool2d")
def _avg_pool2d(x: Array, rows: Axis, cols: Axis, count_include_pad: bool) -> tuple[Array, Any]:
    xp = namespace(x)
    spans = rows.span(), cols.span()
    down, across = (axis.counts(count_include_pad) for axis in (rows, cols))
    if len(set(down)) == len(set(across)) == 1:
        share: Any = 1.0 / (down[0] * across[0])
    else:
        table = [[[1.0 / (i * j)] for j in across] for i in down]
        share = xp.asarray(table, dtype=x.dtype, device=x.device)  # (OH, OW, 1)
    tile = windows.padded(xp, x, *spans)
    wide = tile[:, :, cols.tap(0), :]
    for q in range(1, cols.k):
        wide = wide + tile[:, :, cols.tap(q), :]  # (N, HT, OW, C)
    y = wide[:, rows.tap(0), :, :]
    for p in range(1, rows.k):
        y = y + wide[:, rows.tap(p), :, :]  # (N, OH, OW, C)
    shape, size = x.shape, tile.shape
    del tile, wide

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        if not needs[0]:
            return (None,)
        each = dy * share
        dwide = xp.zeros((size[0], size[1], cols.out, size[3]), dtype=dy.dtype, device=dy.device)
        for p in range(rows.k):
            dwide = add_at(dwide, (slice(None), rows.tap(p), slice(None), slice(None)), each)
        dtile = xp.zeros(size, dtype=dy.dtype, device=dy.device)
        for q in range(cols.k):
            dtile = add_at(dtile, (slice(None), slice(None), cols.tap(q), slice(None)), dwide)
        return (_crop(xp, dtile, shape, spans),)

    return y * share, vjp


def global_avg_pool2d(x: Array) -> tuple[Array, Any]:
    """Average each channel over the whole image.

        y[n,c] = sum over i,j of x[n,i,j,c] / (H*W)

    Args:
        x: images, (N, H, W, C), real floating.
    Returns:
        y: (N, C).
        vjp: (dy, needs) -> (dx,).
    Raises:
        ShapeError: x is not of rank 4, or has no pixel.
    Cost: keeps the shape of x only.
    Source: Lin, Chen and Yan (2014).
    """
    checks.floating("global_avg_pool2d", x)
    _images("global_avg_pool2d", x)
    return _global_avg_pool2d(x)


@kernels.op("global_avg_pool2d")
def _global_avg_pool2d(x: Array) -> tuple[Array, Any]:
    xp = namespace(x)
    n, h, w, c = x.shape

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return (xp.broadcast_to(xp.reshape(dy / (h * w), (n, 1, 1, c)), (n, h, w, c)) if needs[0] else None,)

    return average(xp, x, (1, 2)), vjp


def _crop(xp: Any, dtile: Array, shape: tuple[int, ...], spans: tuple[tuple[int, int], tuple[int, int]]) -> Array:
    """The gradient of images of a shape from that of their padded tile."""
    if spans == ((0, shape[1]), (0, shape[2])):
        return dtile
    dx = xp.zeros(shape, dtype=dtile.dtype, device=dtile.device)
    return windows.crop_into(dx, slice(None), slice(None), dtile, *spans)

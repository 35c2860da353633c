"""Pooling for NumPy: maxima along whole rows of memory, from which those of the windows are then selected.

A pixel of few channels is a short run, and starting a run costs NumPy as much as dozens of numbers. So maxima and sums
of neighbours are computed for whole rows, needed or not, and a pixel is copied as one element of as many bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from xpnet.backend import empty, launch, scratch
from xpnet.kernels import register
from xpnet.kernels.numpy.arrays import Array, Gradients, Needs, Result
from xpnet.windows import Axis

__all__ = ["avg_pool2d", "max_pool2d"]

_BLOCK = 1 << 16  # numbers of a block's results: few enough for the caches, enough to be worth a round of calls
_SHORT = 32  # channels from which a run is worth its start


@register("max_pool2d", "numpy", recordable=True)
def max_pool2d(x: Array, rows: Axis, cols: Axis) -> Result:
    """Pool as ops.max_pool2d does; rows and cols are the windows laid by the op."""
    if not x.size or x.itemsize > 8:
        return NotImplemented
    n, h, w, c = x.shape
    y = empty((n, rows.out, cols.out, c), x.dtype)

    def forward() -> None:
        for i, j in _blocks(y):
            _combine(np.maximum, _tile(x[i:j], rows, cols, -math.inf), rows, cols, y[i:j])

    launch(forward)

    def vjp(dy: Array, needs: Needs) -> Gradients:
        if not needs[0]:
            return (None,)
        dx = empty((n, h, w, c), y.dtype)

        def backward() -> None:
            for i, j in _blocks(y):
                _max_gradient(dy[i:j], y[i:j], x[i:j], rows, cols, dx[i:j])

        launch(backward)
        return (dx,)

    return y, vjp


@register("avg_pool2d", "numpy", recordable=True)
def avg_pool2d(x: Array, rows: Axis, cols: Axis, count_include_pad: bool) -> Result:
    """Pool as ops.avg_pool2d does; rows and cols are the windows laid by the op."""
    if not x.size:
        return NotImplemented
    (n, h, w, c), dtype = x.shape, x.dtype
    wide = np.promote_types(dtype, np.float32)  # of which float16 is made once
    y = empty((n, rows.out, cols.out, c), dtype)
    down, across = (axis.counts(count_include_pad) for axis in (rows, cols))
    share = (1.0 / np.multiply.outer(down, across))[:, :, None].astype(wide)  # (OH, OW, 1)

    def forward() -> None:
        for i, j in _blocks(y):
            sums = y[i:j] if wide == dtype else scratch("pool sums", y[i:j].shape, wide)
            _combine(np.add, _tile(x[i:j].astype(wide, copy=False), rows, cols, 0.0), rows, cols, sums)
            np.multiply(sums, share, out=y[i:j], casting="same_kind")

    launch(forward)

    def vjp(dy: Array, needs: Needs) -> Gradients:
        if not needs[0]:
            return (None,)
        dx = empty((n, h, w, c), dtype)

        def backward() -> None:
            for i, j in _blocks(y):
                sums = dx[i:j] if wide == dtype else scratch("pool gradient", dx[i:j].shape, wide)
                dtile, each = _dtile(sums, rows, cols), dy[i:j] * share
                for p, q in np.ndindex(rows.k, cols.k):
                    _add_tap(each, dtile, rows, cols, p, q)
                _from_dtile(dtile, rows, cols, sums)
                if wide != dtype:
                    dx[i:j] = sums

        launch(backward)
        return (dx,)

    return y, vjp


def _apart(rows: Axis, cols: Axis) -> bool:
    """Whether no two windows share a pixel."""
    return rows.k <= rows.s and cols.k <= cols.s


def _reaches_over(axis: Axis) -> bool:
    """Whether a window reaches beyond the image."""
    first, stop = axis.span()
    return first < 0 or stop > axis.n


def _blocks(y: Array) -> Iterator[tuple[int, int]]:
    """Images i .. j-1 of each block."""
    n, step = len(y), max(1, _BLOCK // max(1, y[0].size))
    return ((i, min(n, i + step)) for i in range(0, n, step))


def _tile(x: Array, rows: Axis, cols: Axis, fill: float) -> Array:
    """The tile that all windows lie within: x, or a contiguous copy with fill around it."""
    if x.flags.c_contiguous and not _reaches_over(rows) and not _reaches_over(cols):
        return x
    (top, bottom), (left, right) = rows.span(), cols.span()
    tile = scratch("pool tile", (x.shape[0], bottom - top, right - left, x.shape[3]), x.dtype)
    if _reaches_over(rows) or _reaches_over(cols):
        tile.fill(fill)
    _crop(tile, x, -rows.p, -cols.p)[...] = _crop(x, tile, rows.p, cols.p)
    return tile


def _crop(x: Array, y: Array, down: int, right: int) -> Array:
    """The part of images x that overlaps images y, which begin so many pixels before x, or after it if negative."""
    (h, w), (oh, ow) = x.shape[1:3], y.shape[1:3]
    return x[:, max(0, -down) : min(h, oh - down), max(0, -right) : min(w, ow - right)]


def _tap(x: Array, rows: Axis, cols: Axis, p: int, q: int) -> Array:
    """The pixel of each window that lies under one tap, a view (n, OH, OW, C)."""
    return x[:, rows.tap(p), cols.tap(q)]


def _copy_pixels(x: Array, y: Array) -> None:
    """Copy pixels (..., C), whose channels lie side by side, into y."""
    if x.strides[3] == y.strides[3] == x.itemsize:
        pixel = f"V{x.shape[3] * x.itemsize}"
        x, y = x.view(pixel), y.view(pixel)
    y[...] = x


def _combine(ufunc: np.ufunc, tile: Array, rows: Axis, cols: Axis, y: Array) -> None:
    """Combine the pixels under each window: along its rows, then of what is side by side."""
    n, _, w, c = tile.shape
    if rows.k > 1:
        wide = scratch("pool wide", (n, rows.out, w, c), tile.dtype)
        _reduce(ufunc, [tile[:, rows.tap(p)] for p in range(rows.k)], wide)
        tile = wide
    else:
        tile = tile[:, rows.tap(0)]
    if c >= _SHORT and cols.k > 1:
        _reduce(ufunc, [tile[:, :, cols.tap(q)] for q in range(cols.k)], y)
        return
    if cols.k > 1:
        near, size = scratch("pool near", (n, rows.out, w * c), tile.dtype), (w - cols.k + 1) * c
        lines = tile.reshape(n, rows.out, w * c)
        _reduce(ufunc, [lines[..., q * c : q * c + size] for q in range(cols.k)], near[..., :size])
        tile = near.reshape(n, rows.out, w, c)
    _copy_pixels(tile[:, :, cols.tap(0)], y)


def _reduce(ufunc: np.ufunc, parts: list[Array], out: Array) -> None:
    """Combine two arrays or more."""
    ufunc(parts[0], parts[1], out=out)
    for part in parts[2:]:
        ufunc(out, part, out=out)


def _max_gradient(dy: Array, y: Array, x: Array, rows: Axis, cols: Axis, dx: Array) -> None:
    """Write dx: the first tap of each window, in row-major order, that holds the maximum receives dy.

    Numbers are kept or cleared by a mask of bits, because infinity times 0 would be NaN. What is left then belongs to
    windows whose maximum is NaN.
    """
    tile = _tile(x, rows, cols, math.nan)  # which equals no maximum
    dtile, bits = _dtile(dx, rows, cols), f"i{x.itemsize}"
    left, part, pixels = (scratch(f"pool {name}", y.shape, x.dtype) for name in ("left", "part", "pixels"))
    hit, mask = scratch("pool hit", y.shape, np.bool_), scratch("pool mask", y.shape, bits)
    left[...] = dy
    in_place = x.shape[3] >= _SHORT and _apart(rows, cols)
    for p, q in np.ndindex(rows.k, cols.k):
        tap = _tap(tile, rows, cols, p, q)
        if x.shape[3] < _SHORT:
            _copy_pixels(tap, pixels)
            tap = pixels
        np.equal(tap, y, out=hit)
        np.negative(hit.view(np.int8), out=mask)  # all bits, or none
        gain = _tap(dtile, rows, cols, p, q) if in_place else part
        np.bitwise_and(left.view(bits), mask, out=gain.view(bits))
        np.bitwise_xor(left.view(bits), gain.view(bits), out=left.view(bits))
        if not in_place:
            _add_tap(part, dtile, rows, cols, p, q)
    if np.isnan(np.maximum.reduce(y, axis=None)):
        tile = _tile(x, rows, cols, 0.0)
        for p, q in np.ndindex(rows.k, cols.k):
            hit = np.isnan(_tap(tile, rows, cols, p, q)) & np.isnan(y)
            _tap(dtile, rows, cols, p, q)[hit] += left[hit]
            left[hit] = 0
    _from_dtile(dtile, rows, cols, dx)


# Gradients of the tile: the images and the padding that windows touch.


def _dtile(dx: Array, rows: Axis, cols: Axis) -> Array:
    """Memory for the tile's gradient, dx itself without padding; zeros unless exactly one window writes each pixel."""
    (top, bottom), (left, right) = rows.span(), cols.span()
    n, _, _, c = dx.shape
    if not _reaches_over(rows) and not _reaches_over(cols):
        dtile = dx
    else:
        dtile = scratch("pool dtile", (n, bottom - top, right - left, c), dx.dtype)
    if rows.k != rows.s or cols.k != cols.s or dtile.shape[1:3] != (rows.k * rows.out, cols.k * cols.out):
        dtile.fill(0)
    return dtile


def _add_tap(part: Array, dtile: Array, rows: Axis, cols: Axis, p: int, q: int) -> None:
    """Add to the pixel of each window that lies under one tap."""
    target = _tap(dtile, rows, cols, p, q)
    if _apart(rows, cols):
        _copy_pixels(part, target)
    else:
        target += part


def _from_dtile(dtile: Array, rows: Axis, cols: Axis, dx: Array) -> None:
    """Copy the images' part of the tile into dx."""
    if _reaches_over(rows) or _reaches_over(cols):
        dx.fill(0)
        _crop(dx, dtile, rows.p, cols.p)[...] = _crop(dtile, dx, -rows.p, -cols.p)

"""im2col and its adjoint for a tile of images, in NumPy: windows are copied out of one strided view, and added back row
of taps by row of taps, then column by column."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from xpnet.backend import launch
from xpnet.windows import Axis, Tile

__all__ = ["fold", "unroll"]

Array = np.ndarray


def unroll(x: Array, tile: Tile, rows: Axis, cols: Axis, first: int, count: int, out: Array, by_tap: bool) -> None:
    """Lay the pixels under each window of a tile side by side, channels first .. first + count of them.

    Args:
        x: images, (N, H, W, C).
        tile: which windows, P of them: (j - i) * (s - r) * OW.
        rows, cols: how windows lie.
        first, count: channels.
        out: written, (P, KH*KW*count); by tap, of one channel, (KH*KW, P).
    """
    launch(_unroll, x, tile, rows, cols, first, count, out, by_tap)


def _unroll(x: Array, tile: Tile, rows: Axis, cols: Axis, first: int, count: int, out: Array, by_tap: bool) -> None:
    pixels = _padded(x[..., first : first + count], tile, rows, cols)
    n, high = tile.size
    sn, sh, sw, sc = pixels.strides
    if by_tap:
        shape = (rows.k, cols.k, n, high, cols.out)
        strides = (sh * rows.d, sw * cols.d, sn, sh * rows.s, sw * cols.s)
    else:
        shape = (n, high, cols.out, rows.k, cols.k, count)
        strides = (sn, sh * rows.s, sw * cols.s, sh * rows.d, sw * cols.d, sc)
        if cols.d == 1 and sw == count * sc:  # taps of a row lie side by side
            shape, strides = (*shape[:4], cols.k * count), (*strides[:4], sc)
    np.copyto(out.reshape(shape), as_strided(pixels, shape, strides, writeable=False))


def fold(columns: Array, tile: Tile, rows: Axis, cols: Axis, first: int, count: int, dx: Array) -> None:
    """Add the columns of a tile, (P, KH*KW*count), to the pixels of dx (N, H, W, C) that they were unrolled from."""
    launch(_fold, columns, tile, rows, cols, first, count, dx)


def _fold(columns: Array, tile: Tile, rows: Axis, cols: Axis, first: int, count: int, dx: Array) -> None:
    (n, high), run = tile.size, cols.k * count
    (top, bottom), (left, right) = rows.span(tile.r, tile.s), cols.span()
    split = columns.reshape(n, high, cols.out, rows.k, run)
    wide = np.zeros((n, bottom - top, cols.out, run), dtype=columns.dtype)
    for p in range(rows.k):
        wide[:, rows.tap(p, high)] += split[:, :, :, p]
    pixels = np.zeros((n, bottom - top, right - left, count), dtype=columns.dtype)
    if cols.s == cols.d == 1:  # every KW-th window: they lie side by side, so whole windows are added in one run
        for start in range(min(cols.k, cols.out)):
            some = wide[:, :, start :: cols.k]
            stop = start + some.shape[2] * cols.k
            pixels[:, :, start:stop].reshape(some.shape, copy=False)[...] += some
    else:
        for q in range(cols.k):
            pixels[:, :, cols.tap(q)] += wide[..., q * count : (q + 1) * count]
    put, take = _overlap(top, bottom, dx.shape[1]), _overlap(left, right, dx.shape[2])
    dx[tile.i : tile.j, put[1], take[1], first : first + count] += pixels[:, put[0], take[0]]


def _padded(x: Array, tile: Tile, rows: Axis, cols: Axis) -> Array:
    """A tile's images with the pixels that its windows touch, (n, HT, WT, C)."""
    (top, bottom), (left, right) = rows.span(tile.r, tile.s), cols.span()
    images, (_, h, w, c) = tile.place[0], x.shape
    if top >= 0 and left >= 0 and bottom <= h and right <= w:
        return x[images, top:bottom, left:right]
    pixels = np.zeros((tile.j - tile.i, bottom - top, right - left, c), dtype=x.dtype)
    put, take = _overlap(top, bottom, h), _overlap(left, right, w)
    pixels[:, put[0], take[0]] = x[images, put[1], take[1]]
    return pixels


def _overlap(first: int, stop: int, n: int) -> tuple[slice, slice]:
    """Where pixels first .. stop, of which 0 .. n exist, lie on a tile cut at first, and on the image."""
    low = min(max(first, 0), n)
    high = max(low, min(stop, n))
    return slice(low - first, high - first) if high > low else slice(0, 0), slice(low, high)

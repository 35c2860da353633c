"""im2col and its adjoint, compiled: runs of pixels are copied straight from the images, and added straight back.

Places in flat arrays are unsigned: the compiler then knows that none counts from the end, and moves several at once.
"""

from __future__ import annotations

from typing import Any

import numba
from numba import uint64

from xpnet.backend import launch
from xpnet.kernels.numba.compiling import compiled
from xpnet.kernels.numpy.unrolling import Tile

__all__ = ["fold", "unroll"]


def unroll(x: Any, tile: Tile, rows: Any, cols: Any, first: int, count: int, out: Any, by_tap: bool) -> None:
    """Lay the pixels under each window of a tile side by side, as kernels.numpy.unrolling does."""
    slides = (cols.out, rows.k, cols.k, rows.s, cols.s, rows.p, cols.p, rows.d, cols.d)
    if by_tap:
        launch(_unroll_by_tap, x, out, *tile, *slides)
    else:
        launch(_unroll, x, out, *tile, *slides, first, count)


def fold(columns: Any, tile: Tile, rows: Any, cols: Any, first: int, count: int, dx: Any) -> None:
    """Add the columns of a tile to the pixels that they were unrolled from, as kernels.numpy.unrolling does."""
    slides = (cols.out, rows.k, cols.k, rows.s, cols.s, rows.p, cols.p, rows.d, cols.d)
    launch(_fold, columns, dx, *tile, *slides, first, count)


@numba.njit(inline="always")
def _copy(to: Any, at: Any, source: Any, start: Any, run: Any) -> None:
    for t in range(run):
        to[at + t] = source[start + t]


@numba.njit(inline="always")
def _clear(to: Any, at: Any, run: Any) -> None:
    for t in range(run):
        to[at + t] = 0


@numba.njit(inline="always")
def _add(to: Any, at: Any, source: Any, start: Any, run: Any) -> None:
    for t in range(run):
        to[at + t] += source[start + t]


@compiled("T4, T2, i, i, i, i, i, i, i, i, i, i, i, i, i, i, i")
def _unroll(x, out, i, j, r, s, ow, kh, kw, sh, sw, ph, pw, dh, dw, first, count):
    """A window a row, (P, KH*KW*count)."""
    _, h, w, c = x.shape
    pixels, columns = x.reshape(-1), out.reshape(-1)
    side_by_side = dw == 1 and count == c  # the taps of a row of the filter
    run, channels, at = uint64(kw * count), uint64(count), uint64(0)
    for n in range(i, j):
        for q in range(r, s):
            for o in range(ow):
                left = o * sw - pw
                whole = side_by_side and left >= 0 and left + kw <= w
                for u in range(kh):
                    row = q * sh - ph + u * dh
                    if row < 0 or row >= h:
                        _clear(columns, at, run)
                        at += run
                    elif whole:
                        _copy(columns, at, pixels, uint64(((n * h + row) * w + left) * c), run)
                        at += run
                    else:
                        for v in range(kw):
                            col = left + v * dw
                            if col < 0 or col >= w:
                                _clear(columns, at, channels)
                            else:
                                _copy(columns, at, pixels, uint64(((n * h + row) * w + col) * c + first), channels)
                            at += channels


@compiled("T4, T2, i, i, i, i, i, i, i, i, i, i, i, i, i")
def _unroll_by_tap(x, out, i, j, r, s, ow, kh, kw, sh, sw, ph, pw, dh, dw):
    """A tap a row, (KH*KW, P), of one channel; along a row of windows the pixels are sw = 1 apart."""
    _, h, w, _ = x.shape
    pixels, columns = x.reshape(-1), out.reshape(-1)
    at = 0
    for u in range(kh):
        for v in range(kw):
            left = v * dw - pw
            begin = min(ow, max(0, -left))  # windows begin .. end have this tap on the image
            end = max(begin, min(ow, w - left))
            for n in range(i, j):
                for q in range(r, s):
                    row = q * sh - ph + u * dh
                    if row < 0 or row >= h:
                        _clear(columns, uint64(at), uint64(ow))
                    else:
                        _clear(columns, uint64(at), uint64(begin))
                        start = (n * h + row) * w + begin + left
                        _copy(columns, uint64(at + begin), pixels, uint64(start), uint64(end - begin))
                        _clear(columns, uint64(at + end), uint64(ow - end))
                    at += ow


@compiled("T2, T4, i, i, i, i, i, i, i, i, i, i, i, i, i, i, i")
def _fold(columns, dx, i, j, r, s, ow, kh, kw, sh, sw, ph, pw, dh, dw, first, count):
    """Add (P, KH*KW*count) to images."""
    _, h, w, c = dx.shape
    pixels, source = dx.reshape(-1), columns.reshape(-1)
    side_by_side = dw == 1 and count == c
    run, channels, at = uint64(kw * count), uint64(count), uint64(0)
    for n in range(i, j):
        for q in range(r, s):
            for o in range(ow):
                left = o * sw - pw
                whole = side_by_side and left >= 0 and left + kw <= w
                for u in range(kh):
                    row = q * sh - ph + u * dh
                    if row >= 0 and row < h:
                        if whole:
                            _add(pixels, uint64(((n * h + row) * w + left) * c), source, at, run)
                        else:
                            for v in range(kw):
                                col = left + v * dw
                                if col >= 0 and col < w:
                                    here = uint64(((n * h + row) * w + col) * c + first)
                                    _add(pixels, here, source, at + uint64(v) * channels, channels)
                    at += run

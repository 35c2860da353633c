"""conv2d with compiled loops: runs of pixels are copied directly from the images into columns, and added back."""

from __future__ import annotations

import numba

from xpnet.backend import as_contiguous, launch
from xpnet.kernels import register
from xpnet.kernels.numba.activation import act_grad, bias_act
from xpnet.kernels.numba.compiling import FLOATS, compiled
from xpnet.kernels.numba.runs import at, clear, copy
from xpnet.kernels.numpy.arrays import Array, Result
from xpnet.kernels.numpy.conv import Loops, convolve
from xpnet.windows import Axis, Tile

__all__ = ["conv2d", "fold", "unroll"]


@register("conv2d", "numba", recordable=True)
def conv2d(
    x: Array, w: Array, b: Array | None, rows: Axis, cols: Axis, groups: int, flip: bool, budget: int,
    activation: str | None,
) -> Result:  # fmt: skip
    """Convolve as ops.conv2d does, in float32 and float64."""
    if x.dtype not in FLOATS:
        return NotImplemented
    return convolve(_LOOPS, as_contiguous(x), w, b, rows, cols, groups, flip, budget, activation)


def unroll(x: Array, tile: Tile, rows: Axis, cols: Axis, first: int, count: int, out: Array, by_tap: bool) -> None:
    """Lay the pixels under each window of a tile side by side, as kernels.numpy.conv does."""
    slides = (cols.out, rows.k, cols.k, rows.s, cols.s, rows.p, cols.p, rows.d, cols.d)
    if by_tap:
        launch(_unroll_by_tap, x, out, *tile, *slides)
    else:
        launch(_unroll, x, out, *tile, *slides, first, count)


def fold(columns: Array, tile: Tile, rows: Axis, cols: Axis, first: int, count: int, dx: Array) -> None:
    """Add the columns of a tile to the pixels that they were unrolled from, as kernels.numpy.conv does."""
    slides = (cols.out, rows.k, cols.k, rows.s, cols.s, rows.p, cols.p, rows.d, cols.d)
    launch(_fold, columns, dx, *tile, *slides, first, count)


_LOOPS = Loops(unroll, fold, bias_act, act_grad)


@numba.njit(inline="always")
def _add(y, b, x, a, run):
    """Add a run of x from a on to y from b on."""
    for t in range(run):
        y[b + t] += x[a + t]


@compiled("T4, T2, i, i, i, i, i, i, i, i, i, i, i, i, i, i, i")
def _unroll(x, out, i, j, r, s, ow, kh, kw, sh, sw, ph, pw, dh, dw, first, count):
    """A window a row, (P, KH*KW*count)."""
    _, h, w, c = x.shape
    pixels, columns = x.reshape(-1), out.reshape(-1)
    side_by_side = dw == 1 and count == c  # the taps of a row of the filter
    run, channels, place = at(kw * count), at(count), at(0)
    for n in range(i, j):
        for q in range(r, s):
            for o in range(ow):
                left = o * sw - pw
                whole = side_by_side and left >= 0 and left + kw <= w
                for u in range(kh):
                    row = q * sh - ph + u * dh
                    if row < 0 or row >= h:
                        clear(columns, place, run)
                        place += run
                    elif whole:
                        copy(columns, place, pixels, at(((n * h + row) * w + left) * c), run)
                        place += run
                    else:
                        for v in range(kw):
                            col = left + v * dw
                            if col < 0 or col >= w:
                                clear(columns, place, channels)
                            else:
                                copy(columns, place, pixels, at(((n * h + row) * w + col) * c + first), channels)
                            place += channels


@compiled("T4, T2, i, i, i, i, i, i, i, i, i, i, i, i, i")
def _unroll_by_tap(x, out, i, j, r, s, ow, kh, kw, sh, sw, ph, pw, dh, dw):
    """A tap a row, (KH*KW, P), of one channel; along a row of windows the pixels are sw = 1 apart."""
    _, h, w, _ = x.shape
    pixels, columns = x.reshape(-1), out.reshape(-1)
    place = 0
    for u in range(kh):
        for v in range(kw):
            left = v * dw - pw
            begin = min(ow, max(0, -left))  # windows begin .. end have this tap on the image
            end = max(begin, min(ow, w - left))
            for n in range(i, j):
                for q in range(r, s):
                    row = q * sh - ph + u * dh
                    if row < 0 or row >= h:
                        clear(columns, at(place), at(ow))
                    else:
                        clear(columns, at(place), at(begin))
                        start = (n * h + row) * w + begin + left
                        copy(columns, at(place + begin), pixels, at(start), at(end - begin))
                        clear(columns, at(place + end), at(ow - end))
                    place += ow


@compiled("T2, T4, i, i, i, i, i, i, i, i, i, i, i, i, i, i, i")
def _fold(columns, dx, i, j, r, s, ow, kh, kw, sh, sw, ph, pw, dh, dw, first, count):
    """Add (P, KH*KW*count) to images."""
    _, h, w, c = dx.shape
    pixels, source = dx.reshape(-1), columns.reshape(-1)
    side_by_side = dw == 1 and count == c
    run, channels, place = at(kw * count), at(count), at(0)
    for n in range(i, j):
        for q in range(r, s):
            for o in range(ow):
                left = o * sw - pw
                whole = side_by_side and left >= 0 and left + kw <= w
                for u in range(kh):
                    row = q * sh - ph + u * dh
                    if row >= 0 and row < h:
                        if whole:
                            _add(pixels, at(((n * h + row) * w + left) * c), source, place, run)
                        else:
                            for v in range(kw):
                                col = left + v * dw
                                if col >= 0 and col < w:
                                    here = at(((n * h + row) * w + col) * c + first)
                                    _add(pixels, here, source, place + at(v) * channels, channels)
                    place += run

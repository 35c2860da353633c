"""max_pool2d for NumPy, compiled: one pass over the images each way.

Loops use unsigned indices of flat arrays: these need no check for negative values, so the loops over channels are
vectorized. Channels fewer than a vector holds are copied by eights into rows in which the numbers of all windows are
adjacent, and back.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.extending import intrinsic

from xpnet.backend import as_contiguous, empty, launch, split
from xpnet.kernels import register
from xpnet.kernels.numba.compiling import FLOATS, compiled
from xpnet.kernels.numba.runs import at, eight
from xpnet.kernels.numpy.arrays import Array, Gradients, Needs, Result
from xpnet.windows import Axis

__all__ = ["max_pool2d"]

_EACH = 1 << 16  # numbers of x that a thread should have at least
_FEW = range(4, 16)  # channels that are copied by eights


@register("max_pool2d", "numba", recordable=True)
def max_pool2d(x: Array, rows: Axis, cols: Axis) -> Result:
    """Pool as ops.max_pool2d does; rows and cols are the windows laid by the op."""
    if x.dtype not in FLOATS or not x.size:
        return NotImplemented
    n, h, w, c = x.shape
    in_pairs = c in _FEW and all(a.k == a.s == 2 and not a.p and 2 * a.out <= a.n for a in (rows, cols))
    laid = (h, w, c, rows.out, rows.k, rows.s, rows.p, cols.out, cols.k, cols.s, cols.p)
    y = empty((n, rows.out, cols.out, c), x.dtype)
    flat, peaks = as_contiguous(x).reshape(-1), y.reshape(-1)

    def forward(start: int, stop: int) -> None:
        if in_pairs:
            _max_of_pairs(flat, peaks, start, stop, h, w, c)
        else:
            _max_of_rows(flat, peaks, start, stop, *laid)

    launch(split, n * rows.out, -(-_EACH // (rows.s * w * c)), forward)

    def vjp(dy: Array, needs: Needs) -> Gradients:
        if not needs[0]:
            return (None,)
        dx = empty((n, h, w, c), y.dtype)
        arrays = flat, peaks, as_contiguous(dy).reshape(-1), dx.reshape(-1)

        def backward(start: int, stop: int) -> None:
            if in_pairs:
                _max_of_pairs_back(*arrays, start, stop, h, w, c)
            else:
                _max_of_rows_back(*arrays, start, stop, *laid)

        launch(split, n, -(-_EACH // (h * w * c)), backward)
        return (dx,)

    return y, vjp


def _select(_: Any, condition: Any, a: Any, b: Any) -> Any:
    return a(numba.boolean, a, b), lambda context, builder, signature, arguments: builder.select(*arguments)


_choose: Any = intrinsic(_select)  # a if condition else b without a jump, which would prevent vectorization


@numba.njit
def _larger(a: Any, b: Any) -> Any:
    """The larger number, or a NaN."""
    return _choose(a != a, a, _choose(a > b, a, b))


@numba.njit
def _holds(a: Any, most: Any) -> Any:
    """Whether a number is the maximum of its window: equal to it, or a NaN."""
    return (a == most) | (a != a)


# Any windows.


@compiled("T1, T1, i, i, i, i, i, i, i, i, i, i, i, i, i")
def _max_of_rows(x, y, start, stop, h, w, c, oh, kh, sh, ph, ow, kw, sw, pw):
    """Rows start .. stop-1 of y (N*OH, OW*C): of KH rows of x first, (W*C), then of KW pixels; three at a time."""
    line, each = at(w * c), at(c)
    wide = np.empty(line, x.dtype)
    for i in range(start, stop):
        first, last = max(i % oh * sh - ph, 0), min(i % oh * sh - ph + kh, h) - 1
        image = i // oh * h
        p, q = at(image + first) * line, at(image + min(first + 1, last)) * line
        r = at(image + min(first + 2, last)) * line
        for k in range(line):
            wide[k] = _larger(_larger(x[p + k], x[q + k]), x[r + k])
        for tap in range(first + 3, last + 1):
            p = at(image + tap) * line
            for k in range(line):
                wide[k] = _larger(wide[k], x[p + k])
        for j in range(ow):
            first, last = max(j * sw - pw, 0), min(j * sw - pw + kw, w) - 1
            out = at(i * ow + j) * each
            p, q, r = at(first) * each, at(min(first + 1, last)) * each, at(min(first + 2, last)) * each
            for k in range(each):
                y[out + k] = _larger(_larger(wide[p + k], wide[q + k]), wide[r + k])
            for tap in range(first + 3, last + 1):
                p = at(tap) * each
                for k in range(each):
                    y[out + k] = _larger(y[out + k], wide[p + k])


@compiled("T1, T1, T1, T1, i, i, i, i, i, i, i, i, i, i, i, i, i")
def _max_of_rows_back(x, y, dy, dx, start, stop, h, w, c, oh, kh, sh, ph, ow, kw, sw, pw):
    """dx of images start .. stop-1: the first tap, in row-major order, that holds the maximum receives dy."""
    line, each, run = at(w * c), at(c), at(ow * c)
    zero = x.dtype.type(0)
    apart = kh <= sh and kw <= sw
    tiled = apart and kh == sh and kw == sw and oh * kh == h and ow * kw == w and not ph and not pw
    left = np.empty(run, x.dtype)
    for n in range(start, stop):
        cleared = 0
        for i in range(oh):
            low, high = max(i * sh - ph, 0), min(i * sh - ph + kh, h)
            until = h if i + 1 == oh else max(high, cleared)
            if not tiled:
                for k in range(at(n * h + cleared) * line, at(n * h + until) * line):
                    dx[k] = zero
            cleared = until
            row = at(n * oh + i) * run
            for k in range(run):
                left[k] = dy[row + k]
            for r in range(low, high):
                for j in range(ow):
                    mine = at(j) * each
                    own = row + mine
                    for s in range(max(j * sw - pw, 0), min(j * sw - pw + kw, w)):
                        place = at(n * h + r) * line + at(s) * each
                        if apart:
                            for k in range(each):
                                hit = _holds(x[place + k], y[own + k])
                                share = left[mine + k]
                                dx[place + k] = _choose(hit, share, zero)
                                left[mine + k] = _choose(hit, zero, share)
                        else:
                            for k in range(each):
                                hit = _holds(x[place + k], y[own + k])
                                share = left[mine + k]
                                dx[place + k] += _choose(hit, share, zero)
                                left[mine + k] = _choose(hit, zero, share)


# Disjoint windows of 2 x 2, of few channels.


@numba.njit
def _deal(x, a, x_step, y, b, y_step, n, c):
    """Copy n runs of c numbers, the steps apart; beyond each run but the last up to eight numbers more are copied."""
    for j in range(n - at(1)):
        for k in range(at(0), c, at(8)):
            eight(x, a + j * x_step + k, y, b + j * y_step + k)
    last = n - at(1)
    for k in range(c):
        y[b + last * y_step + k] = x[a + last * x_step + k]


@compiled("T1, T1, i, i, i, i, i")
def _max_of_pairs(x, y, start, stop, h, w, c):
    """Rows start .. stop-1 of y (N*OH, OW*C)."""
    oh, ow, line, each = h // 2, at(w // 2), at(w * c), at(c)
    wide = np.empty(line, x.dtype)  # the maximum of four pixels at each, of which every other is a window's
    for i in range(start, stop):
        a = at(i // oh * h + i % oh * 2) * line
        b = a + line
        for k in range(line - each):
            wide[k] = _larger(_larger(x[a + k], x[a + each + k]), _larger(x[b + k], x[b + each + k]))
        _deal(wide, at(0), each + each, y, at(i) * ow * each, each, ow, each)


@compiled("T1, T1, T1, T1, i, i, i, i, i")
def _max_of_pairs_back(x, y, dy, dx, start, stop, h, w, c):
    """dx of images start .. stop-1."""
    oh, ow, line, each, one, two = h // 2, at(w // 2), at(w * c), at(c), at(1), at(2)
    run, last, zero = ow * each, ow - one, x.dtype.type(0)
    taps, gains = np.empty(run + at(8), x.dtype), np.empty(two * run + at(8), x.dtype)
    left = np.empty(run, x.dtype)
    for i in range(start * oh, stop * oh):
        row = at(i) * run
        for k in range(run):
            left[k] = dy[row + k]
        for r in range(2):
            a = at(i // oh * h + i % oh * 2 + r) * line
            for s in range(two):
                _deal(x, a + s * each, two * each, taps, at(0), each, ow, each)
                mine = s * run
                for k in range(run):
                    hit = _holds(taps[k], y[row + k])
                    gains[mine + k] = _choose(hit, left[k], zero)
                    left[k] = _choose(hit, zero, left[k])
            for j in range(last):  # pixel by pixel, so that surplus numbers are overwritten
                for s in range(two):
                    for k in range(at(0), each, at(8)):
                        eight(gains, s * run + j * each + k, dx, a + (two * j + s) * each + k)
            for s in range(two):
                for k in range(each):
                    dx[a + (two * last + s) * each + k] = gains[s * run + last * each + k]
            for k in range(two * run, line):
                dx[a + k] = zero
        if i % oh + 1 == oh and h % 2:
            a = at(i // oh * h + h - 1) * line
            for k in range(line):
                dx[a + k] = zero

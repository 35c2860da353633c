"""batch_norm and moments for NumPy arrays, compiled: one pass over memory for the sums, one for the results.

Sums are of segments of a fixed length, added in order: the same bits on any number of cores.
"""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np

from xpnet.backend import as_contiguous, empty, launch, split
from xpnet.kernels import register
from xpnet.kernels.numba.compiling import FLOATS, compiled
from xpnet.kernels.numpy.arrays import Array, Gradients, Needs, Result

__all__ = ["batch_norm", "moments"]

_SEGMENT = 1 << 18  # numbers summed at a time, and that a thread should have at least
_NEAR = 1 << 13  # numbers that stay in the L1 cache between a pass for their mean and one for their variance
_SUMMED = 64  # rows of lanes that are summed in the arrays' precision; the sums of these, in float64
_LANES = 256  # shorter rows are worked on together


@register("moments", "numba", recordable=True)
def moments(x: Array) -> tuple[Array, Array]:
    """Measure as ops.moments does; one pass over memory."""
    if x.dtype not in FLOATS or not x.size:
        return NotImplemented
    flat, columns = as_contiguous(x).reshape(-1), x.shape[-1]
    rows, count, step = x.size // columns, _segments(x), max(1, _SEGMENT // columns)
    mean, var = empty((columns,), x.dtype), empty((columns,), x.dtype)

    def measure() -> None:
        if count == 1:
            _moments(flat, mean, var)
            np.divide(var, rows, var)
            return
        means, squares = (np.empty((count, columns), x.dtype) for _ in range(2))
        _in_segments(x, lambda i, run: _moments(flat[run], means[i], squares[i]))
        sizes = np.array([[min(step, rows - i * step)] for i in range(count)], np.float64)
        middle = np.add.reduce(means * sizes, axis=0) / rows
        mean[...] = middle
        var[...] = np.add.reduce(squares + sizes * (means - middle) ** 2, axis=0) / rows

    launch(measure)
    return mean, var


@register("batch_norm", "numba", recordable=True)
def batch_norm(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float, training: bool) -> Result:
    """Normalize as ops.batch_norm does."""
    if x.dtype not in FLOATS or mean.dtype != x.dtype or not x.size:
        return NotImplemented
    flat, columns = as_contiguous(x).reshape(-1), x.shape[-1]
    mean, shift, none = as_contiguous(mean), as_contiguous(beta), np.zeros(columns, x.dtype)
    inverse, scale, y = empty((columns,), x.dtype), empty((columns,), x.dtype), empty(x.shape, x.dtype)
    out = y.reshape(-1)

    def forward() -> None:
        inverse[...] = 1.0 / np.sqrt(var + eps)
        np.multiply(gamma, inverse, scale)
        _in_segments(x, lambda _, run: _affine(flat[run], mean, scale, shift, out[run]))

    launch(forward)

    def vjp(dy: Array, needs: Needs) -> Gradients:
        given, sums = as_contiguous(dy).reshape(-1), empty((2, columns), x.dtype)
        dgamma, dbeta = sums

        def sum_up() -> None:
            each = np.empty((2, _segments(x), columns), x.dtype)
            _in_segments(x, lambda i, run: _sums(flat[run], given[run], mean, inverse, each[0, i], each[1, i]))
            sums[...] = np.add.reduce(each, axis=1, dtype=np.float64)

        def back() -> None:
            if training:
                rows = x.size // columns
                level, slope = scale * (dbeta / rows), inverse * scale * (dgamma / rows)
                _in_segments(x, lambda _, run: _back(flat[run], given[run], mean, scale, level, slope, into[run]))
            else:
                _in_segments(x, lambda _, run: _affine(given[run], none, scale, none, into[run]))

        if needs[1] or needs[2] or training:
            launch(sum_up)
        dx = None
        if needs[0]:
            dx = empty(x.shape, x.dtype)
            into = dx.reshape(-1)
            launch(back)
        return dx, dgamma if needs[1] else None, dbeta if needs[2] else None, None, None

    return y, vjp


def _segments(x: Array) -> int:
    columns = x.shape[-1]
    return -(-(x.size // columns) // max(1, _SEGMENT // columns))


def _in_segments(x: Array, work: Callable[[int, slice], None]) -> None:
    """Call work(i, slice) for each segment of whole rows of x, (..., C), the slice of flat arrays."""
    long, count = max(1, _SEGMENT // x.shape[-1]) * x.shape[-1], _segments(x)

    def some(first: int, last: int) -> None:
        for i in range(first, last):
            work(i, slice(i * long, (i + 1) * long))

    if count == 1:
        work(0, slice(None))
    else:
        split(count, 1, some)


# The loops, over flat arrays of whole rows and vectors of a number a column.


@numba.njit(nogil=True, error_model="numpy")
def _fold(x, columns):
    """How many rows are worked on together."""
    return max(1, min(_LANES // columns, len(x) // columns))


@numba.njit(nogil=True, error_model="numpy")
def _repeat(v, fold):
    wide = np.empty(fold * len(v), v.dtype)
    for row in range(fold):
        wide[row * len(v) : (row + 1) * len(v)] = v
    return wide


@compiled("T1, T1, T1")
def _moments(x, mean, squares):
    """Means, and sums of squares about them, combined from those of pieces, each about the mean of the piece."""
    columns, f = len(mean), x.dtype.type
    fold = _fold(x, columns)
    width = fold * columns
    total, wide = np.empty(width, x.dtype), np.empty(width, x.dtype)
    long, done = max(1, _NEAR // width) * width, 0.0
    middle, spread = np.zeros(columns), np.zeros(columns)
    for first in range(0, len(x), long):
        piece = x[first : first + long]
        n = len(piece) // columns
        total[:] = f(0)
        for start in range(0, len(piece), width):
            few = piece[start : start + width]
            for i in range(len(few)):
                total[i] += few[i]
        exact = _column_means(total, columns, n)
        for row in range(fold):
            for c in range(columns):
                wide[row * columns + c] = exact[c]
        total[:] = f(0)
        for start in range(0, len(piece), width):
            few = piece[start : start + width]
            for i in range(len(few)):
                d = few[i] - wide[i]
                total[i] += d * d
        for c in range(columns):
            about = 0.0
            for row in range(fold):
                about += total[row * columns + c]
            off = exact[c] - wide[c]
            delta = exact[c] - middle[c]
            middle[c] += delta * n / (done + n)
            spread[c] += max(0.0, about - n * off * off) + delta * delta * done * n / (done + n)
        done += n
    for c in range(columns):
        mean[c] = middle[c]
        squares[c] = spread[c]


@numba.njit(nogil=True, error_model="numpy")
def _column_means(total, columns, n):
    exact = np.zeros(columns)
    for start in range(0, len(total), columns):
        exact += total[start : start + columns]
    return exact / n


@compiled("T1, T1, T1, T1, T1")
def _affine(x, mean, scale, shift, y):
    fold = _fold(x, len(scale))
    centre, a, b = _repeat(mean, fold), _repeat(scale, fold), _repeat(shift, fold)
    for start in range(0, len(x), len(a)):
        some, out = x[start : start + len(a)], y[start : start + len(a)]
        for i in range(len(some)):
            out[i] = (some[i] - centre[i]) * a[i] + b[i]


@compiled("T1, T1, T1, T1, T1, T1")
def _sums(x, dy, mean, inverse, dgamma, dbeta):
    columns, zero = len(mean), x.dtype.type(0)
    fold = _fold(x, columns)
    centre, rate = _repeat(mean, fold), _repeat(inverse, fold)
    width = fold * columns
    with_normal, plain = np.empty(width, x.dtype), np.empty(width, x.dtype)
    exact, level = np.zeros(width), np.zeros(width)
    for first in range(0, len(x), _SUMMED * width):
        with_normal[:] = zero
        plain[:] = zero
        for start in range(first, min(len(x), first + _SUMMED * width), width):
            some, d = x[start : start + width], dy[start : start + width]
            for i in range(len(some)):
                with_normal[i] += d[i] * ((some[i] - centre[i]) * rate[i])
            for i in range(len(d)):  # a second loop: with so many arrays LLVM would not vectorize the one above
                plain[i] += d[i]
        exact += with_normal
        level += plain
    for c in range(columns):
        dgamma[c] = exact[c::columns].sum()
        dbeta[c] = level[c::columns].sum()


@compiled("T1, T1, T1, T1, T1, T1, T1")
def _back(x, dy, mean, scale, level, slope, dx):
    fold = _fold(x, len(mean))
    centre, a, b, c = _repeat(mean, fold), _repeat(scale, fold), _repeat(level, fold), _repeat(slope, fold)
    for start in range(0, len(x), len(a)):
        stop = start + len(a)
        some, d, out = x[start:stop], dy[start:stop], dx[start:stop]
        for i in range(len(some)):
            out[i] = d[i] * a[i] - (b[i] + (some[i] - centre[i]) * c[i])

"""Activations for NumPy arrays, compiled: the bias and ReLU after a product in one pass, their gradients in another.

``bias_act`` and ``act_grad`` follow the products of linear and conv2d. Activations with an exponential are left to
NumPy, which computes several at a time.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from xpnet.backend import as_contiguous, empty, launch, split
from xpnet.kernels import register
from xpnet.kernels.numba.compiling import FLOATS, compiled
from xpnet.kernels.numpy import activation as plain
from xpnet.kernels.numpy.activation import FUSED
from xpnet.kernels.numpy.arrays import Array, Gradients, Needs, Result

__all__ = ["FUSED", "act_grad", "bias_act"]


_SUMMED = 64  # rows that are summed in the arrays' precision; the sums of these, in float64
_CHUNK = 1 << 18  # numbers that a thread should have at least, and that are summed at a time
_LANES = 256  # shorter rows are worked on together


def bias_act(z: Array, b: Array | None, activation: str | None) -> None:
    """Add a bias to the rows of z and apply an activation, in place: see kernels.numpy.activation.bias_act."""
    if z.dtype not in FLOATS or not z.flags.carray or (b is None and activation is None):
        plain.bias_act(z, b, activation)
        return
    if b is None:
        _each(_relu, (z, z))
        return
    b, cut = as_contiguous(b), int(activation == "relu")
    columns = max(1, len(b))
    if z.size < 2 * _CHUNK:
        launch(_add_bias, z.reshape(-1), b, cut)
    else:

        def part(first: int, last: int) -> None:
            _add_bias(z[first:last].reshape(-1), b, cut)

        launch(split, len(z), max(1, _CHUNK // columns), part)


def act_grad(dy: Array, y: Array, activation: str | None, db: Array | None) -> Array:
    """Return the gradient before an activation, and its sums in db: see kernels.numpy.activation.act_grad.

    Sums are of segments of a fixed length, added in order: the same bits on any number of cores.
    """
    if dy.dtype not in FLOATS or (db is None and activation is None):
        return plain.act_grad(dy, y, activation, db)
    rows, columns = dy.shape
    flat, dz, out, kept = as_contiguous(dy).reshape(-1), dy, None, None
    if activation is not None:
        dz = empty(dy.shape, dy.dtype)
        out, kept = dz.reshape(-1), as_contiguous(y).reshape(-1)
    step = max(1, _CHUNK // max(1, columns))
    if rows <= step:
        _back(flat, kept, out, db)
        return dz
    count = -(-rows // step)
    parts = None if db is None else empty((count, columns), dy.dtype)

    def work(first: int, last: int) -> None:
        for i in range(first, last):
            run = slice(i * step * columns, (i + 1) * step * columns)
            sums = None if parts is None else parts[i]
            if out is None or kept is None:
                _back(flat[run], None, None, sums)
            else:
                _back(flat[run], kept[run], out[run], sums)

    launch(split, count, 1, work)
    if parts is not None:
        launch(plain.column_sums, parts, db)
    return dz


def _back(dy: Array, y: Array | None, dz: Array | None, db: Array | None) -> None:
    if y is None:
        launch(_sum, dy, db)
    elif db is None:
        launch(_relu_gradient, dy, y, dz)
    else:
        launch(_relu_gradient_and_sum, dy, y, dz, db)


@register("relu", "numba", recordable=True)
def relu(x: Array) -> Result:
    """Keep what is positive, as ops.relu does."""
    if x.dtype not in FLOATS:
        return NotImplemented
    y = empty(x.shape, x.dtype)
    _each(_relu, (as_contiguous(x), y))

    def vjp(dy: Array, needs: Needs) -> Gradients:
        if not needs[0]:
            return (None,)
        dx = empty(dy.shape, dy.dtype)
        _each(_relu_gradient, (as_contiguous(dy), y, dx))
        return (dx,)

    return y, vjp


@register("leaky_relu", "numba", recordable=True)
def leaky_relu(x: Array, slope: float) -> Result:
    """Keep what is positive, and a little of what is not, as ops.leaky_relu does."""
    if x.dtype not in FLOATS:
        return NotImplemented
    kept, y = as_contiguous(x), empty(x.shape, x.dtype)
    slope = float(slope)
    _each(_leak, (kept, kept, y), slope)

    def vjp(dy: Array, needs: Needs) -> Gradients:
        if not needs[0]:
            return (None,)
        dx = empty(dy.shape, dy.dtype)
        _each(_leak, (as_contiguous(dy), kept, dx), slope)
        return (dx,)

    return y, vjp


def _each(loop: Any, arrays: tuple[Array, ...], *numbers: float) -> None:
    """Run an element-wise loop over arrays of one shape, on several cores where they are large."""
    flat = [a.reshape(-1) for a in arrays]
    size = flat[0].size
    if size < 2 * _CHUNK:
        launch(loop, *flat, *numbers)
    else:
        launch(split, size, _CHUNK, lambda first, last: loop(*(a[first:last] for a in flat), *numbers))


# The loops, on flat arrays. Those with one number a column work on about LANES numbers of rows at once, so that short
# rows fill the vector registers too.


@compiled("T1, T1, i")
def _add_bias(z, b, cut):
    zero, columns = z.dtype.type(0), max(1, len(b))
    fold = max(1, min(_LANES // columns, len(z) // columns))
    wide = np.empty(fold * columns, z.dtype)
    for row in range(fold):
        wide[row * columns : (row + 1) * columns] = b
    for start in range(0, len(z), fold * columns):
        part = z[start : start + fold * columns]
        if cut:
            for i in range(len(part)):
                v = part[i] + wide[i]
                part[i] = zero if v <= zero else v  # NaN stays
        else:
            for i in range(len(part)):
                part[i] += wide[i]


@compiled("T1, T1")
def _relu(x, y):
    zero = x.dtype.type(0)
    for i in range(len(x)):
        v = x[i]
        y[i] = zero if v <= zero else v


@compiled("T1, T1, T1")
def _relu_gradient(dy, y, dz):
    zero = dy.dtype.type(0)
    for i in range(len(dy)):
        v = dy[i]
        dz[i] = v if y[i] > zero else zero


@numba.njit(nogil=True, error_model="numpy")
def _add_rows(total, out):
    columns = len(out)
    for c in range(columns):
        s = 0.0
        for i in range(c, len(total), columns):
            s += total[i]
        out[c] = s


@compiled("T1, T1, T1, T1")
def _relu_gradient_and_sum(dy, y, dz, db):
    zero, columns = dy.dtype.type(0), max(1, len(db))
    fold = max(1, min(_LANES // columns, len(dy) // columns))
    width = fold * columns
    part, total = np.empty(width, dy.dtype), np.zeros(width)
    for first in range(0, len(dy), _SUMMED * width):
        part[:] = zero
        for start in range(first, min(len(dy), first + _SUMMED * width), width):
            stop = start + width
            d, k, out = dy[start:stop], y[start:stop], dz[start:stop]
            for i in range(len(d)):
                v = d[i]
                v = v if k[i] > zero else zero
                out[i] = v
                part[i] += v
        total += part
    _add_rows(total, db)


@compiled("T1, T1")
def _sum(x, out):
    columns = max(1, len(out))
    fold = max(1, min(_LANES // columns, len(x) // columns))
    width = fold * columns
    part, total = np.empty(width, x.dtype), np.zeros(width)
    for first in range(0, len(x), _SUMMED * width):
        part[:] = x.dtype.type(0)
        for start in range(first, min(len(x), first + _SUMMED * width), width):
            some = x[start : start + width]
            for i in range(len(some)):
                part[i] += some[i]
        total += part
    _add_rows(total, out)


@compiled("T1, T1, T1, d")
def _leak(x, kept, y, slope):
    zero, one, rate = x.dtype.type(0), x.dtype.type(1), x.dtype.type(slope)
    for i in range(len(x)):
        y[i] = x[i] * (one if kept[i] > zero else rate)

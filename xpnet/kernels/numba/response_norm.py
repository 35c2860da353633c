"""local_response_norm for NumPy, compiled: one pass over the images each way, squares and their sums kept in the cache.

    y = x / d^beta,  d = k + rate * (sum of x^2 over the neighbours)
    dx = dy / d^beta - 2 * rate * beta * x * (sum of dy * x / d^(beta + 1) over all whose neighbour x is)

Numbers that lie side by side in memory (a run: a pixel's channels, or within a channel a row of pixels) are laid into a
block with as many zeros between runs as windows reach: then windows over a whole block are sums of shifted copies.
"""

from __future__ import annotations

import numba
import numpy as np

from xpnet.backend import as_contiguous, empty, launch, split
from xpnet.kernels import register
from xpnet.kernels.numba.compiling import FLOATS, compiled
from xpnet.kernels.numba.runs import at
from xpnet.kernels.numpy.arrays import Array, Gradients, Needs, Result

__all__ = ["local_response_norm"]

_EACH = 1 << 14  # numbers that a thread should have at least
_BLOCK = 1 << 11  # numbers that the first cache holds, with their squares and sums


@register("local_response_norm", "numba", recordable=True)
def local_response_norm(x: Array, size: int, alpha: float, beta: float, k: float, region: str, average: bool) -> Result:
    """Divide as ops.local_response_norm does."""
    if x.dtype not in FLOATS or not x.size:
        return NotImplemented
    n, h, w, c = x.shape
    before, after = size // 2, (size - 1) // 2
    if region == "across":
        runs, run, stride, steps = n * h * w, c, c + size - 1, (1, 0)
        rate, block = alpha / size if average else alpha, max(1, min(runs, _BLOCK // stride))
    else:  # a block is an image
        runs, run, stride, steps = n * h, w * c, (w + size - 1) * c, (c, (w + size - 1) * c)
        rate, block = alpha / size**2 if average else alpha, h
    # the window of the number at place i of the sums begins at i - offset of the squares; likewise backward
    offset, offset_back = before * sum(steps), after * sum(steps)
    laid = run, stride, block, size, *steps
    power = float(rate), float(k), float(beta)
    flat, y = as_contiguous(x).reshape(-1), empty(x.shape, x.dtype)
    flat_y, blocks = y.reshape(-1), -(-runs // block)
    least = -(-_EACH // (block * run))

    def forward(start: int, stop: int) -> None:
        _respond(flat, flat_y, start * block, min(stop * block, runs), *laid, offset, *power)

    launch(split, blocks, least, forward)

    def vjp(dy: Array, needs: Needs) -> Gradients:
        if not needs[0]:
            return (None,)
        dx = empty((n, h, w, c), y.dtype)
        arrays = flat, as_contiguous(dy).reshape(-1), dx.reshape(-1)

        def backward(start: int, stop: int) -> None:
            _respond_back(*arrays, start * block, min(stop * block, runs), *laid, offset, offset_back, *power)

        launch(split, blocks, least, backward)
        return (dx,)

    return y, vjp


@numba.njit
def _add_up(x, sums, n, taps, step):
    """sums[i] = x[i] + x[i + step] + ... of as many taps, for n numbers."""
    if taps == 5:
        a, b, c, d = step, step + step, step * at(3), step * at(4)
        for i in range(n):
            sums[i] = x[i] + x[i + a] + x[i + b] + x[i + c] + x[i + d]
        return
    for i in range(n):
        sums[i] = x[i]
    for tap in range(1, taps):
        a = at(tap) * step
        for i in range(n):
            sums[i] += x[i + a]


@numba.njit
def _sums_of_squares(x, squares, wide, sums, first, count, run, stride, offset, taps, step, step2):
    """Sums over the windows of runs first .. first+count-1, a stride apart in what is returned."""
    for p in range(count):
        place, own = offset + p * stride, (first + p) * run
        for i in range(run):
            squares[place + i] = x[own + i] * x[own + i]
    _add_up_both(squares, wide, sums, count * stride, taps, step, step2)


@numba.njit
def _add_up_both(x, wide, sums, n, taps, step, step2):
    """Sums along one axis, or, with step2, along one and then the other."""
    if step2:
        _add_up(x, wide, n + at(taps - 1) * step2, taps, step)
        _add_up(wide, sums, n, taps, step2)
    else:
        _add_up(x, sums, n, taps, step)


@compiled("T1, T1, i, i, i, i, i, i, i, i, i, d, d, d")
def _respond(x, y, start, stop, run, stride, block, taps, step, step2, offset, rate, k, beta):
    """Runs start .. stop-1 of y, by blocks."""
    of = x.dtype.type
    rate, k, power, one = of(rate), of(k), of(-beta), of(1)
    fast = beta == 0.75  # AlexNet's
    room = block * stride + (taps - 1) * (step + step2)
    squares, wide, sums = np.zeros(room, x.dtype), np.empty(room if step2 else 0, x.dtype), np.empty(room, x.dtype)
    run, stride, offset, step, step2 = at(run), at(stride), at(offset), at(step), at(step2)
    for first in range(start, stop, block):
        count = at(min(block, stop - first))
        _sums_of_squares(x, squares, wide, sums, at(first), count, run, stride, offset, taps, step, step2)
        for p in range(count):
            place, own = p * stride, (at(first) + p) * run
            if fast:
                for i in range(run):
                    root = one / np.sqrt(k + rate * sums[place + i])
                    y[own + i] = x[own + i] * (root * np.sqrt(root))
            else:
                for i in range(run):
                    y[own + i] = x[own + i] * (k + rate * sums[place + i]) ** power


@compiled("T1, T1, T1, i, i, i, i, i, i, i, i, i, i, d, d, d")
def _respond_back(x, dy, dx, start, stop, run, stride, block, taps, step, step2, offset, offset_back, rate, k, beta):
    """Runs start .. stop-1 of dx, by blocks."""
    of = x.dtype.type
    slope = of(2.0 * rate * beta)
    rate, k, power, one = of(rate), of(k), of(-beta), of(1)
    fast = beta == 0.75
    room = block * stride + (taps - 1) * (step + step2)
    squares, wide, sums = np.zeros(room, x.dtype), np.empty(room if step2 else 0, x.dtype), np.empty(room, x.dtype)
    spread = np.zeros(room, x.dtype)
    run, stride, offset, offset_back, step, step2 = (
        at(run),
        at(stride),
        at(offset),
        at(offset_back),
        at(step),
        at(step2),
    )
    for first in range(start, stop, block):
        count = at(min(block, stop - first))
        _sums_of_squares(x, squares, wide, sums, at(first), count, run, stride, offset, taps, step, step2)
        for p in range(count):
            place, own = p * stride, (at(first) + p) * run
            if fast:
                for i in range(run):
                    root = one / np.sqrt(k + rate * sums[place + i])
                    direct = dy[own + i] * (root * np.sqrt(root))
                    dx[own + i] = direct
                    spread[place + offset_back + i] = direct * x[own + i] * (root * root)
            else:
                for i in range(run):
                    d = k + rate * sums[place + i]
                    direct = dy[own + i] * d**power
                    dx[own + i] = direct
                    spread[place + offset_back + i] = direct * x[own + i] / d
        _add_up_both(spread, wide, sums, count * stride, taps, step, step2)
        for p in range(count):
            place, own = p * stride, (at(first) + p) * run
            for i in range(run):
                dx[own + i] -= slope * x[own + i] * sums[place + i]

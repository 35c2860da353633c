"""batch_norm and moments for NumPy: rows of few channels are worked on together, in pieces that stay in the cache."""

from __future__ import annotations

import numpy as np

from xpnet.backend import as_shape, empty, launch, scratch
from xpnet.kernels import register
from xpnet.kernels.numpy.activation import column_sums, long_rows
from xpnet.kernels.numpy.arrays import Array, Gradients, Needs, Result

__all__ = ["batch_norm", "moments"]

_FEW = 1 << 15  # numbers, up to which the op's own code is as fast
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


@register("moments", "numpy", recordable=True)
def moments(x: Array) -> tuple[Array, Array]:
    """Measure as ops.moments does."""
    if x.dtype not in _FLOATS or x.size < _FEW:
        return NotImplemented
    columns = x.shape[-1]
    rows = as_shape(x, (-1, columns))
    mean, var = empty((columns,), x.dtype), empty((columns,), x.dtype)

    def measure() -> None:
        part, sums = np.empty(columns, x.dtype), np.zeros((2, columns))
        column_sums(rows, mean)
        np.divide(mean, len(rows), mean)
        for (some,), (wide,) in long_rows([rows], [mean]):
            d = np.subtract(some, wide, out=scratch("batch_norm.d", some.shape, x.dtype))
            for total in sums:  # of d, by which the mean is off, and of its squares
                column_sums(d.reshape(-1, columns), part)
                total += part
                if total is not sums[1]:
                    d *= d
        sums /= len(rows)
        np.maximum(sums[1] - sums[0] ** 2, 0, out=var, casting="same_kind")
        np.add(mean, sums[0], out=mean, casting="same_kind")

    launch(measure)
    return mean, var


@register("batch_norm", "numpy", recordable=True)
def batch_norm(x: Array, gamma: Array, beta: Array, mean: Array, var: Array, eps: float, training: bool) -> Result:
    """Normalize as ops.batch_norm does."""
    if x.dtype not in _FLOATS or mean.dtype != x.dtype or x.size < _FEW:
        return NotImplemented
    columns = x.shape[-1]
    rows = as_shape(x, (-1, columns))
    inverse, scale, y = empty((columns,), x.dtype), empty((columns,), x.dtype), empty(x.shape, x.dtype)

    def forward() -> None:
        np.divide(1.0, np.sqrt(var + eps), inverse)
        np.multiply(gamma, inverse, scale)
        for (some, out), (centre, a, b) in long_rows([rows, y.reshape(-1, columns)], [mean, scale, beta]):
            np.subtract(some, centre, out=out)  # first, for both may be large
            out *= a
            out += b

    def normal(some: Array, centre: Array, rate: Array) -> Array:
        t = np.subtract(some, centre, out=scratch("batch_norm.d", some.shape, x.dtype))
        t *= rate
        return t

    launch(forward)

    def vjp(dy: Array, needs: Needs) -> Gradients:
        given, dx = as_shape(dy, (-1, columns)), empty(x.shape, x.dtype) if needs[0] else None
        dgamma, dbeta = empty((columns,), x.dtype), empty((columns,), x.dtype)

        def backward() -> None:
            part, total = np.empty(columns, x.dtype), np.zeros(columns)
            if needs[1] or (needs[0] and training):
                for (some, d), (centre, rate) in long_rows([rows, given], [mean, inverse]):
                    t = normal(some, centre, rate)
                    t *= d
                    column_sums(t.reshape(-1, columns), part)
                    total += part
            dgamma[...] = total
            column_sums(given, dbeta)
            if dx is None:
                return
            level, slope = scale * (dbeta / len(rows)), inverse * scale * (dgamma / len(rows))
            out = dx.reshape(-1, columns)
            for (some, d, o), (a, centre, b, c) in long_rows([rows, given, out], [scale, mean, level, slope]):
                np.multiply(d, a, out=o)
                if training:
                    o -= b
                    o -= normal(some, centre, c)

        launch(backward)
        return dx, dgamma if needs[1] else None, dbeta if needs[2] else None, None, None

    return y, vjp

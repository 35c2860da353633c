"""batch_norm and moments for NumPy: rows of few channels are worked on together, in pieces that stay in the cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.kernels import register
from xpnet.kernels.numpy.activation import column_sums, long_rows
from xpnet.kernels.numpy.scratch import scratch

__all__ = ["batch_norm", "moments"]

_FEW = 1 << 15  # numbers, up to which the op's own code is as fast
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


@register("moments", "numpy")
def moments(x: Any) -> Any:
    """Measure as ops.moments does."""
    if x.dtype not in _FLOATS or x.size < _FEW:
        return NotImplemented
    columns = x.shape[-1]
    rows = np.ascontiguousarray(x).reshape(-1, columns)
    mean, var, part = (np.empty(columns, x.dtype) for _ in range(3))
    column_sums(rows, mean)
    mean /= len(rows)
    var[...] = 0.0
    for (some,), (wide,) in long_rows([rows], [mean]):
        d = np.subtract(some, wide, out=scratch("batch_norm.d", some.shape, x.dtype))
        d *= d
        column_sums(d.reshape(-1, columns), part)
        var += part
    var /= len(rows)
    return mean, var


@register("batch_norm", "numpy")
def batch_norm(x: Any, gamma: Any, beta: Any, mean: Any, var: Any, eps: float, training: bool) -> Any:
    """Normalize as ops.batch_norm does."""
    if x.dtype not in _FLOATS or mean.dtype != x.dtype or x.size < _FEW:
        return NotImplemented
    columns = x.shape[-1]
    rows = np.ascontiguousarray(x).reshape(-1, columns)
    inverse = 1.0 / np.sqrt(var + eps)
    scale = gamma * inverse
    y = np.empty(x.shape, x.dtype)
    for (some, out), (a, b) in long_rows([rows, y.reshape(-1, columns)], [scale, beta - mean * scale]):
        np.multiply(some, a, out=out)
        out += b

    def normal(some: Any, centre: Any, rate: Any) -> Any:
        t = np.subtract(some, centre, out=scratch("batch_norm.d", some.shape, x.dtype))
        t *= rate
        return t

    def vjp(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        given = np.ascontiguousarray(dy).reshape(-1, columns)
        dgamma, dbeta, part = (np.zeros(columns, x.dtype) for _ in range(3))
        dx = None
        if needs[1] or (needs[0] and training):
            for (some, d), (centre, rate) in long_rows([rows, given], [mean, inverse]):
                t = normal(some, centre, rate)
                t *= d
                column_sums(t.reshape(-1, columns), part)
                dgamma += part
        if needs[2] or (needs[0] and training):
            column_sums(given, dbeta)
        if needs[0]:
            dx = np.empty(x.shape, x.dtype)
            out = dx.reshape(-1, columns)
            level, slope = scale * (dbeta / len(rows)), inverse * scale * (dgamma / len(rows))
            for (some, d, o), (a, centre, b, c) in long_rows([rows, given, out], [scale, mean, level, slope]):
                np.multiply(d, a, out=o)
                if training:
                    o -= b
                    o -= normal(some, centre, c)
        return dx, dgamma if needs[1] else None, dbeta if needs[2] else None, None, None

    return y, vjp

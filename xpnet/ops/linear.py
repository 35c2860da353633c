"""Products with a matrix: the perceptron's sum, for many neurons and many examples at once."""

from __future__ import annotations

import math
from typing import Any

from xpnet import kernels
from xpnet.backend import Array, namespace
from xpnet.errors import ShapeError
from xpnet.ops import checks
from xpnet.ops.activation import activated
from xpnet.ops.arithmetic import sum_to, total

__all__ = ["linear", "matmul"]


def linear(x: Array, w: Array, b: Array | None = None, *, activation: str | None = None) -> tuple[Array, Any]:
    """Weigh the features of each example for each neuron, add a bias, and apply an activation if one is given.

        y[..., m] = f(b[m] + sum over d of w[m,d] * x[..., d])

    Args:
        x: features, (..., D), real floating.
        w: weights, (M, D), a row a neuron; dtype and device of x.
        b: bias, (M,), or None.
        activation: None, "relu", "leaky_relu", "sigmoid", "tanh" or "gelu".
    Returns:
        y: (..., M).
        vjp: (dy, needs) -> (dx, dw, db), each shaped like its input, None where not needed.
    Raises:
        ShapeError: ranks or sizes disagree.
        ConfigError: no such activation.
    Cost: M*D multiply-adds an example, the same again for each of dx and dw; keeps x, w, and y if activated.
    """
    checks.floating("linear", x, w, b)
    if w is None:
        raise checks.missing("linear", "w")
    if x.ndim < 1 or w.ndim != 2 or x.shape[-1] != w.shape[1]:
        raise ShapeError("linear", "x of shape (..., D) and w of shape (M, D)", x=x.shape, w=w.shape)
    if b is not None and b.shape != (w.shape[0],):
        raise ShapeError("linear", "b of shape (M,) and w of shape (M, D)", b=b.shape, w=w.shape)
    return _linear(x, w, b, activation)


@kernels.op("linear")
def _linear(x: Array, w: Array, b: Array | None, activation: str | None) -> tuple[Array, Any]:
    if activation is not None:
        return activated("linear", _linear(x, w, b, None), activation)
    xp = namespace(x)
    z = x @ w.T  # (..., M)
    if b is not None:
        z += b

    def vjp(dz: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        n = math.prod(x.shape[:-1])  # -1 does not say the shape of no numbers
        rows = xp.reshape(dz, (n, w.shape[0])) if dz.ndim != 2 else dz  # (N, M)
        features = xp.reshape(x, (n, w.shape[1])) if x.ndim != 2 else x  # (N, D)
        return (
            dz @ w if needs[0] else None,
            rows.T @ features if needs[1] else None,
            total(xp, rows, (0,)) if b is not None and needs[2] else None,
        )

    return z, vjp


def matmul(a: Array, b: Array) -> tuple[Array, Any]:
    """Multiply two matrices, or stacks of them.

        y[..., n, m] = sum over k of a[..., n, k] * b[..., k, m]

    Args:
        a: (..., N, K), real floating.
        b: (..., K, M); leading axes broadcast.
    Returns:
        y: (..., N, M).
        vjp: (dy, needs) -> (da, db).
    Raises:
        ShapeError: a rank under 2, or inner sizes that differ.
    Cost: N*K*M multiply-adds a matrix, the same again for each of da and db; keeps a and b.
    """
    checks.floating("matmul", a, b)
    if b is None:
        raise checks.missing("matmul", "b")
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2] or not checks.fits(a.shape[:-2], b.shape[:-2]):
        raise ShapeError("matmul", "a of shape (..., N, K) and b of shape (..., K, M)", a=a.shape, b=b.shape)
    return _matmul(a, b)


@kernels.op("matmul")
def _matmul(a: Array, b: Array) -> tuple[Array, Any]:
    xp = namespace(a)

    def vjp(dy: Array, needs: tuple[bool, ...]) -> tuple[Array | None, ...]:
        return (
            sum_to(xp, dy @ xp.matrix_transpose(b), a.shape) if needs[0] else None,
            sum_to(xp, xp.matrix_transpose(a) @ dy, b.shape) if needs[1] else None,
        )

    return a @ b, vjp

"""linear for NumPy: bias and ReLU in place, sums over the batch by a product with ones, one example without a GEMM."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xpnet.backend import as_rows, empty, launch, limit_threads
from xpnet.kernels import register
from xpnet.kernels.numpy.activation import FUSED, act_grad, bias_act
from xpnet.kernels.numpy.arrays import Array, Gradients, Needs, Result

__all__ = ["linear_with"]


def linear_with(
    bias_act: Callable[..., None], act_grad: Callable[..., Array], outer: Callable[[Array, Array, Array], None]
) -> Callable[[Array, Array, Array | None, str | None], Result]:
    """Make a kernel of linear from the loops around its products, which are BLAS's.

    Args:
        bias_act, act_grad: as those of kernels.numpy.activation.
        outer: writes the product of (M, 1) and (1, D) into (M, D).
    """

    def linear(x: Array, w: Array, b: Array | None, activation: str | None) -> Result:
        """Weigh, sum and activate as ops.linear does."""
        if activation not in FUSED or not x.size:
            return NotImplemented
        features = as_rows(x, w.shape[1])  # (N, D)
        n, (m, d) = len(features), w.shape
        alone = n == 1
        y = empty((n, m), x.dtype)  # (N, M)
        if alone:
            launch(limit_threads(np.dot, 1, d, m), w, features[0], y[0])
        else:
            launch(limit_threads(np.matmul, n, d, m), features, w.T, y)
        if b is not None or activation is not None:
            bias_act(y, b, activation)

        def vjp(dy: Array, needs: Needs) -> Gradients:
            rows = as_rows(dy, w.shape[0])
            db = empty(b.shape, b.dtype) if b is not None and needs[2] else None
            dz = rows if db is None and activation is None else act_grad(rows, y, activation, db)
            dx = dw = None
            if needs[1]:
                dw = empty(w.shape, x.dtype)
                if alone:
                    outer(dz.T, features, dw)
                else:
                    launch(limit_threads(np.matmul, m, n, d), dz.T, features, dw)
            if needs[0]:
                dx = empty(features.shape, x.dtype)
                launch(limit_threads(np.matmul, n, m, d), dz, w, dx)
                dx = dx.reshape(x.shape)
            return dx, dw, db

        return (y if x.ndim == 2 else y.reshape(*x.shape[:-1], w.shape[0])), vjp

    return linear


def _outer(a: Array, b: Array, product: Array) -> None:
    launch(np.dot, a, b, product)


register("linear", "numpy", recordable=True)(linear_with(bias_act, act_grad, _outer))

"""linear for NumPy: bias and ReLU in place, sums over the batch by a product with ones, one example without a GEMM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.kernels import register
from xpnet.kernels.numpy.activation import FUSED, act_grad, bias_act

__all__ = ["linear_with"]


def linear_with(
    bias_act: Callable[..., None], act_grad: Callable[..., Any], outer: Callable[[Any, Any], Any]
) -> Callable[..., Any]:
    """Make a kernel of linear, whose products are BLAS's, out of what surrounds them.

    Args:
        bias_act, act_grad: as those of kernels.numpy.activation.
        outer: (M, 1) and (1, D) to their product, (M, D).
    """

    def linear(x: Any, w: Any, b: Any, activation: str | None) -> tuple[Any, Any]:
        """Weigh, sum and activate as ops.linear does."""
        if activation not in FUSED or not x.size:
            return NotImplemented
        features = x if x.ndim == 2 else x.reshape(-1, w.shape[1])  # (N, D)
        alone = len(features) == 1
        y = w.dot(features[0])[None] if alone else features @ w.T  # (N, M)
        if b is not None or activation is not None:
            bias_act(y, b, activation)

        def vjp(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
            rows = dy if dy.ndim == 2 else dy.reshape(y.shape)
            db = np.empty(b.shape, dtype=b.dtype) if b is not None and needs[2] else None
            dz = rows if db is None and activation is None else act_grad(rows, y, activation, db)
            dx = dw = None
            if needs[1]:
                dw = outer(dz.T, features) if alone else dz.T @ features
            if needs[0]:
                dx = (dz @ w).reshape(x.shape)
            return dx, dw, db

        return (y if x.ndim == 2 else y.reshape(*x.shape[:-1], w.shape[0])), vjp

    return linear


register("linear", "numpy")(linear_with(bias_act, act_grad, np.dot))

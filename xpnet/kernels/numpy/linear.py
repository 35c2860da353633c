"""linear for NumPy: sums over the batch by a product with ones; a batch of one by plain multiplication, not a GEMM."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.kernels import register

__all__ = ["linear"]


@register("linear", "numpy")
def linear(x: Any, w: Any, b: Any, activation: str | None) -> tuple[Any, Any]:
    """Weigh and sum as ops.linear does, without an activation."""
    if activation is not None:
        return NotImplemented
    z = x @ w.T  # (..., M)
    if b is not None:
        z += b

    def vjp(dz: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        rows = dz.reshape(-1, w.shape[0])  # (N, M)
        dw = db = None
        if needs[1]:
            features = x.reshape(-1, w.shape[1])  # (N, D)
            dw = np.multiply(rows.T, features) if len(rows) == 1 else rows.T @ features
        if b is not None and needs[2]:
            db = np.ones(len(rows), dtype=rows.dtype) @ rows
        return dz @ w if needs[0] else None, dw, db

    return z, vjp

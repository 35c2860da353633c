"""linear and matmul on CUDA: one product, with its bias and ReLU where the library has an epilog for them."""

from __future__ import annotations

from typing import Any

from xpnet.backend import namespace
from xpnet.kernels import register
from xpnet.kernels.cuda import driver
from xpnet.kernels.cuda.activation import FUSED, pass_back
from xpnet.kernels.cuda.gemm import matmul as product

__all__ = ["linear", "matmul"]


@register("linear", "cuda", recordable=True)
def linear(x: Any, w: Any, b: Any, activation: str | None) -> tuple[Any, Any]:
    """Weigh, sum and activate as ops.linear does."""
    if not driver.supports(x, w, b) or activation not in FUSED:
        return NotImplemented
    xp = namespace(x)
    features = x if x.ndim == 2 else xp.reshape(x, (-1, w.shape[1])) if x.size else None  # (N, D)
    if features is None:
        return NotImplemented  # nothing to do, in a shape that -1 cannot tell
    b = None if b is None else driver.contiguous(b)
    y = product(features, w.T, bias=b, activation=activation)  # (N, M)

    def vjp(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        rows = driver.contiguous(dy if dy.ndim == 2 else xp.reshape(dy, y.shape))
        dz, db = pass_back(rows, y, activation, b is not None and needs[2])
        dx = xp.reshape(product(dz, w), x.shape) if needs[0] else None
        return dx, product(dz.T, features) if needs[1] else None, db

    return (y if x.ndim == 2 else xp.reshape(y, (*x.shape[:-1], w.shape[0]))), vjp


@register("matmul", "cuda", recordable=True)
def matmul(a: Any, b: Any) -> tuple[Any, Any]:
    """Multiply two matrices as ops.matmul does; stacks of them are left to the op."""
    if not driver.supports(a, b) or a.ndim != 2 or b.ndim != 2:
        return NotImplemented

    def vjp(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        return product(dy, b.T) if needs[0] else None, product(a.T, dy) if needs[1] else None

    return product(a, b), vjp

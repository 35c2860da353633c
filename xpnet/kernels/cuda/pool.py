"""Pooling on CUDA: a thread a number, both ways; gradients are gathered, so their sums have a fixed order."""

from __future__ import annotations

from typing import Any

from xpnet.kernels import register
from xpnet.kernels.cuda import driver

__all__ = ["max_pool2d"]


def _sizes(x: Any, rows: Any, cols: Any) -> tuple[int, ...]:
    """N, H, W, C, OH, OW, KH, KW, SH, SW, PH, PW, as every kernel of pool.cu takes them."""
    return (*x.shape, rows.out, cols.out, rows.k, cols.k, rows.s, cols.s, rows.p, cols.p)


@register("max_pool2d", "cuda")
def max_pool2d(x: Any, rows: Any, cols: Any) -> tuple[Any, Any]:
    """Pool as ops.max_pool2d does; rows and cols are the windows laid by the op."""
    if not driver.supports(x):
        return NotImplemented
    x, sizes = driver.contiguous(x), _sizes(x, rows, cols)
    y = driver.empty((x.shape[0], rows.out, cols.out, x.shape[3]), x.dtype)
    driver.launch("pool", "max_pool", x.dtype, y.size, x, y, *sizes)

    def vjp(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        if not needs[0]:
            return (None,)
        dx = driver.empty(x.shape, x.dtype)
        driver.launch("pool", "max_pool_back", x.dtype, x.size, x, y, driver.contiguous(dy), dx, *sizes)
        return (dx,)

    return y, vjp

"""local_response_norm for CuPy's arrays: a thread a number, sums of squares in shared memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.kernels import register
from xpnet.kernels.cuda import driver

__all__ = ["local_response_norm"]

_TILE, _REACH = 1024, 16  # of response_norm.cu: numbers a block makes, and the farthest neighbour


@register("local_response_norm", "cuda", recordable=True)
def local_response_norm(
    x: Any, size: int, alpha: float, beta: float, k: float, region: str, average: bool
) -> tuple[Any, Any]:
    """Divide as ops.local_response_norm does: one pass each way across channels, within a channel two backward."""
    if not driver.supports(x):
        return NotImplemented
    axes = 1 if region == "across" else 2
    rate = float(alpha / size**axes if average else alpha)
    before, after = size // 2, (size - 1) // 2
    if region == "within":
        return _within(x, before, after, rate, float(beta), float(k))
    before, after = (min(reach, max(0, x.shape[3] - 1)) for reach in (before, after))
    if max(before, after) > _REACH:
        return NotImplemented
    x, blocks = driver.contiguous(x), -(-x.size // _TILE)
    settings = (x.size, x.shape[3], before, after, rate, float(beta), float(k))
    y = driver.empty(x.shape, x.dtype)
    driver.blocks("response_norm", "lrn_across", x.dtype, blocks, x, y, *settings)

    def vjp(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        if not needs[0]:
            return (None,)
        dx = driver.empty(x.shape, x.dtype)
        driver.blocks("response_norm", "lrn_across_back", x.dtype, blocks, x, driver.contiguous(dy), dx, *settings)
        return (dx,)

    return y, vjp


def _within(x: Any, before: int, after: int, rate: float, beta: float, k: float) -> tuple[Any, Any]:
    x = driver.contiguous(x)
    y, settings = driver.empty(x.shape, x.dtype), (*x.shape, before, after, rate, beta)
    driver.launch("response_norm", "lrn_within", x.dtype, x.size, x, y, *settings, k)

    def vjp(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        if not needs[0]:
            return (None,)
        direct, spread = (driver.empty(x.shape, np.float64 if x.dtype == np.float64 else np.float32) for _ in range(2))
        dx = driver.empty(x.shape, x.dtype)
        dy = driver.contiguous(dy)
        driver.launch("response_norm", "lrn_within_spread", x.dtype, x.size, x, dy, direct, spread, *settings, k)
        driver.launch("response_norm", "lrn_within_back", x.dtype, x.size, x, direct, spread, dx, *settings)
        return (dx,)

    return y, vjp

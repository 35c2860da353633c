"""Pooling on CUDA: a thread makes one number, or a pack of channels; gradients are gathered, in a fixed order."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.kernels import register
from xpnet.kernels.cuda import driver

__all__ = ["avg_pool2d", "global_avg_pool2d", "max_pool2d"]

_WINDOWS = np.dtype([("sizes", np.int64, 13)])  # struct Windows of pool.cu


def _windows(x: Any, rows: Any, cols: Any, with_padding: bool = False) -> Any:
    """N, H, W, C, OH, OW, KH, KW, SH, SW, PH, PW and with_padding, as kernels take a struct."""
    sizes = (*x.shape, rows.out, cols.out, rows.k, cols.k, rows.s, cols.s, rows.p, cols.p, with_padding)
    return np.array([(sizes,)], _WINDOWS)


def _launch(kernel: str, out: Any, *arguments: Any) -> None:
    """Queue a kernel for each number of out, or for each pack of channels, if all arrays can be read by packs."""
    pack = 16 // out.dtype.itemsize
    arrays = (a for a in arguments if not isinstance(a, np.ndarray))
    if out.shape[3] % pack == 0 and all(driver.current().pointer(a) % 16 == 0 for a in arrays):
        driver.launch("pool", f"{kernel}_packed", out.dtype, out.size // pack, *arguments)
    else:
        driver.launch("pool", kernel, out.dtype, out.size, *arguments)


@register("max_pool2d", "cuda", recordable=True)
def max_pool2d(x: Any, rows: Any, cols: Any) -> tuple[Any, Any]:
    """Pool as ops.max_pool2d does; rows and cols are the windows laid by the op."""
    if not driver.supports(x):
        return NotImplemented
    x, windows = driver.contiguous(x), _windows(x, rows, cols)
    y = driver.empty((x.shape[0], rows.out, cols.out, x.shape[3]), x.dtype)
    _launch("max_pool", y, x, y, windows)

    def vjp(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        if not needs[0]:
            return (None,)
        dx = driver.empty(x.shape, x.dtype)
        _launch("max_pool_back", dx, x, y, driver.contiguous(dy), dx, windows)
        return (dx,)

    return y, vjp


@register("avg_pool2d", "cuda", recordable=True)
def avg_pool2d(x: Any, rows: Any, cols: Any, count_include_pad: bool) -> tuple[Any, Any]:
    """Pool as ops.avg_pool2d does; rows and cols are the windows laid by the op."""
    if not driver.supports(x):
        return NotImplemented
    shape, dtype, windows = x.shape, x.dtype, _windows(x, rows, cols, count_include_pad)
    y = driver.empty((shape[0], rows.out, cols.out, shape[3]), dtype)
    _launch("avg_pool", y, driver.contiguous(x), y, windows)

    def vjp(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        if not needs[0]:
            return (None,)
        dx = driver.empty(shape, dtype)
        _launch("avg_pool_back", dx, driver.contiguous(dy), dx, windows)
        return (dx,)

    return y, vjp


@register("global_avg_pool2d", "cuda", recordable=True)
def global_avg_pool2d(x: Any) -> tuple[Any, Any]:
    """Pool as ops.global_avg_pool2d does, where there are pixels; a block sums some channels of an image."""
    (n, h, w, c), dtype = x.shape, x.dtype
    if not driver.supports(x) or not h * w:
        return NotImplemented
    y, lanes = driver.empty((n, c), dtype), min(32, 1 << max(0, c - 1).bit_length())
    driver.blocks("pool", "global_avg_pool", dtype, n * -(-c // lanes), driver.contiguous(x), y, h * w, c, lanes)

    def vjp(dy: Any, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        if not needs[0]:
            return (None,)
        dx = driver.empty((n, h, w, c), dtype)
        driver.launch("pool", "global_avg_pool_back", dtype, dx.size, driver.contiguous(dy), dx, n, h * w, c)
        return (dx,)

    return y, vjp

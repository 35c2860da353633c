"""Activations on CUDA, with the bias before them; their gradients, with the bias's: one pass over memory each way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.kernels.cuda import driver
from xpnet.kernels.cuda.driver import DeviceArray, Result

__all__ = ["FUSED", "activate", "pass_back"]

_KINDS = {None: 0, "relu": 1, "leaky_relu": 2, "sigmoid": 3, "tanh": 4, "gelu": 5}  # as in activation.cu
_SLOPE = 0.01  # of leaky_relu within linear or conv2d
_THREADS = 256  # in a block that sums
_BLOCKS = 1056  # that sum: eight for each multiprocessor of an H100; on every device, so that sums have one order

FUSED = (None, "relu", "leaky_relu", "sigmoid", "tanh")  # whose gradient follows from y alone


def activate(
    x: DeviceArray, activation: str | None, b: DeviceArray | None = None, *, out: DeviceArray | None = None,
    slope: float = _SLOPE,
) -> DeviceArray:  # fmt: skip
    """Return act(x + b), where b is added along the last axis, in out, which may be x, if that is given."""
    y = driver.empty(x.shape, x.dtype) if out is None else out
    packs = -(-x.size * x.itemsize // 16)
    cols = 1 if b is None else b.size
    driver.launch("activation", "activate", x.dtype, packs, x, b, y, x.size, cols, _KINDS[activation], float(slope))
    return y


def pass_back(
    dy: DeviceArray, y: DeviceArray, activation: str | None, sums: bool
) -> tuple[DeviceArray, DeviceArray | None]:
    """Return the gradient before a fused activation that gave y, and its sums over all axes but the last.

    Args:
        dy: (..., M), in row-major order.
        y: like dy; not used where activation is None, and dy itself is returned.
        activation: one of FUSED.
        sums: whether to compute the sums, which are the bias's gradient; None otherwise.
    """
    if not sums:
        return (dy, None) if activation is None else (_elementwise(dy, y, activation, _SLOPE), None)
    cols = dy.shape[-1]
    rows = dy.size // cols if cols else 0
    if not rows:
        return dy, driver.zeros((cols,), dy.dtype)
    dx = None if activation is None else driver.empty(dy.shape, dy.dtype)
    pack = 16 // dy.itemsize if cols % (16 // dy.itemsize) == 0 else 1
    width = min(32, 1 << (cols // pack - 1).bit_length())  # threads along a row
    tiles, step = -(-cols // (width * pack)), _THREADS // width
    chunks = 1 if rows <= 16 * step else min(-(-rows // (4 * step)), max(1, _BLOCKS // tiles))
    chunk = -(-rows // chunks)
    chunks = -(-rows // chunk)
    db = driver.empty((cols,), dy.dtype)
    partial = driver.empty((chunks, cols), np.float64 if dy.itemsize == 8 else np.float32) if chunks > 1 else None
    sizes = rows, cols, chunk, tiles, width, pack, _KINDS[activation]
    arrays = dy, dy if activation is None else y, dx, partial, db
    driver.blocks("activation", "activate_back_sum", dy.dtype, tiles * chunks, *arrays, *sizes, _SLOPE)
    if partial is not None:
        driver.blocks("activation", "sum_chunks", dy.dtype, -(-cols // 8), partial, db, chunks, cols)
    return dy if dx is None else dx, db


def _elementwise(dy: DeviceArray, kept: DeviceArray, activation: str, slope: float) -> DeviceArray:
    dx = driver.empty(dy.shape, dy.dtype)
    packs = -(-dy.size * dy.itemsize // 16)
    arguments = dy, kept, dx, dy.size, _KINDS[activation], float(slope)
    driver.launch("activation", "activate_back", dy.dtype, packs, *arguments)
    return dx


def _kernel(activation: str) -> Callable[..., Any]:
    """The kernel of an activation's own op; it keeps y where the gradient follows from that, else x."""

    @driver.kernel(activation)
    def kernel(x: DeviceArray, slope: float = _SLOPE) -> Result:
        x = driver.contiguous(x)
        y = activate(x, activation, slope=slope)
        kept = x if activation in ("leaky_relu", "gelu") else y
        return y, driver.single(lambda dy: _elementwise(dy, kept, activation, slope))

    return kernel


for _name in _KINDS:
    if _name:
        _kernel(_name)

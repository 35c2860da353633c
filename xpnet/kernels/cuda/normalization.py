"""batch_norm and layer_norm for CuPy's arrays: the sums of a channel in two stages of a fixed order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpnet.backend import namespace
from xpnet.kernels.cuda import driver
from xpnet.kernels.cuda.driver import DeviceArray, Gradients, Needs, Result

__all__ = ["batch_norm", "layer_norm", "moments", "running_moments"]

_THREADS = 256  # of a block of batch_norm.cu
_MOST_BLOCKS = 1024  # a device works on about as many at a time
_ROWS = 8  # rows of a thread, at least, where there are as many


def _wide(x: DeviceArray) -> np.dtype:
    """The dtype that the kernels compute with: A."""
    return np.dtype(np.float64 if np.dtype(x.dtype) == np.float64 else np.float32)


def _split(x: DeviceArray, most: int = _MOST_BLOCKS) -> tuple[int, tuple[int, int, int, int]]:
    """Blocks for the columns of x (..., C), and how they share it: rows, channels, lanes and chunks."""
    rows, channels = math.prod(x.shape[:-1]), x.shape[-1]
    lanes = min(32, 1 << max(0, channels - 1).bit_length())
    groups = -(-channels // lanes)
    fill = max(1, most // max(1, groups))
    chunks = max(1, min(fill, -(-rows // (_ROWS * (_THREADS // lanes)))))
    return groups * chunks, (rows, channels, lanes, chunks)


def _partial(x: DeviceArray, channels: int, chunks: int) -> DeviceArray | None:
    """Memory for two sums of each channel and chunk; one chunk needs none."""
    return driver.empty((channels, chunks, 2), _wide(x)) if chunks > 1 else None


@driver.kernel("moments")
def moments(x: DeviceArray) -> tuple[DeviceArray, DeviceArray]:
    """Compute what ops.moments does; one pass over x."""
    x = driver.contiguous(x)
    blocks, (rows, channels, lanes, chunks) = _split(x)
    mean, var = (driver.empty((channels,), _wide(x)) for _ in range(2))
    parts = _partial(x, channels, chunks)
    driver.blocks("batch_norm", "moments", x.dtype, blocks, x, mean, var, parts, rows, channels, lanes, chunks)
    if chunks > 1:
        each = -(-channels * 32 // _THREADS)
        driver.blocks("batch_norm", "moments_of_chunks", x.dtype, each, x, parts, mean, var, rows, channels, chunks)
    return mean, var


@driver.kernel("running_moments")
def running_moments(
    mean: DeviceArray, var: DeviceArray, new_mean: DeviceArray, new_var: DeviceArray, keep: float, renew: Any
) -> tuple[DeviceArray, DeviceArray]:
    """Update as ops.running_moments does, both in one launch."""
    old, new = (mean, var), (new_mean, new_var)
    if mean.dtype != var.dtype or any(a.dtype != _wide(mean) for a in new):
        return NotImplemented
    if not all(a.flags.c_contiguous for a in old):
        return NotImplemented
    new = tuple(map(driver.contiguous, new))
    driver.launch("batch_norm", "running_moments", mean.dtype, mean.size, *old, *new, mean.size, keep, *renew)
    return old


@driver.kernel("batch_norm")
def batch_norm(
    x: DeviceArray, gamma: DeviceArray, beta: DeviceArray, mean: DeviceArray, var: DeviceArray, eps: float,
    training: bool,
) -> Result:  # fmt: skip
    """Normalize as ops.batch_norm does: one pass forward; backward one for the sums and one for dx."""
    wide = _wide(x)
    if np.dtype(mean.dtype).itemsize > wide.itemsize:
        return NotImplemented
    xp = namespace(x)
    x, gamma, beta = map(driver.contiguous, (x, gamma, beta))
    mean, var = (driver.contiguous(xp.astype(a, wide, copy=False)) for a in (mean, var))
    blocks, sizes = _split(x)
    rows, channels, _, chunks = sizes
    y = driver.empty(x.shape, x.dtype)
    driver.blocks("batch_norm", "batch_norm", x.dtype, blocks, x, gamma, beta, mean, var, y, float(eps), *sizes)

    def vjp(dy: DeviceArray, needs: Needs) -> Gradients:
        dy = driver.contiguous(dy)
        dgamma, dbeta = (driver.empty((channels,), x.dtype) for _ in range(2))
        total, parts = driver.empty((2, channels), wide), _partial(x, channels, chunks)
        sums = (total, dgamma, dbeta)
        arrays = (x, dy, mean, var, *sums, parts)
        driver.blocks("batch_norm", "batch_norm_sums", x.dtype, blocks, *arrays, float(eps), *sizes)
        if chunks > 1:
            each = -(-channels * 32 // _THREADS)
            rest = (parts, var, *sums, float(eps), channels, chunks)
            driver.blocks("batch_norm", "batch_norm_sums_of_chunks", x.dtype, each, *rest)
        dx = None
        if needs[0]:
            dx = driver.empty(x.shape, x.dtype)
            share = 1.0 / max(1, rows) if training else 0.0
            arrays = (x, dy, gamma, mean, var, total, dx)
            driver.blocks("batch_norm", "batch_norm_back", x.dtype, blocks, *arrays, float(eps), share, *sizes)
        return dx, dgamma if needs[1] else None, dbeta if needs[2] else None, None, None

    return y, vjp


@driver.kernel("layer_norm")
def layer_norm(x: DeviceArray, gamma: DeviceArray, beta: DeviceArray, eps: float) -> Result:
    """Normalize as ops.layer_norm does, a block a row."""
    x, gamma, beta = map(driver.contiguous, (x, gamma, beta))
    blocks, sizes = _split(x, 256)  # few chunks: a thread of the second stage goes through all
    rows, channels, _, chunks = sizes
    threads = min(_THREADS, 32 * -(-channels // 128))
    y, kept = driver.empty(x.shape, x.dtype), driver.empty((rows, 2), _wide(x))
    arrays = (x, gamma, beta, y, kept)
    driver.blocks("layer_norm", "layer_norm", x.dtype, rows, *arrays, float(eps), channels, threads=threads)

    def vjp(dy: DeviceArray, needs: Needs) -> Gradients:
        dy, dx, dgamma, dbeta = driver.contiguous(dy), None, None, None
        if needs[0]:
            dx = driver.empty(x.shape, x.dtype)
            arrays = (x, dy, gamma, kept, dx)
            driver.blocks("layer_norm", "layer_norm_back", x.dtype, rows, *arrays, channels, threads=threads)
        if needs[1] or needs[2]:
            dgamma, dbeta = (driver.empty((channels,), x.dtype) for _ in range(2))
            parts = driver.empty((chunks, 2, channels), _wide(x))
            driver.blocks("layer_norm", "layer_norm_sums", x.dtype, blocks, x, dy, kept, parts, *sizes)
            rest = (parts, dgamma, dbeta, channels, chunks)
            driver.launch("layer_norm", "layer_norm_sums_of_chunks", x.dtype, channels, *rest)
        return dx, dgamma if needs[1] else None, dbeta if needs[2] else None

    return y, vjp

"""Pooling on CUDA: a thread makes one number, or a pack of channels; gradients are gathered, in a fixed order."""

from __future__ import annotations

import numpy as np

from xpnet.kernels.cuda import driver
from xpnet.kernels.cuda.driver import DeviceArray, Result
from xpnet.windows import Axis

__all__ = ["avg_pool2d", "global_avg_pool2d", "max_pool2d"]

_WINDOWS = np.dtype([("sizes", np.int64, 13)])  # struct Windows of pool.cu


def _windows(x: DeviceArray, rows: Axis, cols: Axis, with_padding: bool = False) -> np.ndarray:
    """N, H, W, C, OH, OW, KH, KW, SH, SW, PH, PW and with_padding, as kernels take a struct."""
    sizes = (*x.shape, rows.out, cols.out, rows.k, cols.k, rows.s, cols.s, rows.p, cols.p, with_padding)
    return np.array([(sizes,)], _WINDOWS)


def _launch(kernel: str, shape: tuple[int, ...], windows: np.ndarray, *arrays: DeviceArray) -> DeviceArray:
    """Make an array by a kernel, a thread for each number, or for each pack of channels if all arrays are aligned."""
    made = driver.empty(shape, arrays[0].dtype)
    pack = 16 // made.dtype.itemsize
    if shape[3] % pack or any(driver.pointer(a) % 16 for a in (*arrays, made)):
        driver.launch("pool", kernel, made.dtype, made.size, *arrays, made, windows)
    else:
        driver.launch("pool", f"{kernel}_packed", made.dtype, made.size // pack, *arrays, made, windows)
    return made


@driver.kernel("max_pool2d")
def max_pool2d(x: DeviceArray, rows: Axis, cols: Axis) -> Result:
    """Pool as ops.max_pool2d does; rows and cols are the windows laid by the op."""
    x, windows = driver.contiguous(x), _windows(x, rows, cols)
    y = _launch("max_pool", (x.shape[0], rows.out, cols.out, x.shape[3]), windows, x)
    return y, driver.single(lambda dy: _launch("max_pool_back", x.shape, windows, x, y, dy))


@driver.kernel("avg_pool2d")
def avg_pool2d(x: DeviceArray, rows: Axis, cols: Axis, count_include_pad: bool) -> Result:
    """Pool as ops.avg_pool2d does; rows and cols are the windows laid by the op."""
    shape, windows = x.shape, _windows(x, rows, cols, count_include_pad)
    y = _launch("avg_pool", (shape[0], rows.out, cols.out, shape[3]), windows, driver.contiguous(x))
    return y, driver.single(lambda dy: _launch("avg_pool_back", shape, windows, dy))


@driver.kernel("global_avg_pool2d")
def global_avg_pool2d(x: DeviceArray) -> Result:
    """Pool as ops.global_avg_pool2d does, where there are pixels; a block sums some channels of an image."""
    (n, h, w, c), dtype = x.shape, x.dtype
    if not h * w:
        return NotImplemented
    y, lanes = driver.empty((n, c), dtype), min(32, 1 << max(0, c - 1).bit_length())
    driver.blocks("pool", "global_avg_pool", dtype, n * -(-c // lanes), driver.contiguous(x), y, h * w, c, lanes)

    def gradient(dy: DeviceArray) -> DeviceArray:
        dx = driver.empty((n, h, w, c), dtype)
        driver.launch("pool", "global_avg_pool_back", dtype, dx.size, dy, dx, n, h * w, c)
        return dx

    return y, driver.single(gradient)

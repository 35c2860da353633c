"""local_response_norm for CuPy's arrays: a thread a number, sums of squares in shared memory."""

from __future__ import annotations

import numpy as np

from xpnet.kernels.cuda import driver
from xpnet.kernels.cuda.driver import DeviceArray, Result

__all__ = ["local_response_norm"]

_TILE, _REACH = 1024, 16  # of response_norm.cu: numbers a block makes, and the farthest neighbour


@driver.kernel("local_response_norm")
def local_response_norm(
    x: DeviceArray, size: int, alpha: float, beta: float, k: float, region: str, average: bool
) -> Result:
    """Divide as ops.local_response_norm does: one pass each way across channels, within a channel two backward."""
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

    def run(name: str, *arrays: DeviceArray) -> DeviceArray:
        made = driver.empty(x.shape, x.dtype)
        driver.blocks("response_norm", name, x.dtype, blocks, *arrays, made, *settings)
        return made

    return run("lrn_across", x), driver.single(lambda dy: run("lrn_across_back", x, dy))


def _within(x: DeviceArray, before: int, after: int, rate: float, beta: float, k: float) -> Result:
    x = driver.contiguous(x)
    y, settings = driver.empty(x.shape, x.dtype), (*x.shape, before, after, rate, beta)
    driver.launch("response_norm", "lrn_within", x.dtype, x.size, x, y, *settings, k)

    def gradient(dy: DeviceArray) -> DeviceArray:
        direct, spread = (driver.empty(x.shape, np.float64 if x.dtype == np.float64 else np.float32) for _ in range(2))
        dx = driver.empty(x.shape, x.dtype)
        driver.launch("response_norm", "lrn_within_spread", x.dtype, x.size, x, dy, direct, spread, *settings, k)
        driver.launch("response_norm", "lrn_within_back", x.dtype, x.size, x, direct, spread, dx, *settings)
        return dx

    return y, driver.single(gradient)

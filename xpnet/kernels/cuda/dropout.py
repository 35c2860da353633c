"""Dropout on CUDA, by the bits of random.py."""

from __future__ import annotations

from xpnet.kernels.cuda import driver
from xpnet.kernels.cuda.driver import DeviceArray, Result
from xpnet.kernels.cuda.philox import draw_arguments
from xpnet.random import Key, drop_threshold

__all__ = ["random_dropout"]

_EACH = 8  # numbers a thread: the halves of a block of the generator


@driver.kernel("random_dropout")
def random_dropout(x: DeviceArray, key: Key, rate: float, start: int) -> Result:
    """Drop as ops.random_dropout does; the backward pass draws the same bits again, so nothing is kept."""
    draw = (start, drop_threshold(rate), 1.0 / (1.0 - rate), *draw_arguments(key))

    def dropped(a: DeviceArray) -> DeviceArray:
        y = driver.empty(a.shape, a.dtype)
        threads = -(-(start % _EACH + a.size) // _EACH) if a.size else 0
        driver.launch("dropout", "random_dropout", a.dtype, threads, a, y, a.size, *draw)
        return y

    return dropped(driver.contiguous(x)), driver.single(dropped)

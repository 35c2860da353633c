"""The device counters of a training step on CUDA: what train.counters does in six calls, in one launch."""

from __future__ import annotations

from typing import Any

from xpnet.kernels.cuda import driver
from xpnet.kernels.cuda.driver import DeviceArray

__all__ = ["advance_counters"]


@driver.kernel("advance_counters")
def advance_counters(
    loss: DeviceArray, losses: DeviceArray, rates: DeviceArray, rate: DeviceArray, step: DeviceArray, t: DeviceArray
) -> Any:
    """Store the loss of a step, count the step, and set the next one's rates, as DeviceCounters.advance defines it."""
    arrays = loss, losses, rates, rate
    if len({a.dtype for a in arrays}) > 1:
        return NotImplemented
    sizes = losses.shape[0], rate.shape[0]
    driver.blocks("counters", "advance_counters", loss.dtype, 1, *arrays, step, t, *sizes, threads=32)
    return None

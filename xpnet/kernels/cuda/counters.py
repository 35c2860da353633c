"""The device counters of a training step on CUDA: what train.counters does in six calls, in one launch."""

from __future__ import annotations

from typing import Any

from xpnet.kernels import register
from xpnet.kernels.cuda import driver

__all__ = ["advance_counters"]


@register("advance_counters", "cuda", recordable=True)
def advance_counters(loss: Any, losses: Any, rates: Any, rate: Any, step: Any, t: Any) -> Any:
    """Store the loss of a step, count the step, and set the next one's rates, as DeviceCounters.advance defines it."""
    if not driver.supports(loss) or len({str(a.dtype) for a in (loss, losses, rates, rate)}) > 1:
        return NotImplemented
    n = losses.shape[0]
    groups = rate.shape[0]
    driver.blocks(
        "counters", "advance_counters", loss.dtype, 1, loss, losses, rates, rate, step, t, n, groups, threads=32
    )
    return None

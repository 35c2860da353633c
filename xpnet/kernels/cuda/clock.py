"""The clock of a recorded step on CUDA: what train.clock does in six calls, in one launch of one thread."""

from __future__ import annotations

from typing import Any

from xpnet.kernels import register
from xpnet.kernels.cuda import driver

__all__ = ["tick"]


@register("tick", "cuda", recordable=True)
def tick(loss: Any, losses: Any, rates: Any, rate: Any, step: Any, t: Any) -> Any:
    """Note the loss of a step, count it, and lay out the next step's rate, as train.clock.Clock.tick does."""
    if not driver.supports(loss) or len({str(a.dtype) for a in (loss, losses, rates, rate)}) > 1:
        return NotImplemented
    n = losses.shape[0]
    driver.blocks("clock", "tick", loss.dtype, 1, loss, losses, rates, rate, step, t, n, rate.shape[0], threads=32)
    return None

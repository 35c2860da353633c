"""Dropout on CUDA, by the bits of random.py."""

from __future__ import annotations

from typing import Any

from xpnet.kernels import register
from xpnet.kernels.cuda import driver
from xpnet.kernels.cuda.philox import draw_arguments
from xpnet.random import Key, drop_threshold

__all__ = ["random_dropout"]

_EACH = 8  # numbers a thread: the halves of a block of the generator


@register("random_dropout", "cuda", recordable=True)
def random_dropout(x: Any, key: Key, rate: float, start: int) -> tuple[Any, Any]:
    """Drop as ops.random_dropout does; the way back draws again, so nothing is kept."""
    if not driver.supports(x):
        return NotImplemented
    draw = (start, drop_threshold(rate), 1.0 / (1.0 - rate), *draw_arguments(key))

    def dropped(a: Any) -> Any:
        a = driver.contiguous(a)
        y = driver.empty(a.shape, a.dtype)
        threads = -(-(start % _EACH + a.size) // _EACH) if a.size else 0
        driver.launch("dropout", "random_dropout", a.dtype, threads, a, y, a.size, *draw)
        return y

    return dropped(x), lambda dy, needs: (dropped(dy) if needs[0] else None,)

"""softmax_cross_entropy on CUDA, of integer labels and their mean: one or two launches forward, one backward."""

from __future__ import annotations

import numpy as np

from xpnet.backend import namespace
from xpnet.kernels.cuda import driver
from xpnet.kernels.cuda.driver import DeviceArray, Gradients, Needs, Result

__all__ = ["softmax_cross_entropy"]

_FEW_CLASSES = 32  # up to here a thread computes a row, beyond a block does
_ROWS_OF_ONE_BLOCK = 4096  # with few classes, one block sums so many rows, in one launch


def _threads(n: int, most: int) -> int:
    """Whole warps for n, at least one and at most `most` threads."""
    return min(most, 32 * max(1, -(-n // 32)))


@driver.kernel("softmax_cross_entropy")
def softmax_cross_entropy(
    logits: DeviceArray, labels: DeviceArray, label_smoothing: float, class_weights: DeviceArray | None, reduction: str
) -> Result:
    """Compute what ops.softmax_cross_entropy does, without weights or smoothing, and the mean."""
    if labels.ndim != 1 or label_smoothing or class_weights is not None or reduction != "mean":
        return NotImplemented
    xp = namespace(logits)
    dtype, (n, classes) = logits.dtype, logits.shape
    wide = np.float64 if np.dtype(dtype) == np.float64 else np.float32
    logits, labels = driver.contiguous(logits), driver.contiguous(xp.astype(labels, xp.int64, copy=False))
    loss, kept = driver.empty((), dtype), driver.empty((n, 2), wide)
    narrow = classes <= _FEW_CLASSES
    if narrow:
        threads = _threads(n, 1024 if n <= _ROWS_OF_ONE_BLOCK else 256)
        count = 1 if n <= _ROWS_OF_ONE_BLOCK else min(1024, -(-n // threads))
        parts = driver.empty((count,), wide) if count > 1 else None
        arrays = (logits, labels, kept, parts, loss)
        driver.blocks("loss", "cross_entropy_narrow", dtype, count, *arrays, n, classes, threads=threads)
    else:
        count, parts = n, driver.empty((n,), wide)
        threads = _threads(classes // 4, 256)
        driver.blocks("loss", "cross_entropy_wide", dtype, n, logits, labels, kept, parts, classes, threads=threads)
    if not narrow or count > 1:
        driver.blocks("loss", "cross_entropy_mean", dtype, 1, parts, loss, count, n, threads=_threads(count, 1024))

    def vjp(dy: DeviceArray, needs: Needs) -> Gradients:
        if not needs[0]:
            return (None, None)
        dlogits = driver.empty((n, classes), dtype)
        arrays = (logits, labels, kept, driver.contiguous(dy), dlogits)
        driver.launch("loss", "cross_entropy_back", dtype, n * classes, *arrays, n, classes)
        return (dlogits, None)

    return loss, vjp

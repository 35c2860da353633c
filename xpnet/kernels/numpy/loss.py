"""softmax_cross_entropy for NumPy: labels are used as indices instead of compared with each class."""

from __future__ import annotations

import numpy as np

from xpnet.backend import empty, launch
from xpnet.kernels import register
from xpnet.kernels.numpy.arrays import Array, Gradients, Needs, Result

__all__ = ["softmax_cross_entropy"]


@register("softmax_cross_entropy", "numpy", recordable=True)
def softmax_cross_entropy(
    logits: Array, labels: Array, label_smoothing: float, class_weights: Array | None, reduction: str
) -> Result:
    """Measure as ops.softmax_cross_entropy does, for integer labels without weights or smoothing, and their mean."""
    if labels.ndim != 1 or label_smoothing or class_weights is not None or reduction != "mean":
        return NotImplemented
    (n, classes), dtype = logits.shape, logits.dtype
    rows, index = np.arange(n), labels
    shifted, share = empty(logits.shape, dtype), empty(logits.shape, dtype)
    total, loss = empty((n, 1), dtype), empty((), dtype)

    def forward() -> None:
        nonlocal index
        top = np.maximum.reduce(logits, axis=1, keepdims=True)
        index, unsigned = labels, labels.astype(np.uint64)  # a negative label becomes a large one
        if np.maximum.reduce(unsigned, initial=0) >= classes:
            unknown = unsigned >= classes
            index, top[unknown] = np.where(unknown, 0, labels), np.nan
        np.subtract(logits, top, shifted)
        np.exp(shifted, share)
        np.add.reduce(share, axis=1, out=total, keepdims=True)
        loss[...] = (np.add.reduce(np.log(total), axis=None) - np.add.reduce(shifted[rows, index])) / n

    launch(forward)

    def vjp(dy: Array, needs: Needs) -> Gradients:
        if not needs[0]:
            return (None, None)
        grad = empty(logits.shape, dtype)

        def backward() -> None:
            np.divide(share, total, grad)
            grad[rows, index] -= 1.0
            np.multiply(grad, dy / n, grad)

        launch(backward)
        return (grad, None)

    return loss, vjp

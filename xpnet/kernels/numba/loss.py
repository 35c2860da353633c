"""softmax_cross_entropy for NumPy arrays, compiled: one pass forward and one backward."""

from __future__ import annotations

import numpy as np

from xpnet.backend import as_contiguous, empty, launch
from xpnet.kernels import register
from xpnet.kernels.numba.compiling import FLOATS, compiled
from xpnet.kernels.numpy.arrays import Array, Gradients, Needs, Result

__all__ = ["softmax_cross_entropy"]


@register("softmax_cross_entropy", "numba", recordable=True)
def softmax_cross_entropy(
    logits: Array, labels: Array, label_smoothing: float, class_weights: Array | None, reduction: str
) -> Result:
    """Measure as ops.softmax_cross_entropy does, for integer labels without weights or smoothing, and their mean."""
    if labels.ndim != 1 or label_smoothing or class_weights is not None or reduction != "mean":
        return NotImplemented
    if logits.dtype not in FLOATS or not logits.size:
        return NotImplemented
    n, classes = logits.shape
    known = labels
    if labels.dtype != np.int64:
        known = empty(labels.shape, np.int64)
        launch(np.copyto, known, labels)
    known = as_contiguous(known)
    share, total, loss = empty((n, classes), logits.dtype), empty((n,), logits.dtype), empty((), logits.dtype)
    launch(_measure, as_contiguous(logits), known, share, total, loss)

    def vjp(dy: Array, needs: Needs) -> Gradients:
        if not needs[0]:
            return (None, None)
        grad = empty((n, classes), logits.dtype)
        launch(_gradient, share, total, known, grad, dy)
        return (grad, None)

    return loss, vjp


def _measure(logits: Array, labels: Array, share: Array, total: Array, loss: Array) -> None:
    loss[...] = _forward(logits, labels, share, total) / len(labels)


def _gradient(share: Array, total: Array, labels: Array, grad: Array, dy: Array) -> None:
    _back(share, total, labels, grad, float(dy) / len(labels))


@compiled("T2, I1, T2, T1")
def _forward(logits, labels, share, total):
    """Write exponentials and their sums, NaN where a label is no class; return the sum of losses."""
    classes, loss = logits.shape[1], 0.0
    for n in range(len(labels)):
        row, out = logits[n], share[n]
        known, top, whole = 0 <= labels[n] < classes, row[0], logits.dtype.type(0)
        for k in range(classes):
            if row[k] > top:
                top = row[k]
        if not known:
            top = logits.dtype.type(np.nan)
        for k in range(classes):
            out[k] = np.exp(row[k] - top)  # NaN where row[k] is
            whole += out[k]
        total[n] = whole
        loss += np.log(whole) - ((row[labels[n]] if known else top) - top)
    return loss


@compiled("T2, T1, I1, T2, d")
def _back(share, total, labels, grad, rate):
    rate, one = grad.dtype.type(rate), grad.dtype.type(1)
    for n in range(len(labels)):
        row, out, whole = share[n], grad[n], total[n]
        for k in range(len(row)):
            out[k] = row[k] / whole * rate
        right = labels[n]
        if 0 <= right < len(row):
            out[right] = (row[right] / whole - one) * rate

"""The inputs of a network on one scale: about as large in every column, whatever its unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.backend import Array
from xpnet.data.scale import chunks
from xpnet.errors import DataError

__all__ = ["measure", "standardized", "standardized_host"]

_DIGITS = 16  # binary digits that mean and factor keep
_LEAST = 1 / 4  # of a column's range: the smallest deviation that it is divided by


def measure(x: np.ndarray, weights: np.ndarray | None, least: float = _LEAST) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of each column, or channel, and what it is multiplied by afterwards: (D,) float64 each.

        factor = 1 / max(deviation, least * range)

    With 1/4 no value of the training set is beyond 4: a pixel that is rarely lit, or a column with a far value, does
    not outweigh the others. The factor of a column that does not vary is 0, for nothing is learned of it.

    Both are rounded to 16 binary digits of the deviation: then examples with weights and repeated examples, whose sums
    differ in the last place, are standardized alike.

    Args:
        x: (N, ..., D). weights: (N,), > 0; None: all alike. least: >= 0.
    Raises:
        DataError: the sum or the range of a column is no finite number.
    """
    axes = tuple(range(x.ndim - 1))
    low, high = x.min(axis=axes).astype(np.float64), x.max(axis=axes).astype(np.float64)
    with np.errstate(over="ignore"):
        mean, span = _average(x, weights), high - low
    if not (good := np.isfinite(mean) & np.isfinite(span)).all():
        raise DataError("fit", "columns whose sum and range are finite numbers", column=int(np.argmin(good)))
    varies = span > 0
    parts = np.where(varies, span, np.inf)
    square = _average(x, weights, lambda rows: np.square((rows - mean) / parts))  # within 1: no overflow
    deviation = np.where(varies, span * np.maximum(np.sqrt(square), least), 1.0)
    grid = np.exp2(np.floor(np.log2(deviation)) - _DIGITS)
    mean = np.where(varies, np.rint(mean / grid) * grid, low)
    with np.errstate(over="ignore"):
        factor = np.where(varies, 1 / (np.rint(deviation / grid) * grid), 0.0)
    return mean, np.minimum(factor, np.finfo(np.float64).max)


def _average(x: np.ndarray, weights: np.ndarray | None, of: Callable[[np.ndarray], np.ndarray] | None = None) -> Any:
    """Return the mean of x, or of a function of it, over all axes but the last, (D,); a million numbers at a time."""
    total, count = np.zeros(x.shape[-1]), len(x) if weights is None else weights.sum()
    for start, part in chunks(x):
        rows = part.astype(np.float64).reshape(len(part), -1, x.shape[-1])  # (n, H*W, D)
        rows = (rows if of is None else of(rows)).mean(axis=1)
        total += rows.sum(axis=0) if weights is None else weights[start : start + len(part)] @ rows
    return total / count


def standardized(x: Array, mean: Array, factor: Array) -> Array:
    """Return (x - mean) * factor, of arrays of one library and dtype."""
    return (x - mean) * factor


def standardized_host(x: np.ndarray, mean: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Return the same in float32, of arrays of the host, about a million numbers at a time."""
    found = np.empty(x.shape, np.float32)
    for start, part in chunks(x):
        found[start : start + len(part)] = standardized(part, mean, factor)
    return found

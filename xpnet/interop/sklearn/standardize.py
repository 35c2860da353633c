"""The inputs of a network on one scale: about as large in every column, whatever its unit."""

from __future__ import annotations

import numpy as np

from xpnet.backend import Array

__all__ = ["measure", "standardized"]

_DIGITS = 16  # binary digits that mean and factor keep
_LEAST = 1 / 4  # of a column's range: the smallest deviation that it is divided by


def measure(x: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of each column, or channel, and what it is multiplied by afterwards: (D,) float64 each.

        factor = 1 / max(deviation, range / 4)

    So no value of the training set is beyond 4: a pixel that is rarely lit, or a column with a far value, does not
    outweigh the others. The factor of a column that does not vary is 0, for nothing is learned of it.

    Both are rounded to 16 binary digits of the deviation: then examples with weights and repeated examples, whose sums
    differ in the last place, are standardized alike.

    Args:
        x: (N, ..., D). weights: (N,), > 0; None: all alike.
    """
    axes = tuple(range(x.ndim - 1))
    low, high = x.min(axis=axes).astype(np.float64), x.max(axis=axes).astype(np.float64)
    mean = _average(x, weights)
    square = _average(np.square(x - mean.astype(x.dtype)), weights)
    deviation = np.where(high > low, np.maximum(np.sqrt(square), _LEAST * (high - low)), 0.0)
    varies = deviation > 0
    deviation = np.where(varies, deviation, 1.0)
    grid = np.exp2(np.floor(np.log2(deviation)) - _DIGITS)
    mean = np.where(varies, np.rint(mean / grid) * grid, low)
    return mean, np.where(varies, 1 / (np.rint(deviation / grid) * grid), 0.0)


def _average(x: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Return the mean over all axes but the last, (D,)."""
    if weights is None:
        return x.mean(axis=tuple(range(x.ndim - 1)), dtype=np.float64)
    rows = np.average(x.reshape(len(x), -1), axis=0, weights=weights)  # (H*W*D,)
    return rows.reshape(-1, x.shape[-1]).mean(axis=0)


def standardized(x: Array, mean: Array, factor: Array) -> Array:
    """Return (x - mean) * factor, of arrays of one library and dtype."""
    return (x - mean) * factor

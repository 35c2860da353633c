"""Metrics of numbers, predicted (N, M) against true (N, M), on the host; one for each of the M columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.data import host
from xpnet.errors import DTypeError, ShapeError

__all__ = ["mean_absolute_error", "r2_score", "root_mean_squared_error"]


def _checked(name: str, predicted: Any, true: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float64, (N, M); (N,) is one column."""
    predicted, true = host(name, predicted), host(name, true)
    for what, array in (("predicted", predicted), ("true", true)):
        if array.dtype.kind not in "buif":
            raise DTypeError(name, f"{what} that are real numbers", **{what: array.dtype})
    if predicted.shape != true.shape or not true.ndim or not len(true):
        rule = "predicted and true of one shape, (N,) or (N, ...), N >= 1"
        raise ShapeError(name, rule, predicted=predicted.shape, true=true.shape)
    return predicted.astype(np.float64).reshape(len(true), -1), true.astype(np.float64).reshape(len(true), -1)


def root_mean_squared_error(predicted: Any, true: Any) -> np.ndarray:
    """The root of the average of (predicted - true)^2 over the examples, for each column: (M,).

    Args:
        predicted, true: (N,) or (N, ...), arrays of any library or lists.
    Raises:
        ShapeError, DTypeError: shapes differ, or one is no numbers.
    """
    p, t = _checked("root_mean_squared_error", predicted, true)
    return np.sqrt(np.mean((p - t) ** 2, axis=0))


def mean_absolute_error(predicted: Any, true: Any) -> np.ndarray:
    """The average of |predicted - true| over the examples, for each column: (M,).

    Args:
        predicted, true: (N,) or (N, ...), arrays of any library or lists.
    Raises:
        ShapeError, DTypeError: shapes differ, or one is no numbers.
    """
    p, t = _checked("mean_absolute_error", predicted, true)
    return np.mean(np.abs(p - t), axis=0)


def r2_score(predicted: Any, true: Any) -> np.ndarray:
    """The share of the variance that is predicted, for each column: (M,).

        R^2 = 1 - sum of (predicted - true)^2 / sum of (true - mean of true)^2

    Of a column that does not vary it is 1 if all is predicted exactly, else 0; of one example it is NaN.

    Args:
        predicted, true: (N,) or (N, ...), arrays of any library or lists.
    Raises:
        ShapeError, DTypeError: shapes differ, or one is no numbers.
    """
    p, t = _checked("r2_score", predicted, true)
    if len(t) < 2:
        return np.full(t.shape[1], np.nan)
    wrong, all_ = np.sum((p - t) ** 2, axis=0), np.sum((t - t.mean(axis=0)) ** 2, axis=0)
    constant = t.max(axis=0) == t.min(axis=0)
    return np.where(
        constant,
        np.where(wrong == 0, 1.0, np.where(np.isnan(wrong), np.nan, 0.0)),
        1 - wrong / np.where(constant, 1.0, all_),
    )

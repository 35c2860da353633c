"""Figures of classes, of host arrays: scores (N, K) and labels (N,)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.data import host
from xpnet.errors import ConfigError, DTypeError, ShapeError

__all__ = [
    "accuracy",
    "columns_of",
    "confusion_matrix",
    "is_lower_better",
    "is_scored",
    "top_k_accuracy",
]


def _checked(name: str, scores: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return scores (N, K) and labels (N,), 0 .. K-1, on the host."""
    scores, labels = host(name, scores), host(name, labels)
    if scores.ndim != 2 or not scores.shape[1] or labels.shape != scores.shape[:1] or not len(labels):
        got = {"scores": scores.shape, "labels": labels.shape}
        raise ShapeError(name, "scores of shape (N, K) and labels (N,), N >= 1", **got)
    if scores.dtype.kind not in "buif":
        raise DTypeError(name, "scores that are real numbers", scores=scores.dtype)
    return scores, _classes(name, "labels", labels, scores.shape[1])


def _classes(where: str, name: str, values: np.ndarray, K: int) -> np.ndarray:
    """Return numbers of classes as int64; an error unless they are whole numbers in 0 .. K-1."""
    if values.dtype.kind not in "bui":
        raise DTypeError(where, f"{name} that are integers", **{name: values.dtype})
    if values.size and not 0 <= int(values.min()) <= int(values.max()) < K:
        outside = values.min() if values.min() < 0 else values.max()
        raise ConfigError(where, f"{name} in 0..K-1", **{name: int(outside)}, K=K)
    return values.astype(np.int64)


def columns_of(scores: np.ndarray) -> np.ndarray:
    """Return scores (N, K); of one score an example, (N, 1) or (N,), those of two classes, (N, 2)."""
    if scores.ndim == 2 and scores.shape[1] != 1:
        return scores
    one = scores.reshape(len(scores), 1)
    return np.concatenate([np.where(np.isnan(one), one, 0), one], axis=1)


def is_scored(scores: np.ndarray) -> np.ndarray:
    """Whether each example, a row of scores (N, K), has none that is NaN: bool, (N,)."""
    return np.logical_not(np.isnan(scores).any(axis=1))


def accuracy(scores: Any, labels: Any) -> float:
    """Share of examples whose highest score is the label's, 0 to 1; on ties the first class counts.

    Args:
        scores: (N, K), arrays of any library or lists; an example with a score that is NaN counts as wrong.
        labels: (N,), integers in 0 .. K-1.
    Raises:
        ShapeError, DTypeError, ConfigError: sizes disagree, or a label is no class.
    """
    scores, labels = _checked("accuracy", scores, labels)
    return float(np.mean((np.argmax(scores, axis=1) == labels) & is_scored(scores)))


def top_k_accuracy(scores: Any, labels: Any, k: int = 5) -> float:
    """Share of examples whose label is among the k highest scores, 0 to 1; ties count against the label.

    Args:
        scores: (N, K), arrays of any library or lists; an example with a score that is NaN counts as wrong.
        labels: (N,), integers in 0 .. K-1.
        k: 1 .. K.
    Raises:
        ConfigError: k is outside 1 .. K, or a label is no class. ShapeError, DTypeError: sizes or kinds disagree.
    """
    name = "top_k_accuracy"
    scores, labels = _checked(name, scores, labels)
    k = arguments.count(name, "k", k, 1, scores.shape[1])
    of_label = np.take_along_axis(scores, labels[:, None], axis=1)
    ahead = np.sum(scores >= of_label, axis=1) - 1
    return float(np.mean((ahead < k) & is_scored(scores)))


def confusion_matrix(predicted: Any, labels: Any, classes: int) -> np.ndarray:
    """Count how often each class is predicted as each.

    Args:
        predicted: predicted classes, (N,), 0 .. K-1, arrays of any library or lists.
        labels: correct classes, (N,), 0 .. K-1.
        classes: K.
    Returns:
        int64, (K, K): entry [i, j] counts examples of class i predicted as class j.
    Raises:
        ShapeError: lengths differ. DTypeError, ConfigError: a number is no class.
    """
    name = "confusion_matrix"
    K, predicted, labels = (
        arguments.count(name, "classes", classes, 1, 1 << 15),
        host(name, predicted),
        host(name, labels),
    )
    if predicted.shape != labels.shape or labels.ndim != 1:
        raise ShapeError(name, "predicted and labels of shape (N,)", predicted=predicted.shape, labels=labels.shape)
    if labels.size:
        predicted, labels = _classes(name, "predicted", predicted, K), _classes(name, "labels", labels, K)
    return np.bincount((labels * K + predicted).astype(np.int64), minlength=K * K).reshape(K, K)


def is_lower_better(name: str) -> bool:
    """Whether a figure of that name is a loss or an error, of which the lowest is best."""
    return bool(re.search("loss|error|rmse|mae|mse", name))

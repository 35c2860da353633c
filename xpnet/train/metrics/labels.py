"""Metrics of predicted classes and labels, on the host: precision, recall and F1 of each, and their averages.

A figure whose denominator is 0, such as the precision of a class that is never predicted, is 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.data import host
from xpnet.errors import ConfigError, ShapeError
from xpnet.train.metrics.classes import confusion_matrix

__all__ = ["balanced_accuracy", "exact_match", "f1_score", "precision_recall_f1"]


def precision_recall_f1(predicted: Any, true: Any, classes: int | None = None) -> np.ndarray:
    """Precision, recall and F1 of each class or label.

        precision = TP / (TP + FP),  recall = TP / (TP + FN),  F1 = 2 TP / (2 TP + FP + FN)

    Args:
        predicted, true: classes (N,), 0..K-1; or 0/1 matrices (N, L), whose columns are labels. Arrays of any library,
            or lists.
        classes: K; None: of matrices.
    Returns:
        (3, K) or (3, L): a row of each of the three.
    Raises:
        ShapeError: shapes differ. ConfigError, DTypeError: a number is no class, or neither 0 nor 1.
    """
    return _figures(*_counts("precision_recall_f1", predicted, true, classes))


def balanced_accuracy(predicted: Any, true: Any, classes: int) -> float:
    """The average recall of the classes that have examples, 0 to 1.

    Args:
        predicted, true: classes (N,), 0..K-1, arrays of any library or lists.
        classes: K.
    Raises:
        ShapeError: shapes differ. ConfigError, DTypeError: a number is no class.
    """
    recall, (hits, _, missed) = precision_recall_f1(predicted, true, classes)[1], _counts("", predicted, true, classes)
    there = hits + missed > 0
    return float(recall[there].mean()) if there.any() else float("nan")


def f1_score(predicted: Any, true: Any, average: str = "macro", classes: int | None = None) -> float:
    """F1 averaged over classes or labels.

    Args:
        predicted, true, classes: as precision_recall_f1 takes them.
        average: "macro": the mean of all classes' F1, also of those without examples; "micro": F1 of all decisions.
    Raises:
        ShapeError: shapes differ. ConfigError, DTypeError: a number is no class, or neither 0 nor 1.
    """
    average = arguments.choice("f1_score", "average", average, ("macro", "micro"))
    counts = _counts("f1_score", predicted, true, classes)
    if average == "micro":
        counts = tuple(count.sum(keepdims=True) for count in counts)
    return float(_figures(*counts)[2].mean())


def exact_match(predicted: Any, true: Any) -> float:
    """Share of examples of which every label is right, 0 to 1.

    Args:
        predicted, true: 0/1 matrices (N, L), arrays of any library or lists.
    Raises:
        ShapeError: shapes differ. ConfigError: a number is neither 0 nor 1.
    """
    predicted, true = (_bits("exact_match", name, a) for name, a in (("predicted", predicted), ("true", true)))
    if predicted.shape != true.shape or not len(true):
        rule = "predicted and true of one shape (N, L), N >= 1"
        raise ShapeError("exact_match", rule, predicted=predicted.shape, true=true.shape)
    return float(np.mean((predicted == true).all(axis=1)))


def _figures(hits: np.ndarray, wrong: np.ndarray, missed: np.ndarray) -> np.ndarray:
    def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.where(whole > 0, part / np.maximum(whole, 1), 0.0)

    return np.stack([share(hits, hits + wrong), share(hits, hits + missed), share(2 * hits, 2 * hits + wrong + missed)])


def _counts(name: str, predicted: Any, true: Any, classes: int | None) -> tuple[np.ndarray, ...]:
    """True positives, false positives, false negatives of each class or label."""
    if classes is not None:
        table = confusion_matrix(predicted, true, classes)
        hits = np.diagonal(table)
        return hits, table.sum(axis=0) - hits, table.sum(axis=1) - hits
    predicted, true = _bits(name, "predicted", predicted), _bits(name, "true", true)
    if predicted.shape != true.shape:
        raise ShapeError(name, "predicted and true of one shape (N, L)", predicted=predicted.shape, true=true.shape)
    return (predicted & true).sum(axis=0), (predicted & ~true).sum(axis=0), (~predicted & true).sum(axis=0)


def _bits(where: str, name: str, values: Any) -> np.ndarray:
    values = host(where, values)
    if values.ndim != 2:
        raise ShapeError(where, f"{name} of shape (N, L), or classes=", **{name: values.shape})
    good = (values == 0) | (values == 1) if values.dtype.kind in "buif" else np.zeros(values.shape, bool)
    if not good.all():
        raise ConfigError(where, f"{name} of 0 and 1", **{name: arguments.shown(values[~good].flat[0])})
    return values.astype(bool)

"""Metrics of host arrays, scores (N, K) and labels (N,), and the average loss of an epoch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from xpnet import arguments, nn
from xpnet.backend import Array, Backend
from xpnet.data import host
from xpnet.errors import ConfigError, DivergedError, DTypeError, ShapeError

__all__ = [
    "LossMeter",
    "Slot",
    "accuracy",
    "batch_weight",
    "columns_of",
    "confusion_matrix",
    "is_lower_better",
    "is_scored",
    "is_sum",
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


def is_sum(loss: Callable[..., Any]) -> bool:
    """Whether a loss adds up its examples: a loss of xpnet.nn with reduction="sum"."""
    loss, options = _unwrapped(loss)
    return nn.is_average(loss) and options.get("reduction") == "sum"


def _unwrapped(loss: Any) -> tuple[Any, dict[str, Any]]:
    """Return the function in a functools.partial, also a nested one, and its options."""
    options: dict[str, Any] = {}
    while isinstance(loss, partial):
        loss, options = loss.func, {**loss.keywords, **options}
    return loss, options


def batch_weight(loss: Callable[..., Any]) -> Callable[[np.ndarray], float] | None:
    """Return what a batch weighs in the average of an epoch, from its labels (N,); None: its number of examples.

    It is the sum of v[label] for a cross-entropy with class weights v, whose mean divides by it; and what a custom loss
    with a method weigh(labels) says.
    """
    if callable(weigh := getattr(loss, "weigh", None)):
        return weigh  # pyright: ignore[reportReturnType]
    loss, options = _unwrapped(loss)
    v = options.get("class_weights")
    if loss is not nn.softmax_cross_entropy or v is None or options.get("reduction", "mean") != "mean":
        return None
    weights = host("fit", v).astype(np.float64)
    return lambda labels: float(weights[labels].sum())


class Slot(NamedTuple):
    """One number in an array on the device: buffer[place]."""

    buffer: Array
    place: int


class LossMeter:
    """The average loss of an epoch; the losses of the steps stay on the device until the average is read.

    Args:
        backend: where the losses are.
        total, count: the weighted sum of losses and the weight before, when an epoch is resumed.
        sums: whether the losses are sums over examples, to be added up, and no means.
    """

    def __init__(self, backend: Backend, total: float = 0.0, count: float = 0, *, sums: bool = False) -> None:
        self.backend = arguments.instance("LossMeter", "backend", backend, kind=Backend, rule="a Backend")
        for name, value in (("total", total), ("count", count)):
            arguments.number("LossMeter", name, value)
        self.total = total
        self.count = count
        self.sums = arguments.boolean("LossMeter", "sums", sums)
        self._pending: list[tuple[int, float, Array | Slot]] = []

    def add(self, step: int, weight: float, loss: Array | Slot) -> None:
        """Add the mean loss of a step over its examples; nothing is copied.

        Args:
            step: its number, for messages.
            weight: what the batch weighs in the average: N, or as batch_weight says.
            loss: (), on the device; or the slot that holds it, which must not change until it is read.
        """
        self._pending.append((step, weight, loss))

    def read(self) -> float:
        """Copy the losses to the host, and return the average so far.

        Raises:
            DivergedError: a step's loss was NaN or infinite; the message names the first.
        Cost: one transfer for any number of steps (one a buffer, of slots); sums are in the order of steps, whenever
            read.
        """
        if self._pending:
            losses = self._fetched([loss for _, _, loss in self._pending])
            for (step, weight, _), loss in zip(self._pending, losses, strict=True):
                if not math.isfinite(loss):
                    raise DivergedError.event("loss", "the loss is not finite", "lower lr", step=step, loss=loss)
                self.total += loss if self.sums else loss * weight
                self.count = 1 if self.sums else self.count + weight
            self._pending.clear()
        return self.total / self.count if self.count else 0.0

    def _fetched(self, losses: list[Array | Slot]) -> list[float]:
        xp, to_numpy = self.backend.xp, self.backend.to_numpy
        single = [loss for loss in losses if not isinstance(loss, Slot)]
        host = self.backend.on_host  # where np.stack is slow
        join = np.asarray if host else lambda each: xp.stack([xp.asarray(x) for x in each])
        singles = iter(to_numpy(join(single)).tolist() if single else ())
        buffers = {id(loss.buffer): loss.buffer for loss in losses if isinstance(loss, Slot)}
        read = {key: to_numpy(buffer).tolist() for key, buffer in buffers.items()}
        return [read[id(loss.buffer)][loss.place] if isinstance(loss, Slot) else next(singles) for loss in losses]

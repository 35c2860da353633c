"""Metrics of host arrays, scores (N, K) and labels (N,), and the average loss of an epoch."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from xpnet.backend import Array, Backend
from xpnet.errors import ConfigError, DivergedError, ShapeError

__all__ = ["LossMeter", "Slot", "accuracy", "confusion_matrix", "top_k_accuracy"]


def _check(name: str, scores: np.ndarray, labels: np.ndarray) -> None:
    if scores.ndim != 2 or labels.shape != scores.shape[:1] or not len(labels):
        got = {"scores": scores.shape, "labels": labels.shape}
        raise ShapeError(name, "scores of shape (N, K) and labels (N,), N >= 1", **got)


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Share of examples whose highest score is the label's, 0 to 1; on ties the first class counts."""
    _check("accuracy", scores, labels)
    return float(np.mean(np.argmax(scores, axis=1) == labels))


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: int = 5) -> float:
    """Share of examples whose label is among the k highest scores, 0 to 1; ties count against the label.

    Args:
        scores: (N, K).
        labels: (N,), 0 .. K-1.
        k: 1 .. K.
    Raises:
        ConfigError: k is outside 1 .. K. ShapeError: sizes disagree.
    """
    _check("top_k_accuracy", scores, labels)
    if not 1 <= k <= scores.shape[1]:
        raise ConfigError("top_k_accuracy", "1 <= k <= K", k=k, K=scores.shape[1])
    of_label = np.take_along_axis(scores, labels[:, None], axis=1)
    ahead = np.sum(scores >= of_label, axis=1) - 1
    return float(np.mean(ahead < k))


def confusion_matrix(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Count how often each class is predicted as each.

    Args:
        predicted: predicted classes, (N,), 0 .. K-1.
        labels: correct classes, (N,).
        classes: K.
    Returns:
        int64, (K, K): entry [i, j] counts examples of class i predicted as class j.
    Raises:
        ShapeError: lengths differ.
    """
    if predicted.shape != labels.shape or labels.ndim != 1:
        got = {"predicted": predicted.shape, "labels": labels.shape}
        raise ShapeError("confusion_matrix", "predicted and labels of shape (N,)", **got)
    flat = np.bincount(labels.astype(np.int64) * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes)


class Slot(NamedTuple):
    """One number in an array on the device: buffer[place]."""

    buffer: Array
    place: int


class LossMeter:
    """The average loss of an epoch; the losses of the steps stay on the device until the average is read.

    Args:
        backend: where the losses are.
        total, count: the sum of losses and the examples before, when an epoch is resumed.
    """

    def __init__(self, backend: Backend, total: float = 0.0, count: int = 0) -> None:
        self.backend = backend
        self.total = total
        self.count = count
        self._pending: list[tuple[int, int, Array | Slot]] = []

    def add(self, step: int, examples: int, loss: Array | Slot) -> None:
        """Add the mean loss of a step over its examples; nothing is copied.

        Args:
            step: its number, for messages.
            examples: N.
            loss: (), on the device; or the slot that holds it, which must not change until it is read.
        """
        self._pending.append((step, examples, loss))

    def read(self) -> float:
        """Copy the losses to the host, and return the average so far.

        Raises:
            DivergedError: a step's loss was NaN or infinite; the message names the first.
        Cost: one transfer for any number of steps (one a buffer, of slots); sums are in the order of steps, whenever
            read.
        """
        if self._pending:
            losses = self._fetched([loss for _, _, loss in self._pending])
            for (step, examples, _), loss in zip(self._pending, losses, strict=True):
                if not math.isfinite(loss):
                    raise DivergedError.event("loss", "the loss is not finite", "lower lr", step=step, loss=loss)
                self.total += loss * examples
                self.count += examples
            self._pending.clear()
        return self.total / max(1, self.count)

    def _fetched(self, losses: list[Array | Slot]) -> list[float]:
        xp, to_numpy = self.backend.xp, self.backend.to_numpy
        single = [loss for loss in losses if not isinstance(loss, Slot)]
        host = self.backend.on_host  # where np.stack is slow
        join = np.asarray if host else lambda each: xp.stack([xp.asarray(x) for x in each])
        singles = iter(to_numpy(join(single)).tolist() if single else ())
        buffers = {id(loss.buffer): loss.buffer for loss in losses if isinstance(loss, Slot)}
        read = {key: to_numpy(buffer).tolist() for key, buffer in buffers.items()}
        return [read[id(loss.buffer)][loss.place] if isinstance(loss, Slot) else next(singles) for loss in losses]

"""One class of several for each example."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xpnet import arguments, nn, ops
from xpnet.autograd import Tensor, apply
from xpnet.backend import Array
from xpnet.data import Dataset
from xpnet.errors import CheckpointError, ConfigError, DataError, ShapeError
from xpnet.ops.activation import logistic
from xpnet.train.class_weights import check_class_weights, given_values, weights_of
from xpnet.train.metrics import classes as metrics
from xpnet.train.metrics.labels import balanced_accuracy, precision_recall_f1
from xpnet.train.tasks.base import Headline, Pictures, Section, Task

__all__ = ["Classification"]

_log = logging.getLogger("xpnet")


@nn.averages_examples
def _cross_entropy(scores: Tensor, y: Array, **options: Any) -> Tensor:
    """Softmax and cross-entropy; of one score an example, which is that of class 1, beside a score of 0."""
    if scores.ndim == 1 or (scores.ndim == 2 and scores.shape[1] == 1):
        scores = scores.reshape(-1, 1)
        scores = apply(ops.concat, scores * 0.0, scores, axis=1)  # (N, 2); softmax is then the sigmoid
    return nn.softmax_cross_entropy(scores, y, **options)


class Classification(Task):
    """The class of each example, by softmax and cross-entropy.

    Scores are (N, K), or for two classes (N, 1) or (N,), that of class 1 beside 0 of class 0; targets are labels, (N,),
    in 0..K-1. predict returns the probability of each class, or that of class 1.
    """

    name = "classification"
    loss = staticmethod(_cross_entropy)
    labelled = True
    headline = Headline("accuracy", True)
    recorded = ("accuracy",)

    def __init__(self) -> None:
        self.given: Any = None  # as given_values has it
        self._saved = False  # whether a checkpoint says what was given
        self.class_weights: np.ndarray | None = None  # (K,)

    def set_class_weights(self, given: Any) -> None:
        """Take what each class weighs in the loss; of a checkpoint's task they stay what they are.

        Raises:
            CheckpointError: the training began with others.
        """
        given = given_values(given)
        if self._saved and given is not None and given != self.given:
            do = "omit class_weights, or give the same"
            got = arguments.shown(given)
            raise CheckpointError("resume", f"class_weights {arguments.shown(self.given)}", do, class_weights=got)
        self.given = self.given if self._saved else given

    def weighted(self, data: Dataset) -> Dataset:
        """Return a set in which each sample weighs as its class does."""
        if self.class_weights is None:
            return data
        if (label := int(data.y.max())) >= len(self.class_weights):
            raise DataError(data.name, "labels in 0..K-1", label=label, K=len(self.class_weights))
        return data.weighted(self.class_weights[data.y])

    def fit(self, data: Dataset) -> None:
        """Work out the weights of classes; warn where there is one class only."""
        if self.given is not None:
            self.class_weights = weights_of(self.given, data)
        if data.y.min() == data.y.max():
            name = data.classes[int(data.y[0])]
            _log.warning("fit: all labels are %r: there is nothing to tell apart", name)

    def read(self, where: str, data: Dataset) -> Dataset:
        """Check that there are labels."""
        if data.labelled:
            return data
        do = "cast classes to integers, y.astype(int)" if data.y.ndim == 1 else "of one-hot rows take y.argmax(axis=1)"
        raise DataError(where, "labels (N,), integers, for classification", do, shape=data.y.shape, dtype=data.y.dtype)

    def outputs(self, data: Dataset) -> int:
        """Return the number of classes."""
        return len(data.classes)

    def compare(self, where: str, scores: Tensor, y: Array) -> tuple[Tensor, Array]:
        """Return both as they are: the losses of classes check them."""
        return scores, y

    def check_scores(self, where: str, scores: np.ndarray, names: tuple[str, ...]) -> None:
        """Check that there is a score for each class."""
        if metrics.columns_of(scores).shape[1] < len(names):
            raise ShapeError(where, "a score for each class", scores=scores.shape, K=len(names))

    def figures(self, scores: np.ndarray, y: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
        """Measure accuracy, and which classes are predicted as which; see Trainer.evaluate."""
        columns = metrics.columns_of(scores)
        good, K = metrics.is_scored(columns), columns.shape[1]
        predicted = np.where(good, np.argmax(columns, axis=1), K)  # K: none, which counts as wrong
        each = precision_recall_f1(predicted, y, K + 1)[:, :K]
        counts = np.bincount(y, minlength=K)
        names = (*names, *(str(k) for k in range(len(names), K)))
        return {
            "accuracy": metrics.accuracy(columns, y),
            "balanced_accuracy": balanced_accuracy(predicted, y, K + 1),
            "macro_f1": float(each[2].mean()),
            "per_class": {
                name: {"precision": float(p), "recall": float(r), "f1": float(f), "examples": int(n)}
                for name, p, r, f, n in zip(names, *each, counts, strict=True)
            },
            "top5_accuracy": metrics.top_k_accuracy(columns, y, 5) if columns.shape[1] > 5 else None,
            "confusion": metrics.confusion_matrix(predicted[good], y[good], K),
        }

    def answer(self, scores: np.ndarray, normalize: Any = None, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Return the probability of each class: softmax, or the sigmoid of one score."""
        if scores.ndim == 1 or scores.shape[1] == 1:
            return logistic(np, scores)
        each = np.exp(scores - scores.max(axis=1, keepdims=True))
        return each / each.sum(axis=1, keepdims=True)

    def answer_tensor(self, scores: Tensor, normalize: Any = None, shape: tuple[int, ...] = ()) -> Tensor:
        """Return the probability of each class."""
        return scores.sigmoid() if scores.ndim == 1 or scores.shape[1] == 1 else scores.softmax(axis=1)

    def predictions(
        self, answers: np.ndarray, names: Sequence[str], x: np.ndarray, top: int = 1
    ) -> list[dict[str, Any]]:
        """Return of each example the most probable classes, and their probabilities."""
        ranked = np.argsort(-answers, axis=1, kind="stable")[:, :top]
        return [
            {"classes": [names[k] for k in order], "probabilities": [round(float(row[k]), 6) for k in order]}
            for row, order in zip(answers, ranked, strict=True)
        ]

    def describe(self) -> str:
        """Say it in a line."""
        weighted = ", weighted by class" if self.class_weights is not None or self.given is not None else ""
        return f"classification: one class an example, by accuracy{weighted}"

    def to_json(self) -> dict[str, Any]:
        """Return name and weights of classes."""
        weights = {} if self.class_weights is None else {"class_weights": self.class_weights.tolist()}
        return {"name": self.name, "given": self.given, **weights}

    def take(self, values: Mapping[str, Any]) -> None:
        """Take the weights of classes."""
        if "given" in values:
            try:
                self.given, self._saved = given_values(check_class_weights(values["given"])), True
            except ConfigError as error:
                raise CheckpointError("task", "given class_weights", given=arguments.shown(values["given"])) from error
        if "class_weights" in values:
            found = self._numbers(values, "class_weights")
            if found.ndim != 1 or not (found >= 0).all() or not found.any():
                rule = "class_weights of classification, numbers >= 0"
                raise CheckpointError("task", rule, class_weights=values["class_weights"])
            self.class_weights = found.astype(np.float32)

    def sections(self, trainer: Any, figures: Mapping[str, Any], test: Dataset) -> list[Section]:
        """Show confusions, the figures of each class, and mistakes."""
        from xpnet.viz.sections import classification_sections

        return classification_sections(trainer, figures["confusion"], metrics.columns_of(figures["scores"]), test)

    def pictures(self, figures: Mapping[str, Any], data: Dataset) -> Pictures:
        """Show confusions, and of images the most confident mistakes."""
        from xpnet import viz

        k, scores = len(data.classes), metrics.columns_of(figures["scores"])
        found: Pictures = {"confusion": lambda: viz.confusion(figures["confusion"][:k, :k], data.classes)}
        return found | ({"mistakes": lambda: viz.mistakes(scores, data)} if len(data.shape) == 3 else {})

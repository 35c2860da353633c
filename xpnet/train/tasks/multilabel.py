"""Several yes-or-no answers for each example."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from xpnet import nn
from xpnet.autograd import Tensor
from xpnet.data import Dataset
from xpnet.errors import CheckpointError, DataError
from xpnet.ops.activation import logistic
from xpnet.output import counted
from xpnet.train.metrics.labels import exact_match, f1_score, precision_recall_f1
from xpnet.train.tasks.base import Headline, Pictures, Section, Task, named

__all__ = ["Multilabel"]

_log = logging.getLogger("xpnet")


class Multilabel(Task):
    """Whether each of L labels holds, by a sigmoid and cross-entropy each.

    Scores are (N, L); targets are 0 or 1, (N, L), or (N,) for one label. predict returns the probability of each label;
    the figures count a label as predicted where that is above 1/2.
    """

    name = "multilabel"
    loss = staticmethod(nn.binary_cross_entropy)
    headline = Headline("micro_f1", True)
    recorded = ("micro_f1", "macro_f1", "exact_match")

    def __init__(self) -> None:
        self.labels = 0  # of the training set; 0: not known

    def read(self, where: str, data: Dataset) -> Dataset:
        """Check that targets are 0 or 1, and as many as in the training set."""
        y = data.y
        if data.labelled or y.ndim > 2:
            do = "use task='classification'" if data.labelled else ""
            rule = "targets (N, L) of 0 and 1, for multilabel"
            raise DataError(where, rule, do, shape=y.shape, dtype=y.dtype)
        y = y.reshape(len(y), -1).astype(np.float32, copy=False)
        wrong = np.argwhere((y != 0) & (y != 1))
        if len(wrong):
            sample, label = map(int, wrong[0])
            name = repr(data.classes[label]) if data.classes else label
            raise DataError(where, "targets of 0 and 1", value=f"{y[sample, label]:g}", sample=sample, label=name)
        if self.labels and y.shape[1] != self.labels:
            raise DataError(
                where, f"{counted(self.labels, 'label')} an example, as in the training set", labels=y.shape[1]
            )
        return replace(data, y=y)

    def fit(self, data: Dataset) -> None:
        """Warn of what cannot be learned, or may be meant otherwise."""
        self.labels = data.y.shape[1]
        if self.labels > 1 and (data.y.sum(axis=1) == 1).all():
            text = "fit: each example has exactly one label of %d: of one-hot rows take y.argmax(axis=1)"
            _log.warning(text, self.labels)
        same = np.flatnonzero(data.y.min(axis=0) == data.y.max(axis=0))
        if len(same):
            name = repr(data.classes[same[0]]) if data.classes else int(same[0])
            _log.warning("fit: the label %s is %g in every example", name, data.y[0, same[0]])

    def outputs(self, data: Dataset) -> int:
        """Return the number of labels."""
        return data.y[:1].size

    def in_units(self, scores: np.ndarray, normalize: Any = None, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Return the scores as rows."""
        return scores.reshape(len(scores), -1)

    def figures(self, scores: np.ndarray, y: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
        """Measure exact match, micro and macro F1, and precision, recall and F1 of each label by name."""
        predicted, true = scores > 0, y > 0.5
        each = precision_recall_f1(predicted, true)
        columns = names or tuple(str(k) for k in range(true.shape[1]))
        counts = true.sum(axis=0)
        return {
            "exact_match": exact_match(predicted, true),
            "micro_f1": f1_score(predicted, true, "micro"),
            "macro_f1": f1_score(predicted, true, "macro"),
            "per_label": {
                name: {"precision": float(p), "recall": float(r), "f1": float(f), "examples": int(n)}
                for name, p, r, f, n in zip(columns, *each, counts, strict=True)
            },
        }

    def answer(self, scores: np.ndarray, normalize: Any = None, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Return the probability of each label."""
        return logistic(np, self.in_units(scores))

    def answer_tensor(self, scores: Tensor, normalize: Any = None, shape: tuple[int, ...] = ()) -> Tensor:
        """Return the probability of each label."""
        return scores.reshape(scores.shape[0], -1).sigmoid()

    def sections(self, trainer: Any, figures: Mapping[str, Any], test: Dataset) -> list[Section]:
        """Return the curves and figures of each label."""
        from xpnet.viz.sections import multilabel_sections

        return multilabel_sections(self.answer(figures["scores"]), test.y, test.classes)

    def pictures(self, figures: Mapping[str, Any], data: Dataset) -> Pictures:
        """Show precision and recall of each label."""
        from xpnet import viz

        return {"labels": lambda: viz.multilabel(self.answer(figures["scores"]), data.y, data.classes)}

    def to_json(self) -> dict[str, Any]:
        """Return name and number of labels."""
        return {"name": self.name, "labels": self.labels}

    def take(self, values: Mapping[str, Any]) -> None:
        """Take the number of labels."""
        labels = values.get("labels")
        if type(labels) is not int or labels < 0:
            raise CheckpointError("task", "labels of multilabel, a whole number >= 0", labels=labels)
        self.labels = labels

    def predictions(
        self, answers: np.ndarray, names: Sequence[str], x: np.ndarray, top: int = 1
    ) -> list[dict[str, Any]]:
        """Return of each example the labels of probability 1/2 or more, and all probabilities."""
        rows = answers.reshape(len(answers), -1)
        names = named(names, rows.shape[1])
        return [
            {
                "labels": [name for name, p in zip(names, row, strict=True) if p >= 0.5],
                "probabilities": {name: round(float(p), 6) for name, p in zip(names, row, strict=True)},
            }
            for row in rows
        ]

    def describe(self) -> str:
        """Say it in a line."""
        return f"multilabel{f': {self.labels} yes-or-no labels an example' if self.labels else ''}, by micro F1"

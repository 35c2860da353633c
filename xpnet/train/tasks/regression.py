"""Numbers for each example."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from xpnet import nn
from xpnet.autograd import Tensor
from xpnet.data import Dataset
from xpnet.errors import CheckpointError, DataError
from xpnet.train.metrics.regression import mean_absolute_error, r2_score, root_mean_squared_error
from xpnet.train.tasks.base import Headline, Pictures, Section, Task, on_backend

__all__ = ["Regression"]

_log = logging.getLogger("xpnet")


class Regression(Task):
    """Numbers, by the squared error of targets that are standardized: less their mean, divided by their deviation.

    Targets are (N,) or (N, ...), of mean and deviation measured over the training set, each column by itself; one that
    does not vary is divided by 1. Scores have as many numbers an example. What predict returns, and the figures, are in
    the units of the targets; the loss is that of standardized ones.
    """

    name = "regression"
    loss = staticmethod(nn.mean_squared_error)
    headline = Headline("rmse", False)
    recorded = ("rmse", "mae", "r2")

    def __init__(self) -> None:
        self.mean: np.ndarray | None = None  # like the targets of one example, float64
        self.deviation: np.ndarray | None = None

    def read(self, where: str, data: Dataset) -> Dataset:
        """Take integers for numbers, and check that there are as many as in the training set."""
        if data.labelled:
            if data.classes != tuple(str(k) for k in range(len(data.classes))):
                do = "use task='classification'"
                raise DataError(where, "numbers to predict, for regression", do, classes=list(data.classes[:5]))
            data = replace(data, classes=(), y=data.y.astype(np.float32))
        if data.y.dtype != np.float32:
            data = replace(data, y=data.y.astype(np.float32))
        if self.mean is not None and data.y.shape[1:] != self.mean.shape:
            rule = f"targets (N, {', '.join(map(str, self.mean.shape))})".replace("(N, )", "(N,)")
            raise DataError(where, rule + ", as in the training set", shape=data.y.shape)
        return data

    def fit(self, data: Dataset) -> None:
        """Measure mean and deviation."""
        if self.mean is not None:
            return
        y = data.y.astype(np.float64)
        self.mean, deviation = y.mean(axis=0), y.std(axis=0)
        constant = y.max(axis=0) == y.min(axis=0)
        self.deviation = np.where(constant | (deviation == 0), 1.0, deviation)
        if constant.any():
            place = int(np.argmax(constant))
            name = data.classes[place] if data.classes else f"column {place}"
            _log.warning(
                "fit: the targets of %s are all %g: there is nothing to learn", name, y.reshape(len(y), -1)[0, place]
            )

    def targets(self, y: np.ndarray) -> np.ndarray:
        """Standardize."""
        return y if self.mean is None else ((y - self.mean) / self.deviation).astype(np.float32)

    def outputs(self, data: Dataset) -> int:
        """Return how many numbers an example has."""
        return math.prod(data.y.shape[1:])

    def in_units(self, scores: np.ndarray, normalize: Any = None, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Undo the standardization; of a model that was not fitted to targets scores are what they are."""
        if self.mean is None or self.deviation is None:
            return scores
        dtype = np.result_type(scores.dtype, np.float32)  # units may be beyond float16
        return (scores.reshape(-1, *self.mean.shape) * self.deviation + self.mean).astype(dtype)

    def answer_tensor(self, scores: Tensor, normalize: Any = None, shape: tuple[int, ...] = ()) -> Tensor:
        """Undo the standardization."""
        if self.mean is None or self.deviation is None:
            return scores
        rows = scores.reshape(-1, *self.mean.shape)
        return rows * on_backend(self.deviation, scores) + on_backend(self.mean, scores)

    def figures(self, scores: np.ndarray, y: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
        """Measure root mean squared error, mean absolute error and R2: averages over targets, and of each by name."""
        scores, y = scores.reshape(len(y), -1), y.reshape(len(y), -1)
        each = {
            "rmse": root_mean_squared_error(scores, y),
            "mae": mean_absolute_error(scores, y),
            "r2": r2_score(scores, y),
        }
        found: dict[str, Any] = {key: float(values.mean()) for key, values in each.items()}
        if y.shape[1] > 1:
            columns = names or tuple(str(k) for k in range(y.shape[1]))
            found["per_target"] = {c: {key: float(v[k]) for key, v in each.items()} for k, c in enumerate(columns)}
        return found

    def describe(self) -> str:
        """Say it in a line."""
        count = 0 if self.mean is None else self.mean.size
        what = "" if not count else " of a number" if count == 1 else f" of {count} numbers"
        return f"regression{what}: squared error of standardized targets, figures in their own units"

    def sections(self, trainer: Any, figures: Mapping[str, Any], test: Dataset) -> list[Section]:
        """Show predicted against true numbers, and residuals."""
        from xpnet.viz.sections import regression_sections

        return regression_sections(figures["scores"], test.y, test.classes)

    def pictures(self, figures: Mapping[str, Any], data: Dataset) -> Pictures:
        """Show predicted against true numbers."""
        from xpnet import viz

        return {"regression": lambda: viz.regression(figures["scores"], data.y, data.classes)}

    def to_json(self) -> dict[str, Any]:
        """Return name, mean and deviation."""
        both = (
            {}
            if self.mean is None or self.deviation is None
            else {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}
        )
        return {"name": self.name, **both}

    def take(self, values: Mapping[str, Any]) -> None:
        """Take mean and deviation."""
        if "mean" not in values:
            return
        mean, deviation = self._numbers(values, "mean"), self._numbers(values, "deviation")
        if mean.shape != deviation.shape or not (deviation > 0).all():
            raise CheckpointError("task", "a deviation > 0 for each mean of regression", deviation=values["deviation"])
        self.mean, self.deviation = mean, deviation

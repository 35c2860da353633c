"""Targets of any shape, for a loss of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.autograd import Tensor
from xpnet.backend import Array
from xpnet.data import Dataset
from xpnet.errors import CheckpointError, DataError
from xpnet.train.tasks.base import Task, aligned

__all__ = ["Custom"]


class Custom(Task):
    """What a given loss compares: scores and targets reach it as they are, and predict returns the scores.

    Only numbers (N,) and rows of one number (N, 1) are brought together: scores get the shape of the targets.

    Args:
        loss: takes scores and targets, gives one number.
    """

    name = "custom"
    labelled = None
    needs_loss = True

    def __init__(self, loss: Callable[..., Tensor]) -> None:
        self.loss = loss
        self.dtype = ""  # of the training set's targets

    def fit(self, data: Dataset) -> None:
        """Keep the dtype of the targets."""
        self.dtype = self.dtype or data.y.dtype.name

    def read(self, where: str, data: Dataset) -> Dataset:
        """Bring targets to the dtype that those of the training set have: a few may be all 0 and 1, which are float32.

        Raises:
            DataError: the training set's are integers, and these are not.
        """
        if not self.dtype or data.y.dtype == self.dtype:
            return data
        y = data.y.astype(self.dtype)
        if (y != data.y).any():
            raise DataError(where, "targets that are integers, as in the training set", dtype=data.y.dtype)
        return replace(data, y=y, classes=() if data.labelled else data.classes)

    def to_json(self) -> dict[str, Any]:
        """Return name and dtype."""
        return {"name": self.name, "dtype": self.dtype}

    def take(self, values: Mapping[str, Any]) -> None:
        """Take the dtype."""
        self.dtype = values.get("dtype", "")
        if self.dtype not in ("", "float32", "int64"):
            raise CheckpointError("task", "dtype float32 or int64, for custom", dtype=arguments.shown(self.dtype))

    def outputs(self, data: Dataset) -> int:
        """Return how many numbers the targets of an example have; what the loss needs is not known."""
        return len(data.classes) if data.labelled else int(np.prod(data.y.shape[1:], dtype=int))

    def compare(self, where: str, scores: Tensor, y: Array) -> tuple[Tensor, Array]:
        """Bring (N,) and (N, 1) together, and numbers to one dtype."""
        return aligned(where, scores, y, required=False)

    def figures(self, scores: np.ndarray, y: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
        """Measure nothing: the loss is the figure."""
        return {}

    def describe(self) -> str:
        """Say it in a line."""
        loss: Any = self.loss
        while isinstance(loss, partial):
            loss = loss.func
        return f"custom: the loss {getattr(loss, '__name__', type(loss).__name__)} of targets as they are"

"""The inputs themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from xpnet import nn
from xpnet.autograd import Tensor
from xpnet.data import Dataset, Normalize, several
from xpnet.errors import DataError
from xpnet.train.tasks.base import Headline, Pictures, Section, Task, on_backend

__all__ = ["Reconstruction"]

_SHOWN = 1000  # examples that a report chooses from


class Reconstruction(Task):
    """The inputs, by squared error: what an autoencoder learns.

    The targets of a batch are its own inputs, augmented and normalized as the model gets them; labels or targets that a
    set has are not looked at. Scores have as many numbers an example as the inputs. What predict returns, and the
    figures, are in the units of the inputs (with a custom normalize: normalized); the loss is that of normalized ones.
    """

    name = "reconstruction"
    loss = staticmethod(nn.mean_squared_error)
    labelled = None
    of_inputs = True
    headline = Headline("mse", False)
    recorded = ("mse",)

    def read(self, where: str, data: Dataset) -> Dataset:
        """Replace targets that are the inputs by small ones, which nobody reads."""
        if several.is_several(data.x):
            raise DataError(where, "one array of inputs, for reconstruction", inputs=len(several.each(data.x)))
        return data if data.labelled else replace(data, y=np.zeros(len(data), np.float32), classes=())

    def outputs(self, data: Dataset) -> tuple[int, ...]:
        """Return the shape of an example."""
        return data.shape

    def in_units(self, scores: np.ndarray, normalize: Any = None, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Undo the normalization of inputs of a shape."""
        scores = scores.reshape(len(scores), *shape) if math.prod(shape) == scores[:1].size else scores
        if not isinstance(normalize, Normalize):
            return scores
        dtype = np.result_type(scores.dtype, np.float32)
        mean, std = (np.asarray(values, dtype) * normalize.white for values in (normalize.mean, normalize.std))
        return scores * std + mean

    def answer_tensor(self, scores: Tensor, normalize: Any = None, shape: tuple[int, ...] = ()) -> Tensor:
        """Undo the normalization of inputs of a shape."""
        if math.prod(shape) == math.prod(scores.shape[1:]):
            scores = scores.reshape(scores.shape[0], *shape)
        if not isinstance(normalize, Normalize):
            return scores
        means, stds = ([v * normalize.white for v in values] for values in (normalize.mean, normalize.std))
        return scores * on_backend(stds, scores) + on_backend(means, scores)

    def figures(self, scores: np.ndarray, y: Any, names: tuple[str, ...]) -> dict[str, Any]:
        """Measure the squared error of each example, and their average."""
        each = np.empty(len(scores))
        for start in range(0, len(scores), 256):
            part = slice(start, start + 256)
            wrong = scores[part].astype(np.float64).reshape(len(scores[part]), -1)
            each[part] = np.mean((wrong - np.asarray(y[part]).reshape(wrong.shape)) ** 2, axis=1)
        return {"mse": float(each.mean()), "each": each}

    def sections(self, trainer: Any, figures: Mapping[str, Any], test: Dataset) -> list[Section]:
        """Return inputs beside outputs."""
        from xpnet.viz.sections import reconstruction_sections

        scores = figures["scores"][:_SHOWN]
        return reconstruction_sections(test.x[: len(scores)], scores, test.white)

    def pictures(self, figures: Mapping[str, Any], data: Dataset) -> Pictures:
        """Show inputs beside outputs."""
        from xpnet import viz

        y = figures["scores"][:_SHOWN]
        return {"reconstruction": lambda: viz.reconstruction(data.x[: len(y)], y, white=data.white)}

    def predictions(
        self, answers: np.ndarray, names: Sequence[str], x: np.ndarray, top: int = 1
    ) -> list[dict[str, Any]]:
        """Return of each example its mean squared error."""
        errors = (answers.reshape(len(x), -1) - x.reshape(len(x), -1)).astype(np.float64)
        return [{"mse": float(error)} for error in (errors**2).mean(axis=1)]

    def describe(self) -> str:
        """Say it in a line."""
        return "reconstruction: squared error of the normalized inputs, figures in their own units"

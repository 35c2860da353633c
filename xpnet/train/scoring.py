"""What a model says of data of the host: its scores in batches, the figures of them, probabilities.

Examples are brought to the scale that the model was fitted on, normalized and cast to the model's dtype on its backend.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet import arguments, nn
from xpnet.autograd import Tensor
from xpnet.backend import Array
from xpnet.data import Dataset, Normalize, Scale
from xpnet.data.lazy import examples
from xpnet.errors import DataError, DeviceError, DTypeError, ShapeError
from xpnet.nn import Module
from xpnet.nn.predict import predictor
from xpnet.ops.activation import logistic
from xpnet.train import metrics
from xpnet.train.device_errors import device_errors, out_of_memory_advice
from xpnet.train.inputs import Data, check_classes, check_tensor, columns_of, read_dataset
from xpnet.train.precision import input_dtype

__all__ = ["Scoring"]

_log = logging.getLogger("xpnet")


@dataclass(frozen=True)
class Scoring:
    """Scores examples by a model; what Trainer.evaluate and Trainer.predict do.

    Args:
        model: gives scores (N, K), (N, 1) or (N,).
        loss: takes scores and labels, gives one number.
        normalize: is applied on the model's backend; None: nothing.
        scale: of the data that the model was fitted on; None: data is taken as it is.
        classes: the names in the training set; empty: not known.
    """

    model: Module
    loss: Callable[..., Tensor]
    normalize: Any
    scale: Scale | None
    classes: tuple[str, ...]

    def evaluate(self, data: Data, batch_size: int) -> dict[str, Any]:
        """Measure the model on data; see Trainer.evaluate."""
        declared = data.white if isinstance(data, Dataset) else None
        data = read_dataset("evaluate", data, max(2, len(self.classes)))
        if self.classes and declared is not None:
            check_classes("evaluate", data, self.classes)
        parts, losses, K = [], [], len(data.classes) if declared is not None else int(data.y.max()) + 1
        with self.model.backend.active(), device_errors("evaluate"):
            for part, out in self._scored("evaluate", data.x, batch_size, declared=declared):
                scores = out.numpy()
                if columns_of(scores).shape[1] < K:
                    raise ShapeError("evaluate", "a score for each class", scores=out.shape, K=K)
                parts.append(scores)
                if nn.is_average(self.loss):
                    losses.append(self._loss_of(out, data.y[part]) * len(scores))
            every, labels = np.concatenate(parts), data.y
            loss = sum(losses) / len(labels) if losses else self._loss_of(self.model.backend.from_numpy(every), labels)
        columns = columns_of(every)
        good = metrics.is_scored(columns)
        if not good.all():
            _log.warning("evaluate: %d of %d examples have scores that are NaN", np.sum(~good), len(good))
        return {
            "loss": loss,
            "accuracy": metrics.accuracy(columns, labels),
            "top5_accuracy": metrics.top_k_accuracy(columns, labels, 5) if columns.shape[1] > 5 else None,
            "confusion": metrics.confusion_matrix(np.argmax(columns[good], axis=1), labels[good], columns.shape[1]),
            "scores": every,
        }

    def predict(self, x: Any, batch_size: int, white: float | None) -> np.ndarray:
        """Return the probability of each class; see Trainer.predict."""
        with self.model.backend.active(), device_errors("predict"):
            each = np.concatenate([out.numpy() for _, out in self._scored("predict", x, batch_size, white=white)])
        if each.ndim == 1 or each.shape[1] == 1:
            return logistic(np, each)
        each = np.exp(each - each.max(axis=1, keepdims=True))
        return each / each.sum(axis=1, keepdims=True)

    def _scored(self, where: str, x: Any, batch_size: int, **white: float | None) -> Iterator[tuple[slice, Tensor]]:
        """Go over examples of the host in batches, and give the model's scores of each, as nn.Module.predict does.

        A batch that there is no memory for is halved, and so are those after it.
        """
        batch_size, x = arguments.count(where, "batch_size", batch_size), examples(where, x)
        if x.ndim < 2 or not len(x):
            raise ShapeError(where, "x of shape (N, ...), N >= 1", x=x.shape)
        if x.ndim == 3 and self.scale is not None:
            x = x[..., np.newaxis]  # (N, H, W, 1), as in training
        if x.dtype.kind not in "buif":
            raise DTypeError(where, "x of real numbers", x=x.dtype)
        start, score, dtype = 0, predictor(self.model), input_dtype(self.model)
        normalize = self.normalization(where, x, **white)
        while start < len(x):
            part = slice(start, min(start + batch_size, len(x)))
            try:
                with out_of_memory_advice(where, batch_size):
                    scores = score(self._scaled(x[part], normalize, dtype))
            except DeviceError:
                if batch_size == 1:
                    raise
                batch_size //= 2
                continue
            if scores.ndim not in (1, 2) or scores.shape[0] != part.stop - start:
                rule = "a model that gives scores (N, K), or (N,), of x (N, ...)"
                raise ShapeError(where, rule, scores=tuple(scores.shape), x=x[part].shape)
            yield part, Tensor(scores)
            start = part.stop

    def _loss_of(self, scores: Any, labels: np.ndarray) -> float:
        backend = self.model.backend
        scores = scores.data if isinstance(scores, Tensor) else scores
        if scores.dtype == getattr(backend.xp, "float16", None):  # whose sums would be poor
            scores = backend.xp.astype(scores, backend.xp.float32)
        return check_tensor("evaluate", "a loss", self.loss(Tensor(scores), backend.from_numpy(labels))).item()

    def normalization(self, where: str, x: np.ndarray, **white: float | None) -> Any:
        """Return what brings data, (N, ...), to the scale of the training set and normalizes it; or None."""
        factor = 1.0 if self.scale is None else self.scale.factor(where, x, **white)
        if factor == 1.0:
            return self.normalize
        if self.normalize is None:
            return Normalize((0.0,), (1.0,), 1.0 / factor)
        if isinstance(self.normalize, Normalize):
            return self.normalize.scaled(factor)
        raise DataError(where, "data on the scale of the training set, for a custom normalize", factor=factor)

    def _scaled(self, x: np.ndarray, normalize: Any, dtype: str) -> Array:
        backend = self.model.backend
        if x.dtype != np.uint8:
            x = x.astype(dtype if x.dtype == dtype or normalize is None else np.float32, copy=False)
        batch, kind = backend.from_numpy(x), getattr(backend.xp, dtype)
        if isinstance(normalize, Normalize):
            return normalize(batch, dtype)
        return backend.xp.astype(normalize(batch) if normalize else batch, kind, copy=False)

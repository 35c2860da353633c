"""What a model says of data of the host: its scores in batches, the figures of them, probabilities.

Examples are brought to the scale that the model was fitted on, normalized and cast to the model's dtype on its backend.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet import arguments, nn
from xpnet.autograd import Tensor
from xpnet.backend import Array
from xpnet.data import Dataset, several
from xpnet.data.lazy import examples, is_resident
from xpnet.data.prefetch import work_ahead
from xpnet.errors import DeviceError, ShapeError
from xpnet.nn import Module
from xpnet.nn.predict import predictor
from xpnet.train import scaling
from xpnet.train.device_errors import device_errors, out_of_memory_advice
from xpnet.train.inputs import check_classes, check_tensor
from xpnet.train.metrics.average import is_sum
from xpnet.train.metrics.custom import Metric, measured
from xpnet.train.precision import input_dtype
from xpnet.train.tasks import Task
from xpnet.train.weighting import WeightedLoss

__all__ = ["Scoring"]

_log = logging.getLogger("xpnet")

_NUMBERS, _LEAST = 1 << 21, 32  # in a batch: so many numbers, or so many examples if that is more
_KEPT = 1 << 27  # bytes of scores that are as large as inputs too large for memory


@dataclass(frozen=True)
class Scoring:
    """Scores examples by a model; what Trainer.evaluate and Trainer.predict do.

    Args:
        model: gives scores (N, K), (N, 1) or (N,).
        loss: takes scores and labels, gives one number.
        normalize: is applied on the model's backend; None: nothing.
        scale: of the data that the model was fitted on; None: data is taken as it is.
        classes: the names in the training set; empty: not known.
        task: what is learned.
        metrics: further figures, by name.
    """

    model: Module
    loss: Callable[..., Tensor]
    normalize: Any
    scale: Any
    classes: tuple[str, ...]
    task: Task
    metrics: Mapping[str, Metric]

    def evaluate(self, data: Dataset, batch_size: int, declared: bool) -> dict[str, Any]:
        """Measure the model on data; see Trainer.evaluate.

        Args:
            data: a set; declared: whether it says the names of its classes and its scale, which arrays do not.
            batch_size: N.
        """
        task = self.task
        data = task.weighted(task.read("evaluate", data))
        if self.classes and declared and data.labelled:
            check_classes("evaluate", data, self.classes)
        names, targets, parts, losses, weights = data.classes, data.y, [], [], data.weights
        if data.labelled and not declared:
            names = names[: int(data.y.max()) + 1]
        elif not data.labelled:
            targets = task.targets(data.y)
        white = data.white if declared else None
        inputs = self._inputs("evaluate", data.x, declared=white)
        partly = task.of_inputs and not is_resident(data.x) and not self.metrics
        each, bad, size = [], 0, 0
        with self.model.backend.active(), device_errors("evaluate"):
            for part, x, out in self._scored("evaluate", data.x, batch_size, declared=white):
                found = out.numpy()
                task.check_scores("evaluate", found, names)
                bad += int(np.isnan(found).reshape(len(found), -1).any(axis=1).sum())
                if partly:
                    each.append(task.figures(task.in_units(found, *inputs), data.x[part], names)["each"])
                if not partly or not parts or size < _KEPT:
                    parts.append(found)
                    size += found.nbytes
                if task.of_inputs or nn.is_average(self.loss) or weights is not None:
                    weight = None if weights is None else weights[part]
                    total = part.stop - part.start if weight is None else float(weight.sum(dtype=np.float64))
                    losses.append((self._loss_of(out, x if task.of_inputs else targets[part], weight), total))
            every = np.concatenate(parts)
            if not losses:
                losses = [(self._loss_of(self.model.backend.from_numpy(every), targets), len(every))]
            loss = self._average(losses)
        if bad:
            _log.warning("evaluate: %d of %d examples have scores that are NaN", bad, len(data))
        scores = task.in_units(every, *inputs)
        if partly:
            found = np.concatenate(each)
            return {"loss": loss, "mse": float(found.mean()), "each": found, "scores": scores}
        y: Any = data.x if task.of_inputs else data.y
        own = {name: measured(name, metric, scores, y[:]) for name, metric in self.metrics.items()}
        return {"loss": loss, **task.figures(scores, y, names), **own, "scores": scores}

    def predict(self, x: Any, batch_size: int, white: float | None) -> np.ndarray:
        """Return what the task says of examples; see Trainer.predict."""
        with self.model.backend.active(), device_errors("predict"):
            each = np.concatenate([out.numpy() for _, _, out in self._scored("predict", x, batch_size, white=white)])
        return self.task.answer(each, *self._inputs("predict", x, white=white))

    def _inputs(self, where: str, x: Any, **white: float | None) -> tuple[Any, tuple[int, ...]]:
        """Return how inputs were normalized, and the shape of one, for a task that gives them back."""
        if not self.task.of_inputs:
            return None, ()
        x = examples(where, x)
        return self.normalization(where, x, **white), x.shape[1:]

    def _scored(self, where: str, x: Any, batch_size: int, **white: Any) -> Iterator[tuple[slice, Any, Tensor]]:
        """Go over examples of the host in batches; give each as the model takes it, and its scores, as predict does.

        A batch has at most 32 of large examples, such as photos. One that there is no memory for is halved, and so are
        those after it.
        """
        batch_size, x = arguments.count(where, "batch_size", batch_size), scaling.read_examples(where, x, self.scale)
        start, score, dtype = 0, predictor(self.model), input_dtype(self.model)
        normalize = self.normalization(where, x, **white)
        n, backend = several.count(x), self.model.backend
        numbers = sum(math.prod(array.shape[1:]) for array in several.each(x))
        batch_size = min(batch_size, max(_LEAST, _NUMBERS // max(1, numbers)))
        while start < n:
            with contextlib.closing(_batches(x, range(start, n, batch_size))) as batches:
                for given in batches:
                    part = slice(start, start + several.count(given))
                    try:
                        with out_of_memory_advice(where, batch_size):
                            batch = scaling.converted(given, normalize, dtype, backend)
                            scores = score(batch)
                    except DeviceError:
                        if batch_size == 1:
                            raise
                        batch_size //= 2
                        break
                    is_bad = not scores.ndim or scores.shape[0] != part.stop - start
                    if is_bad or (scores.ndim > 2 and self.task.labelled):
                        kind = "(N, K), or (N,)" if self.task.labelled else "(N, ...)"
                        rule = f"a model that gives scores {kind}, of x (N, ...)"
                        raise ShapeError(where, rule, scores=tuple(scores.shape), x=several.shape(given))
                    yield part, batch, Tensor(scores)
                    start = part.stop

    def _average(self, losses: Sequence[tuple[float, float]]) -> float:
        """Return the average of the losses of parts, by what each weighs; of a loss that adds up examples the sum."""
        if len(losses) == 1:
            return losses[0][0]
        if is_sum(self.loss):
            return sum(loss for loss, _ in losses)
        return sum(loss * weight for loss, weight in losses if weight) / sum(weight for _, weight in losses)

    def _loss_of(self, scores: Any, y: np.ndarray | Array, weights: np.ndarray | None = None) -> float:
        backend = self.model.backend
        scores = scores.data if isinstance(scores, Tensor) else scores
        if scores.dtype == getattr(backend.xp, "float16", None):  # whose sums would be poor
            scores = backend.xp.astype(scores, backend.xp.float32)
        y = backend.from_numpy(y) if isinstance(y, np.ndarray) else y
        found, y = self.task.compare("evaluate", Tensor(scores), y)
        if weights is None:
            loss = self.loss(found, y)
        else:
            weighted = WeightedLoss(self.loss, sums=is_sum(self.loss))
            loss = weighted(found, y, weighted.shares(backend.from_numpy(weights)))
        return check_tensor("evaluate", "a loss", loss).item()

    def normalization(self, where: str, x: Any, **white: Any) -> Any:
        """Return what brings data, (N, ...), to the scale of the training set and normalizes it; or None."""
        return scaling.normalization(where, x, self.scale, self.normalize, **white)


def _batches(x: Any, starts: range) -> Generator[Any, None, None]:
    """Return the examples that begin at each start; a thread reads those ahead that are not in memory."""

    def rows(start: int) -> Any:
        return several.rows(x, start, min(start + starts.step, starts.stop))

    return (rows(start) for start in starts) if all(map(is_resident, several.each(x))) else work_ahead(rows, starts)

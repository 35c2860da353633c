"""What a model says of data of the host: its scores in batches, the figures of them, probabilities.

Examples are brought to the scale that the model was fitted on, normalized and cast to the model's dtype on its backend.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from xpnet import arguments, nn
from xpnet.autograd import Tensor
from xpnet.backend import Array, run_alone
from xpnet.data import Dataset, several
from xpnet.data.lazy import is_resident
from xpnet.data.prefetch import work_ahead
from xpnet.distributed import Communicator, single
from xpnet.distributed.agreement import attempt
from xpnet.errors import DeviceError, ShapeError
from xpnet.nn import Module
from xpnet.nn.predict import predictor
from xpnet.train import scaling
from xpnet.train.device_errors import device_errors, out_of_memory_advice
from xpnet.train.inputs import check_classes, check_tensor
from xpnet.train.metrics.average import is_sum
from xpnet.train.metrics.custom import Metric, measured
from xpnet.train.precision import input_dtype
from xpnet.train.scored_batches import Found, gathered, own_batches, same
from xpnet.train.shaping import reshaped
from xpnet.train.stream_sets import InputSets, StreamSets
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
        shape: of the examples that the model was fitted on; (): not known.
        communicator: of the processes that score together, each some of the batches; all get what one process would.
        alone: compute in one thread: then results do not depend on how many cores a process has.
    """

    model: Module
    loss: Callable[..., Tensor]
    normalize: Any
    scale: Any
    classes: tuple[str, ...]
    task: Task
    metrics: Mapping[str, Metric]
    shape: Any = ()
    communicator: Communicator = field(default_factory=single)
    alone: bool = False

    def evaluate(
        self, data: Dataset | StreamSets, batch_size: int, declared: bool, given: Any = None
    ) -> dict[str, Any]:
        """Measure the model on data; see Trainer.evaluate.

        Args:
            data: a set, or those of a stream, one after the other.
            batch_size: N.
            declared: whether data says the names of its classes and its scale, which arrays do not.
            given: x before it was reshaped; None: it was not.
        """
        self.communicator.meet("evaluate")
        task, metrics = self.task, self.metrics
        if isinstance(data, StreamSets):
            head, sets, is_whole = data.head, data.parts(), False
        else:
            head = task.weighted(task.read("evaluate", data))
            sets, is_whole = iter([head]), is_resident(head.x)
        if self.classes and declared and head.labelled:
            check_classes("evaluate", head, self.classes)
        names, white = head.classes, head.white if declared else None
        if head.labelled and not declared:
            names = names[: int(head.y.max()) + 1]
        x = scaling.read_examples("evaluate", head.x, self.scale)
        normalize = self.normalization("evaluate", _unflattened(given, x), declared=white)
        inputs = (normalize, head.shape) if task.of_inputs else (None, ())
        partly = task.of_inputs and not is_whole and not metrics
        by_parts = task.of_inputs or nn.is_average(self.loss) or head.weights is not None
        found: list[Found] = []
        ys, targets = [], []

        def measure() -> None:
            """Measure the batches of this process."""
            size = 0
            for number, given in enumerate(every):
                wanted = given.y if given.labelled else task.targets(given.y)
                for part, x, out in self._scored("evaluate", given.x, batch_size, normalize, number):
                    scores = out.numpy()
                    task.check_scores("evaluate", scores, names)
                    each = loss = None
                    total = float(part.stop - part.start)
                    if partly:
                        each = task.figures(task.in_units(scores, *inputs), given.x[part], names)["each"]
                    if by_parts:
                        weight = None if given.weights is None else given.weights[part]
                        total = total if weight is None else float(weight.sum(dtype=np.float64))
                        loss = self._loss_of(out, x if task.of_inputs else wanted[part], weight)
                    bad = int(np.isnan(scores).reshape(len(scores), -1).any(axis=1).sum())
                    is_kept = not partly or not found or size < _KEPT
                    size += scores.nbytes if is_kept else 0
                    found.append(Found((number, part.start), scores if is_kept else None, each, loss, total, bad))
                if not partly:
                    ys.append(given.x if task.of_inputs else given.y)
                    targets.append(wanted)

        with self.model.backend.active(), device_errors("evaluate"), contextlib.closing(_closable(sets)) as every:
            attempt(self.communicator, "evaluate", partial(self._computed, measure))
            batches = gathered(self.communicator, found, _KEPT if partly else None)
            scores = _joined([batch.scores for batch in batches if batch.scores is not None])
            losses = [(batch.loss, batch.weight) for batch in batches if batch.loss is not None]
            if not losses:
                arrays = self.model.backend.from_numpy(scores), _joined(targets)
                losses = [(self._computed(partial(self._loss_of, *arrays)), len(scores))]
            loss = self._average(losses)
        each = _joined([batch.each for batch in batches]) if partly else None
        if (bad := sum(batch.bad for batch in batches)) and not self.communicator.rank:
            _log.warning(
                "evaluate: %d of %d examples have scores that are NaN", bad, len(scores if each is None else each)
            )
        scores = task.in_units(scores, *inputs)
        if each is not None:
            return {"loss": loss, "mse": float(each.mean()), "each": each, "scores": scores}

        def figures() -> dict[str, Any]:
            y = _joined(ys)
            own = {name: measured(name, metric, scores, y[:]) for name, metric in metrics.items()}
            return {"loss": loss, **task.figures(scores, y, names), **own, "scores": scores}

        return same(self.communicator, attempt(self.communicator, "evaluate", figures))

    def predict(self, x: Any, batch_size: int, white: float | None) -> np.ndarray:
        """Return what the task says of examples, or of those of a stream; see Trainer.predict."""
        self.communicator.meet("predict")
        if isinstance(x, InputSets):
            given, head = x.head, self._shaped(x.head)
            parts = (self._shaped(part, logging.DEBUG) for part in x.parts())
        else:
            given = scaling.read_examples("predict", x, self.scale)
            head = self._shaped(given)
            parts = iter([head])
        normalize = self.normalization("predict", _unflattened(given, head), white=white)
        with self.model.backend.active(), device_errors("predict"), contextlib.closing(_closable(parts)) as every:

            def score() -> list[Found]:
                return [
                    Found((number, rows.start), out.numpy())
                    for number, part in enumerate(every)
                    for rows, _, out in self._scored("predict", part, batch_size, normalize, number)
                ]

            found = attempt(self.communicator, "predict", partial(self._computed, score))
        each = [batch.scores for batch in gathered(self.communicator, found) if batch.scores is not None]
        inputs = (normalize, tuple(head.shape[1:])) if self.task.of_inputs else (None, ())
        return self.task.answer(np.concatenate(each), *inputs)

    def _computed(self, work: Callable[[], Any]) -> Any:
        return run_alone([work])[0] if self.alone else work()

    def _shaped(self, x: Any, level: int = logging.INFO) -> Any:
        """Return examples in the shape that the model takes."""
        return reshaped("predict", x, self.model, tuple(self.shape), level)

    def _scored(
        self, where: str, x: Any, batch_size: int, normalize: Any, number: int
    ) -> Iterator[tuple[slice, Any, Tensor]]:
        """Go over examples of the host in batches; give each as the model takes it, and its scores, as predict does.

        Of several processes each goes over its own batches; number is that of the set in a stream.

        A batch has at most 32 of large examples, such as photos. One that there is no memory for is halved, and so are
        those after it.
        """
        batch_size, x = arguments.count(where, "batch_size", batch_size), scaling.read_examples(where, x, self.scale)
        score, dtype = predictor(self.model), input_dtype(self.model)
        n, backend = several.count(x), self.model.backend
        numbers = sum(math.prod(array.shape[1:]) for array in several.each(x))
        batch_size = min(batch_size, max(_LEAST, _NUMBERS // max(1, numbers)))
        start, stop = own_batches(self.communicator, n, batch_size, number)
        while start < stop:
            with contextlib.closing(_batches(x, range(start, stop, batch_size))) as batches:
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


def _closable(sets: Iterator[Any]) -> Generator[Any, None, None]:
    yield from sets


def _unflattened(given: Any, reshaped: Any) -> Any:
    """Return examples as images if they are before or after reshaping: a row from 0 to 255 may be of a table."""
    return reshaped if given is None or several.is_several(reshaped) or given.ndim < reshaped.ndim else given


def _joined(arrays: list[Any]) -> Any:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _batches(x: Any, starts: range) -> Generator[Any, None, None]:
    """Return the examples that begin at each start; a thread reads those ahead that are not in memory."""

    def rows(start: int) -> Any:
        return several.rows(x, start, min(start + starts.step, starts.stop))

    return (rows(start) for start in starts) if all(map(is_resident, several.each(x))) else work_ahead(rows, starts)

"""Batches of a stream of sets, one set a batch, on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol

import numpy as np

from xpnet.backend import Array, Backend
from xpnet.data import several
from xpnet.data.augmentation import Augmentation
from xpnet.data.augmentation.transform import augmented
from xpnet.data.batches import Batches, Conversion, LabelWeight, Layout
from xpnet.data.dataset import Dataset
from xpnet.data.part import WHOLE, Part
from xpnet.errors import ConfigError, ShapeError
from xpnet.random import Key

__all__ = ["Sets", "StreamFeed"]


class Sets(Protocol):
    """Sets that are read again in each epoch.

    Attributes:
        head: the first examples.
        steps: how many sets an epoch has; None: not known yet.
        first: how many examples the first set has.
    """

    head: Dataset
    first: int

    @property
    def steps(self) -> int | None: ...

    def parts(self, epoch: int, start: int, least: int | None = None) -> Iterator[Dataset]:
        """Iterate over the sets of an epoch, from one on; there are at least so many, by default start."""
        ...


class StreamFeed(Batches):
    """Serves the sets of a stream as they come, one a step or several joined; sizes may differ.

    Of several processes each reads the whole stream, which must give all of them the same sets in the same order (a
    loader that shuffles needs a seed of its own), and keeps its own rows of each batch: only those are augmented,
    converted and sent.

    Args:
        sets: gives them.
        backend: where the batches are created.
        normalize: in the form of the sets' x, as SeveralFeed takes it.
        dtype: the name of the floating type of x.
        seed: of the augmentation.
        augment: applied on the host to inputs that are images.
        joined: how many sets make a batch, >= 1.
        targets: changes targets that are no labels to what the loss compares scores with; None: nothing.
        part: the virtual shards whose rows are served; by default all.
    Cost: a copy of each batch. Sets are read in the caller's thread; a loader may use its own workers.
    """

    counted = False

    def __init__(
        self,
        sets: Sets,
        backend: Backend,
        *,
        normalize: Any = None,
        dtype: str = "float32",
        seed: int = 0,
        augment: Augmentation | None = None,
        joined: int = 1,
        targets: Callable[[np.ndarray], np.ndarray] | None = None,
        part: Part = WHOLE,
    ) -> None:
        head = sets.head
        shapes = several.each(head.shape) if several.is_several(head.x) else [head.shape]
        if augment is not None and all(len(shape) != 3 for shape in shapes):
            raise ShapeError("fit", "images of shape (H, W, C), since augment is given", sample=head.shape)
        self.backend, self.batch_size = backend, sets.first * joined
        self.layout = Layout(head.shape, len(head.classes) if head.labelled else 0)
        factors = several.each(normalize) if normalize is not None else [None] * len(shapes)
        self._finish = [Conversion(backend, each, dtype) for each in factors]
        self._sets, self._seed, self._augment, self._joined = sets, seed, augment, joined
        self._targets, self.part = targets, part
        self._current: Dataset | None = None  # the batch that was given last, whole, and its step
        self._step: int | None = None

    @property
    def steps(self) -> int | None:
        """The number of steps of an epoch; None: not known before one has ended."""
        return None if self._sets.steps is None else -(-self._sets.steps // self._joined)

    @property
    def examples(self) -> None:
        """Not known."""
        return None

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[tuple[Any, Any]]:
        """Iterate over the batches of an epoch from a step on; see Batches."""
        self._check_range("StreamFeed.epoch", epoch, start)
        first = start * self._joined
        sets = self._sets.parts(epoch, first, first - self._joined + 1 if start else 0)  # the last step may be of fewer
        try:
            step = start
            while parts := list(islice(sets, self._joined)):
                self._current = batch = parts[0] if len(parts) == 1 else _concatenated(parts)
                self._step = step
                first, stop = self.part.rows(len(batch))
                arrays = enumerate(several.each(several.rows(batch.x, first, stop)))
                x = several.like(batch.x, [self._converted(a, epoch, step, i, len(batch)) for i, a in arrays])
                y = batch.y[first:stop]
                y = self._moved(y if batch.labelled or self._targets is None else self._targets(y))
                yield x, y if batch.weights is None else (y, self._moved(batch.weights))
                step += 1
        finally:
            getattr(sets, "close", lambda: None)()

    def batch_weights(self, epoch: int, label_weight: LabelWeight | None) -> Callable[[int], float] | None:
        """Return the weight of the last batch: the sum of the weights of its examples, or by their labels."""

        def weight(step: int) -> float:
            batch = self._last(step)
            if batch.weights is not None:
                return float(batch.weights.sum(dtype=np.float64))
            return float(len(batch)) if label_weight is None else label_weight(batch.y)

        return weight

    def size(self, step: int) -> int:
        """Return N, the number of examples of the whole batch of the step that was given last.

        Raises:
            ConfigError: step is another.
        """
        return len(self._last(step))

    def _last(self, step: int) -> Dataset:
        if self._current is None or step != self._step:
            raise ConfigError("StreamFeed.size", "the step that was given last", step=step, given=self._step)
        return self._current

    def _converted(self, x: np.ndarray, epoch: int, step: int, place: int, n: int) -> Array:
        if self._augment is not None and x.ndim == 4:
            x = augmented(self._augment, x, Key(self._seed, "augment", epoch, step), self.part, n)
        return self._finish[place](self.backend.from_numpy(np.ascontiguousarray(x)))

    def _moved(self, y: np.ndarray) -> Array:
        return self.backend.from_numpy(np.ascontiguousarray(y))


def _concatenated(parts: list[Dataset]) -> Dataset:
    first = parts[0]
    x = [np.concatenate(each) for each in zip(*(several.each(part.x) for part in parts), strict=True)]
    weights = None if first.weights is None else np.concatenate([p.weights for p in parts if p.weights is not None])
    y = np.concatenate([part.y for part in parts])
    return replace(first, x=several.like(first.x, x), y=y, weights=weights)

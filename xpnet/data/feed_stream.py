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
from xpnet.data.batches import Batches, Conversion, LabelWeight, Layout
from xpnet.data.dataset import Dataset
from xpnet.errors import ShapeError
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

    Args:
        sets: gives them.
        backend: where the batches are created.
        normalize: in the form of the sets' x, as SeveralFeed takes it.
        dtype: the name of the floating type of x.
        seed: of the augmentation.
        augment: applied on the host to inputs that are images.
        joined: how many sets make a batch, >= 1.
        targets: changes targets that are no labels to what the loss compares scores with; None: nothing.
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
        self._targets = targets
        self._current: Dataset | None = None  # of the batch that was given last

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
                self._current = part = parts[0] if len(parts) == 1 else _concatenated(parts)
                arrays = enumerate(several.each(part.x))
                x = several.like(part.x, [self._converted(a, epoch, step, i) for i, a in arrays])
                y = self._moved(part.y if part.labelled or self._targets is None else self._targets(part.y))
                yield x, y if part.weights is None else (y, self._moved(part.weights))
                step += 1
        finally:
            getattr(sets, "close", lambda: None)()

    def batch_weights(self, epoch: int, label_weight: LabelWeight | None) -> Callable[[int], float] | None:
        """Return the weight of the last batch: the sum of the weights of its examples, or by their labels."""

        def weight(step: int) -> float:
            part = self._current
            assert part is not None
            if part.weights is not None:
                return float(part.weights.sum(dtype=np.float64))
            return float(len(part)) if label_weight is None else label_weight(part.y)

        return weight

    def _converted(self, x: np.ndarray, epoch: int, step: int, place: int) -> Array:
        if self._augment is not None and x.ndim == 4:
            x = self._augment(x, Key(self._seed, "augment", epoch, step))
        return self._finish[place](self.backend.from_numpy(np.ascontiguousarray(x)))

    def _moved(self, y: np.ndarray) -> Array:
        return self.backend.from_numpy(np.ascontiguousarray(y))


def _concatenated(parts: list[Dataset]) -> Dataset:
    first = parts[0]
    x = [np.concatenate(each) for each in zip(*(several.each(part.x) for part in parts), strict=True)]
    weights = None if first.weights is None else np.concatenate([p.weights for p in parts if p.weights is not None])
    y = np.concatenate([part.y for part in parts])
    return replace(first, x=several.like(first.x, x), y=y, weights=weights)

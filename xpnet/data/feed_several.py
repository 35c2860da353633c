"""Batches of a set with several arrays of examples, or with weights: a feed for each, in one order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np

from xpnet.backend import Array, Backend
from xpnet.data import several
from xpnet.data.batches import Batches, LabelWeight, Layout
from xpnet.data.dataset import Dataset
from xpnet.data.feed import Feed
from xpnet.data.part import WHOLE, Part

__all__ = ["SeveralFeed"]


class SeveralFeed(Batches):
    """Serves (x, y) as a Feed does, x in the form of the set's; with weights y is (y, weights).

    Weights are those of the whole batch, (N,), also where x and y are only the rows of a part.

    Each array is served by a Feed of its own. As an order is drawn by seed and epoch, and an augmentation by seed,
    epoch and step, all have the same.

    Args:
        dataset: the samples.
        batch_size, backend, options: as Feed takes them; normalize is in the form of the set's x. augment changes the
            inputs that are images.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        backend: Backend,
        *,
        normalize: Any = None,
        part: Part = WHOLE,
        **options: Any,
    ) -> None:
        self.dataset, self.batch_size, self.backend = dataset, batch_size, backend
        augment, resident = options.pop("augment", None), options.pop("resident", None)
        factors = several.each(normalize) if normalize is not None else [None] * len(dataset.inputs())
        self.part = part
        sets = [(each, factor, part) for each, factor in zip(dataset.inputs(), factors, strict=True)]
        if dataset.weights is not None:
            weights = dataset.weights
            sets.append((Dataset(weights[:, np.newaxis], weights, name=dataset.name), None, WHOLE))

        def feeds(resident: bool | None) -> list[Feed]:
            return [
                Feed(
                    each,
                    batch_size,
                    backend,
                    normalize=factor,
                    augment=augment if len(each.shape) == 3 else None,
                    resident=resident,
                    part=rows,
                    **options,
                )
                for each, factor, rows in sets
            ]

        self._feeds = feeds(resident)
        if len({feed.resident for feed in self._feeds}) > 1:
            self._feeds = feeds(False)
        self.resident = self._feeds[0].resident
        self.layout = Layout(dataset.shape, self._feeds[0].layout.classes)

    @property
    def steps(self) -> int:
        """The number of steps of an epoch."""
        return len(self._feeds[0])

    @property
    def examples(self) -> int:
        """The number of examples of an epoch."""
        return len(self.dataset)

    def batch_weights(self, epoch: int, label_weight: LabelWeight | None) -> Callable[[int], float] | None:
        """Return the weight of a step: the sum of the weights of its examples, or by their labels."""
        if self.dataset.weights is None:
            return self._feeds[0].batch_weights(epoch, label_weight)
        return self._feeds[-1].batch_weights(epoch, lambda weights: float(weights.sum(dtype=np.float64)))

    def size(self, step: int) -> int:
        """Return N, the number of examples of a step's whole batch."""
        return self._feeds[0].size(step)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[tuple[Any, Any]]:
        """Iterate over the batches of an epoch; see Feed.epoch."""
        with contextlib.ExitStack() as stack:
            each = [feed.epoch(epoch, start) for feed in self._feeds]
            for batches in each:
                stack.callback(getattr(batches, "close", lambda: None))
            for parts in zip(*each, strict=True):
                yield self._batch(parts)

    def begin(self, epoch: int) -> None:
        """Write the order of an epoch where batch_at reads it; see Feed.begin."""
        for feed in self._feeds:
            feed.begin(epoch)

    def batch_at(self, step: Array | int, epoch: Array | int, size: int | None = None) -> tuple[Any, Any]:
        """Make a batch of the current epoch; see Feed.batch_at."""
        return self._batch([feed.batch_at(step, epoch, size) for feed in self._feeds])

    def raw(self, epoch: int = 0, start: int = 0) -> Generator[tuple[Array, ...], None, None]:
        """Iterate over the batches of an epoch, as arrays to be finished by finish_batch; see Feed.raw."""
        with contextlib.ExitStack() as stack:
            each = [stack.enter_context(contextlib.closing(feed.raw(epoch, start))) for feed in self._feeds]
            for parts in zip(*each, strict=True):
                yield tuple([array for part in parts for array in part])

    def finish_batch(self, *arrays: Array) -> tuple[Any, Any]:
        """Finish a batch as yielded by raw."""
        pairs = zip(arrays[::2], arrays[1::2], strict=True)
        return self._batch([feed.finish_batch(*pair) for feed, pair in zip(self._feeds, pairs, strict=True)])

    def _batch(self, parts: Any) -> tuple[Any, Any]:
        """Combine the batches of all feeds."""
        inputs, y = parts, parts[0][1]
        if self.dataset.weights is not None:
            inputs, y = parts[:-1], (y, parts[-1][1])
        return several.like(self.dataset.x, [x for x, _ in inputs]), y

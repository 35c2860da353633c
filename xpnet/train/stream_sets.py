"""The sets of a stream, one a batch, that a task has checked: each is like the first examples.

A batch is compared with them: its shape and dtype, its classes, and on which scale its values are.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import closing
from typing import Any

import numpy as np

from xpnet.data import Dataset, from_arrays, several
from xpnet.data.stream import Stream
from xpnet.data.stream_batch import Batch
from xpnet.errors import DataError
from xpnet.train import scaling
from xpnet.train.shaping import reshaped_set
from xpnet.train.tasks import Task

__all__ = ["InputSets", "StreamSets", "numbered", "numbered_up_to"]


class StreamSets:
    """The sets of a stream, one a batch.

    Args:
        stream: gives batches.
        head: its first examples, as read_head gives them.
        task: reads the targets of each set and weighs its examples.
        scale: of the data that the model was fitted on, or None.
    Raises, from where sets are read:
        DataError: a batch has other values, targets or classes than the first examples; the message gives its number.
    """

    def __init__(self, stream: Stream, head: Dataset, task: Task, scale: Any) -> None:
        self._stream, self._raw, self._task = stream, head, task
        self.head = task.weighted(task.read(stream.where, head))
        self.first = stream.first
        self._values = _Values(stream.where, scale, head.x, declared=head.white)

    @property
    def steps(self) -> int | None:
        """How many sets an epoch has; None: not known before one has ended."""
        return self._stream.steps

    def parts(self, epoch: int = 0, start: int = 0, least: int | None = None) -> Generator[Dataset, None, None]:
        """Iterate over the sets of an epoch, from one on; see Stream.epoch."""
        where, task = self._stream.where, self._task
        with closing(self._stream.epoch(epoch, start, least)) as batches:
            for batch in batches:
                name = f"{where}, batch {batch.number}"
                data = _read_batch(name, batch, self._raw, task)
                self._values.check(name, data.x)
                yield task.weighted(task.read(name, data))


class InputSets:
    """The inputs of a stream, one array or several a batch.

    Args:
        stream: gives batches.
        scale: of the data that the model was fitted on, or None.
        white: the value of full brightness, or None.
    """

    def __init__(self, stream: Stream, scale: Any, white: float | None) -> None:
        self._stream, self._scale = stream, scale
        self.head = scaling.read_examples(stream.where, stream.head().x, scale)
        self._values = _Values(stream.where, None if white is not None else scale, self.head)

    def parts(self) -> Generator[Any, None, None]:
        """Iterate over the inputs."""
        with closing(self._stream.epoch()) as batches:
            for batch in batches:
                name = f"{self._stream.where}, batch {batch.number}"
                x = scaling.read_examples(name, batch.x, self._scale)
                self._values.check(name, x)
                yield x


class _Values:
    """The values of the first examples, with which those of later ones are compared: on which scale they are."""

    def __init__(self, where: str, scale: Any, x: Any, **declared: Any) -> None:
        keys = list(x) if isinstance(x, dict) else range(len(several.each(x)))
        scales = {key: scale[key] if several.is_several(scale) else scale for key in keys}
        self._checks = {}
        for key, a in zip(keys, several.each(x), strict=True):
            if scales[key] is not None and a.dtype != np.uint8:
                white = {name: w[key] if several.is_several(w) else w for name, w in declared.items()}
                factor = scales[key].factor(where, a, **white)
                self._checks[key] = scales[key], factor, f"{a.min():g} to {a.max():g}", white

    def check(self, name: str, x: Any) -> None:
        """Raise DataError where values are on another scale."""
        for key, (scale, factor, first, white) in self._checks.items():
            scale.check(name, x[key] if several.is_several(x) else x, factor, first, **white)


def _read_batch(name: str, batch: Batch, head: Dataset, task: Task) -> Dataset:
    """Return a batch as a set that is like the first examples; see StreamSets."""
    names, y = head.classes or None, None if task.of_inputs else batch.y
    if head.labelled and task.labelled is None and y is not None:  # of a custom loss
        names = numbered_up_to(y, len(head.classes))
    images = None if several.is_several(head.x) else head.x.ndim == 4
    labelled = True if head.labelled else (None if task.labelled is None else False)
    data = from_arrays(batch.x, y, names, name, labelled=labelled, images=images)
    data = reshaped_set(name, data, None, head.shape, logging.DEBUG)
    for a, first in zip(several.each(data.x), several.each(head.x), strict=True):
        if a.shape[1:] != first.shape[1:] or a.dtype != first.dtype:
            got = {"first": f"{first.dtype} {first.shape[1:]}", "batch": f"{a.dtype} {a.shape[1:]}"}
            raise DataError(name, "examples like the first", **got)
    return data


def numbered(count: int) -> tuple[str, ...]:
    """Return the names "0", "1", ... of count classes."""
    return tuple(str(k) for k in range(count))


def numbered_up_to(y: np.ndarray, least: int = 2) -> tuple[str, ...]:
    """Return the names "0", "1", ... up to the largest label, and no fewer than least."""
    most = int(y.max()) + 1 if y.size else 0
    return numbered(most if least < most < 1_000_000 else least)

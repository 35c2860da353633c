"""Streams opened for a Trainer.

A stream is not known before it has been read, so what a set in memory is measured for comes from its first examples
(about 1,024) or from the model: the scale and the normalization, the task, and the number of classes, which is that of
the model's scores.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.data import Dataset, from_arrays, several
from xpnet.data.reading import is_stream, stream_of
from xpnet.data.stream import Stream
from xpnet.data.stream_batch import Batch
from xpnet.errors import ConfigError, DataError
from xpnet.nn import Module
from xpnet.nn.predict import predictor
from xpnet.train import scaling
from xpnet.train.inputs import images_only
from xpnet.train.precision import input_dtype
from xpnet.train.shaping import reshaped, reshaped_set
from xpnet.train.stream_sets import numbered, numbered_up_to
from xpnet.train.tasks import Task

__all__ = ["check_options", "open_stream"]


def open_stream(
    where: str,
    data: Any,
    model: Module,
    task: Task | None,
    classes: tuple[str, ...],
    scale: Any,
    shape: Any,
    known: Stream | None = None,
    **options: Any,
) -> tuple[Stream, Dataset] | None:
    """Return the stream of what fit or evaluate is given, and its first examples as a set; None of what is no stream.

    Args:
        where: for messages.
        data: given.
        model: gives as many scores as there are classes.
        task: of the Trainer, if it is known; classes, scale, shape: of the data that it was fitted on, if it was.
        known: the generator of a fit before, which is continued if data is the same.
        options: of stream_of.
    """
    if not is_stream(where, data):
        return None
    if known is not None and known.data is data:
        stream, known.limit = known, options.get("steps")
    else:
        stream = stream_of(where, data, targets=task is None or not task.of_inputs, **options)
    return stream, _read_head(stream, model, task, classes, scale, shape)


def _read_head(
    stream: Stream, model: Module, task: Task | None, classes: tuple[str, ...], scale: Any, shape: Any
) -> Dataset:
    """Return the first examples of a stream as a set; of labels, all classes have a name."""
    where, batch = stream.where, stream.head()
    images = None if several.is_several(batch.x) else images_only(where, (batch.x, None), model, scale)
    labelled = _labelled(batch.y, task)
    names = _class_names(where, batch, model, task, classes) if labelled else None
    if task is not None and task.of_inputs:
        batch = batch._replace(y=None)
    elif batch.y is None:
        raise DataError(where, "pairs (x, y)", batch=0, y=None)
    try:
        head = from_arrays(batch.x, batch.y, names, "the first batches", labelled=labelled, images=images)
    except DataError:
        for b in stream.ahead:  # which of them it is
            y = None if batch.y is None else b.y
            from_arrays(b.x, y, names, f"{where}, batch {b.number}", labelled=labelled, images=images)
        raise
    return reshaped_set(where, head, model, shape)


def _labelled(y: np.ndarray | None, task: Task | None) -> bool | None:
    """Say whether targets are labels, as from_arrays does."""
    if y is None or (task is not None and task.of_inputs):
        return None
    if task is not None and task.labelled is not None:
        return task.labelled
    return True if y.ndim == 1 and y.dtype.kind in "buiU" else None


def _class_names(
    where: str, batch: Batch, model: Module, task: Task | None, classes: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the names of the classes of a stream: those that are known, or a number for each score of the model."""
    y = batch.y
    assert y is not None
    if classes and (task is None or task.labelled or y.dtype.kind == "U"):
        return classes
    if y.dtype.kind in "US":
        do = "number the classes: words are only known after the whole stream was read"
        raise DataError(where, "labels that are integers, for a stream", do, label=repr(str(y[0])))
    if task is not None and task.labelled is None:  # a custom loss, whose scores may be anything
        return numbered_up_to(y)
    dtype, backend = input_dtype(model), model.backend
    few = scaling.read_examples(where, several.rows(batch.x, 0, 1), None)
    few = reshaped(where, few, model, level=logging.DEBUG)
    with backend.active():
        shape = tuple(predictor(model)(scaling.converted(few, None, dtype, backend)).shape)
    return numbered(shape[1] if len(shape) == 2 and shape[1] > 1 else 2)


def check_options(stream: Stream, epochs: int, validation: Any, sample_weight: Any, class_weights: Any) -> None:
    """Raise ConfigError for what a training set must be read to its end for, or more than once.

    Args:
        stream: the training set; epochs: how many are to come.
        validation, sample_weight, class_weights: of fit and the Trainer.
    """
    if stream.once and stream.limit is None and epochs > 1:
        do = "pass the function that makes it, or a data loader; or epochs=1, or steps= of each epoch"
        raise ConfigError("fit", "one epoch of a generator, which gives its batches once", do, epochs=epochs)
    if arguments.is_number(validation):
        do = "pass the validation examples as another set or stream"
        rule = "validation that is a set, since the training set is a stream"
        raise ConfigError("fit", rule, do, validation=validation)
    if sample_weight is not None:
        do = "fit arrays, or apply the weights in a custom loss"
        raise ConfigError("fit", "no sample_weight, since the training set is a stream", do, sample_weight="given")
    if isinstance(class_weights, str):
        do = "count the labels once, and pass a number for each class"
        rule = "a weight for each class, since the labels of a stream are not counted"
        raise ConfigError("class_weights", rule, do, class_weights=repr(class_weights))

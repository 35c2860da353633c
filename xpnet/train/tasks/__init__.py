"""Tasks: what is learned decides the loss, how targets are read, the metrics, and what predict returns.

Trainer(model)                              # labels: classification; a 0/1 matrix: multilabel; numbers: regression
Trainer(model, task="reconstruction")       # or by name
Trainer(model, loss=my_loss)                # labels: classification; else custom: targets as they are
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.autograd import Tensor
from xpnet.data import Dataset, host
from xpnet.errors import CheckpointError, ConfigError, DataError, nearest
from xpnet.train.tasks.base import Headline, Task
from xpnet.train.tasks.classification import Classification
from xpnet.train.tasks.custom import Custom
from xpnet.train.tasks.multilabel import Multilabel
from xpnet.train.tasks.reconstruction import Reconstruction
from xpnet.train.tasks.regression import Regression

__all__ = ["TASKS", "Headline", "Task", "infer_task", "make_task", "saved_kind", "saved_task"]

TASKS: dict[str, type[Task]] = {
    kind.name: kind for kind in (Classification, Multilabel, Regression, Reconstruction, Custom)
}


def make_task(task: str | Task | None, loss: Callable[..., Tensor] | None = None) -> Task | None:
    """Make a task of its name.

    Args:
        task: a key of TASKS; or a task, which is copied; or None, to be inferred of the first data.
        loss: that is given, to replace the task's own; or None.
    Raises:
        ConfigError: no such task (the message gives the nearest name), or "custom" without a loss.
    """
    if task is None or isinstance(task, Task):
        return deepcopy(task)
    if not isinstance(task, str) or task not in TASKS:
        do = nearest(task, TASKS) if isinstance(task, str) else nearest("", TASKS)
        raise ConfigError("task", "the name of a task", do, task=arguments.shown(task))
    kind = TASKS[task]
    if not kind.needs_loss:
        return kind()
    if loss is None:
        raise ConfigError("task", f"a loss, for task {task!r}", "give loss=", loss=None)
    return Custom(arguments.function("task", "loss", loss))


def infer_task(y: Any, loss: Callable[..., Tensor] | None = None) -> Task:
    """Choose the task that targets are usually for.

    Args:
        y: a Dataset, or targets in an array: integers (N,) are labels, for classification; a matrix (N, L) of 0 and 1,
            L >= 2, is multilabel; other numbers are for regression.
        loss: that is given: of what are no labels the task is then "custom".
    Raises:
        DataError: targets are one column of integers, (N, 1), which may be labels or numbers.
    """
    y = y.y if isinstance(y, Dataset) else host("infer_task", y)
    if y.ndim == 1 and y.dtype.kind in "bui":
        return Classification()
    if loss is not None:
        return Custom(arguments.function("infer_task", "loss", loss))
    if y.ndim == 2 and y.shape[1] == 1 and y.dtype.kind in "bui":
        rule = "integer labels (N,), a 0/1 matrix (N, L), L >= 2, or numbers"
        do = "of labels take y[:, 0]; or give loss=, or task='regression'"
        raise DataError("task", rule, do, shape=y.shape, dtype=y.dtype)
    is_matrix = y.ndim == 2 and y.shape[1] > 1 and bool(np.all((y == 0) | (y == 1)))
    return Multilabel() if is_matrix else Regression()


def saved_kind(values: Mapping[str, Any] | None) -> type[Task]:
    """Return the kind of task that a checkpoint holds; in one of xpnet 0.7 or older there is none: classification.

    Args:
        values: of the JSON under "task", or None.
    Raises:
        CheckpointError: it is of no known task.
    """
    if values is None:
        return Classification
    name = values.get("name") if isinstance(values, Mapping) else None
    if not isinstance(name, str) or name not in TASKS:
        raise CheckpointError("task", "a known task", "install a newer xpnet", task=arguments.shown(name))
    return TASKS[name]


def saved_task(values: Mapping[str, Any] | None, loss: Callable[..., Tensor] | None = None) -> Task:
    """Make the task that a checkpoint holds.

    Args:
        values: as saved_kind takes them.
        loss: of the trainer, if one was given.
    Raises:
        CheckpointError: it is of no known task, or of one with a custom loss and none is given.
    """
    kind = saved_kind(values)
    if kind.needs_loss and loss is None:
        do = "make the Trainer with loss="
        raise CheckpointError("resume", "the loss that the training began with", do, task=repr(kind.name))
    task = make_task(kind.name, loss)
    assert task is not None
    if values is not None:
        task.take(values)
    return task

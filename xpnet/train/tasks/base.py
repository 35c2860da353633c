"""What every task has: how targets are read, compared with scores, measured and reported. See xpnet.train.tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from xpnet.autograd import Tensor
from xpnet.backend import Array, namespace, record_call
from xpnet.data import Dataset
from xpnet.errors import CheckpointError, ConfigError, ShapeError
from xpnet.output import counted, figure_text, figure_title

__all__ = ["Headline", "Pictures", "Section", "Task", "aligned", "named", "on_backend"]

Section = tuple[str, Callable[[], list[str]]]  # a heading of the report, and what makes its content
Pictures = dict[str, Callable[[], Any]]  # of each name what makes a matplotlib Figure


class Headline(NamedTuple):
    """The one figure by which models are compared.

    Args:
        key: its name in figures.
        higher_is_better: whether a larger one is better.
    """

    key: str
    higher_is_better: bool

    def text(self, value: float) -> str:
        """Return a value as it is printed."""
        return figure_text(self.key, float(value))

    @property
    def title(self) -> str:
        """Its name in words."""
        return figure_title(self.key)


class Task:
    """What is learned of each example; a Trainer, its evaluation and the reports ask it.

    A task is a class with these attributes, of which a Trainer makes one object, that it fits to its training set.

    Attributes:
        name: by which it is chosen.
        loss: takes scores and targets, gives one number; the default.
        labelled: whether targets are labels of classes; None: both are taken.
        needs_loss: whether a loss must be given, because the task has none.
        of_inputs: whether the targets are the model's own inputs.
        headline: the figure by which models are compared; None: the loss.
        recorded: the figures, of one number each, that the history keeps.
    """

    name: ClassVar[str]
    loss: Callable[..., Tensor]
    labelled: ClassVar[bool | None] = False
    needs_loss: ClassVar[bool] = False
    of_inputs: ClassVar[bool] = False
    headline: ClassVar[Headline | None] = None
    recorded: ClassVar[tuple[str, ...]] = ()

    def read(self, where: str, data: Dataset) -> Dataset:
        """Check the targets of a set, and return it with targets as this task learns them.

        Raises:
            DataError: they are of another kind, or a value is out of range.
        """
        return data

    def fit(self, data: Dataset) -> None:
        """Measure the targets of the training set, once."""

    def set_class_weights(self, given: Any) -> None:
        """Take what each class weighs in the loss, as a Trainer is given it: only where there are classes.

        Raises:
            ConfigError: this task has none.
        """
        if given is not None:
            do = "weigh examples by sample_weight, or give a loss= of weighted terms"
            raise ConfigError("class_weights", "a task of one class an example, classification", do, task=self.name)

    def weighted(self, data: Dataset) -> Dataset:
        """Return a set with the weights that its samples have in the loss."""
        return data

    def targets(self, y: np.ndarray) -> np.ndarray:
        """Return what the loss compares scores with, of the targets (N, ...) of a set."""
        return y

    def outputs(self, data: Dataset) -> int | tuple[int, ...]:
        """Return how many numbers a model needs to give an example of a set, or their shape."""
        raise NotImplementedError

    def compare(self, where: str, scores: Tensor, y: Array) -> tuple[Tensor, Array]:
        """Return scores and targets as the loss takes them: of one shape and dtype.

        Raises:
            ShapeError: the model gives another number of values than the targets have.
        """
        return aligned(where, scores, y)

    def check_scores(self, where: str, scores: np.ndarray, names: tuple[str, ...]) -> None:
        """Raise ShapeError where raw scores of the host do not do for these classes; compare checks all else."""

    def figures(self, scores: np.ndarray, y: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
        """Measure scores against targets, both of the host and in the units of the data.

        Args:
            scores: (N, ...), as ``answer`` gives them, but of classes and labels the raw scores.
            y: (N, ...), as ``read`` gives them.
            names: of classes or columns; or empty.
        """
        raise NotImplementedError

    def in_units(self, scores: np.ndarray, normalize: Any = None, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Return raw scores of the host in the units and the shape of the targets.

        Args:
            scores: (N, ...).
            normalize: how the inputs were normalized, or None; shape: of one of them.
        """
        return scores

    def answer(self, scores: np.ndarray, normalize: Any = None, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Return what predict says, of raw scores of the host; arguments as in_units takes them."""
        return self.in_units(scores, normalize, shape)

    def answer_tensor(self, scores: Tensor, normalize: Any = None, shape: tuple[int, ...] = ()) -> Tensor:
        """Return what answer does, computed by ops: so it can be part of an exported model."""
        return scores

    def predictions(
        self, answers: np.ndarray, names: Sequence[str], x: np.ndarray, top: int = 1
    ) -> list[dict[str, Any]]:
        """Return of each example what is predicted, in words and numbers: values by name.

        Args:
            answers: what ``answer`` gave, (N, ...). names: of classes or columns; or empty. x: the examples.
            top: how many classes.
        """
        rows = answers.reshape(len(answers), -1)
        names = named(names, rows.shape[1])
        return [{"values": {name: float(value) for name, value in zip(names, row, strict=True)}} for row in rows]

    def describe(self) -> str:
        """Say in a line what is learned, and by which loss."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Return name and measured numbers in a form that JSON can hold."""
        return {"name": self.name}

    def take(self, values: Mapping[str, Any]) -> None:
        """Take the numbers that to_json gave.

        Raises:
            CheckpointError: one is missing or no number.
        """

    def sections(self, trainer: Any, figures: Mapping[str, Any], test: Dataset) -> list[Section]:
        """Return the sections of a report about this task, in order."""
        return []

    def pictures(self, figures: Mapping[str, Any], data: Dataset) -> Pictures:
        """Return what draws how well data is predicted, by name; drawn several times while a model is trained."""
        return {}

    def _numbers(self, values: Mapping[str, Any], key: str) -> np.ndarray:
        try:
            found = np.asarray(values[key], np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError("task", f"{key} of {self.name}, numbers", **{key: values.get(key)}) from error
        if not np.isfinite(found).all():
            raise CheckpointError("task", f"finite {key} of {self.name}", **{key: values[key]})
        return found


def aligned(where: str, scores: Tensor, y: Array, required: bool = True) -> tuple[Tensor, Array]:
    """Return scores in the shape of targets, and targets in the dtype of scores.

    Rows of one number, (N, 1), and numbers, (N,), are the same, and so are flat rows and arrays of as many elements; so
    no two of them are broadcast against each other.

    Args:
        where: for messages.
        scores: (N, ...); y: (N, ...), on the same device.
        required: whether other shapes are an error; if not, only (N, 1) and (N,) are brought together.
    """
    s, t = tuple(scores.shape), tuple(y.shape)
    if s != t:
        if s[:1] == t[:1] and (
            _column(s) == _column(t) or (required and _flat(s) == _flat(t) and 2 in map(len, (s, t)))
        ):
            scores = scores.reshape(*t)
        elif required:
            do = "for classes, cast targets to integers: y.astype(int)" if len(t) == 1 else ""
            rule = f"a model that gives {counted(_flat(t), 'number')} an example, as targets have"
            raise ShapeError(where, rule, do, scores=s, targets=t)
    if y.dtype != scores.dtype and "float" in str(y.dtype):
        y = record_call(namespace(y).astype, y, scores.dtype)
    return scores, y


def on_backend(values: Any, like: Tensor) -> Array:
    """Return numbers of the host as an array of the dtype and on the backend of a tensor."""
    xp, backend = namespace(like.data), like.backend
    return xp.astype(backend.from_numpy(np.asarray(values, np.float32)), like.dtype)


def _column(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:-1] if len(shape) == 2 and shape[1] == 1 else shape


def _flat(shape: tuple[int, ...]) -> int:
    return math.prod(shape[1:])


def named(names: Sequence[str], count: int) -> Sequence[str]:
    """Return names of so many columns: those given, or "value", "value 0", "value 1", ..."""
    return names if len(names) == count else ["value"] if count == 1 else [f"value {k}" for k in range(count)]

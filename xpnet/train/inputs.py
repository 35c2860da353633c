"""What a Trainer is given, checked where it enters: sets, classes, callbacks; and scores as those of K classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

from xpnet import arguments
from xpnet.autograd import Tensor
from xpnet.data import Dataset, from_arrays, host, several
from xpnet.data.reading import is_set, is_stream, read_set
from xpnet.errors import ConfigError, DataError, ShapeError
from xpnet.nn import Module
from xpnet.output import counted
from xpnet.random import Key
from xpnet.train.callbacks import Callback
from xpnet.train.shaping import reshaped_set
from xpnet.train.tasks import Task

__all__ = [
    "Data",
    "check_classes",
    "check_kind",
    "check_names",
    "check_normalize",
    "check_parameters",
    "check_tensor",
    "images_only",
    "paired",
    "read_callbacks",
    "read_dataset",
    "read_sets",
]


class ByNumber(Protocol):
    """A set that gives examples by number, as those of torch and Hugging Face do."""

    def __len__(self) -> int: ...
    def __getitem__(self, i: int, /) -> Any: ...


Data = Dataset | tuple[Any, Any] | ByNumber | Iterable[Any] | Callable[[], Iterable[Any]]


def read_dataset(
    where: str, data: Any, classes: int = 0, task: Task | None = None, images: bool | None = None
) -> Dataset:
    """Return a Dataset of data.

    Args:
        where: for messages.
        data: a Dataset, or arrays (x, y).
        classes: the number of classes is at least that, and as many as there are in arrays if it is 0.
        task: says whether y is labels, or not needed; None: y says it.
        images: whether x of 3 axes is images, as from_arrays takes it.
    """
    if isinstance(data, Dataset):
        return data
    if is_set(data):
        data = read_set(where, data)
    labelled = None if task is None else task.labelled
    if task is not None and task.of_inputs and not isinstance(data, tuple):
        data = (data, None)
    if not isinstance(data, list | tuple) or len(data) != 2:
        got = counted(len(data), "value") if isinstance(data, list | tuple) else arguments.shown(data)
        raise ConfigError(where, "a Dataset, or a tuple of arrays (x, y)", data=got)
    x, y = data
    if y is None and (task is None or not task.of_inputs):
        raise ConfigError(where, "labels or targets y", y=None)
    names = None
    if (
        classes
        and y is not None
        and labelled is not False
        and (labels := host(where, y)).ndim == 1
        and labels.dtype.kind in "bui"
    ):
        most = int(labels.max()) + 1 if labels.size else 0
        names = [str(k) for k in range(most if classes < most < 1_000_000 else classes)]
    return from_arrays(x, y, names, labelled=labelled, images=images)


def read_sets(
    train: Any,
    test: Any,
    validation: Any,
    model: Module,
    task: Task | None,
    choose: Callable[[Dataset], Task],
    seed: int = 0,
    weights: Any = None,
    known: Any = (),
) -> tuple[Dataset, dict[str, Any]]:
    """Return the training set, and the sets or streams that are measured after each epoch, by name.

    Args:
        train, test, validation, seed: of fit and the Trainer.
        model: which takes the examples.
        task: of the Trainer, if it is known; choose says it of a training set.
        weights: of the training examples, or None.
        known: the shape of the examples of a fit before, or ().
    """
    if is_set(train):
        train = read_set("fit", train)
    images = images_only("fit", train, model)
    train = reshaped_set("fit", read_dataset("fit", train, task=task, images=images), model, known)
    if weights is not None:
        train = train.weighted(weights)
    if arguments.is_number(validation):
        train, validation = _divided(train, validation, seed)
    task = choose(train)
    held = {"test": test, "validation": validation}
    return train, {name: _read_held(name, data, train, model, task) for name, data in held.items() if data is not None}


def paired(train: Any, test: Any, task: Task | None) -> tuple[Any, Any]:
    """Return the training and the test set of what fit is given: fit(x, y) is fit((x, y))."""
    alone = task is not None and task.of_inputs  # then a second array is no targets
    return ((train, test), None) if not alone and _are_x_and_y(train, test) else (train, test)


def _are_x_and_y(train: Any, test: Any) -> bool:
    """Whether fit(train, test) is fit(x, y); x may be a tuple of arrays, as a training set is."""
    if test is None or isinstance(train, Dataset) or isinstance(test, Dataset | tuple) or is_set(test):
        return False
    is_list = isinstance(test, list) and bool(test) and (isinstance(test[0], str) or not hasattr(test[0], "__len__"))
    return not isinstance(train, tuple) or hasattr(test, "shape") or is_list


def _divided(train: Dataset, fraction: Any, seed: int) -> tuple[Dataset, Dataset]:
    """Divide a training set: what is left of it, and a fraction to validate with."""
    fraction = arguments.number("fit", "validation", fraction, 0, 1, above=True)
    count = max(1, round(fraction * len(train)))
    if count >= len(train):
        raise ConfigError("fit", "validation, a fraction that leaves examples", validation=fraction, N=len(train))
    return train.hold_out(count, Key(seed, "validation"))


def images_only(where: str, data: Any, model: Module, scale: Any = None) -> bool | None:
    """Return True where x, of (x, y) or alone, has 3 axes and the model takes it as gray images only; else None.

    With a scale, of the data that the model was fitted on: whether that is no sequences.
    """
    if scale is not None:
        return None if several.is_several(scale) else not scale.sequence
    x = data[0] if isinstance(data, list | tuple) and len(data) == 2 else data
    x = x if several.is_several(x) else host(where, x) if x is not data else data
    x = x if isinstance(x, np.ndarray) else np.zeros(0)
    if x.ndim != 3 or not len(x):
        return None
    try:
        model.cost(x.shape[1:])
    except NotImplementedError:  # a custom module
        try:
            model.predict(x[:1].astype(np.float32))
        except Exception:  # its own
            return True
    except ShapeError:
        return True
    return None


def _are_images(x: Any) -> bool | None:
    return None if several.is_several(x) else x.ndim == 4


def _read_held(name: str, data: Any, train: Dataset, model: Module, task: Task) -> Any:
    """Return a test or validation set: an error unless the model takes its examples, and its classes are known.

    A stream that can be read again is returned unchanged; a generator is read into memory.
    """
    if is_stream("fit", data) and not hasattr(data, "__next__"):
        return data
    data = read_dataset("fit", data, len(train.classes), task, _are_images(train.x))
    data = reshaped_set("fit", data, model, train.shape)
    if data.shape != train.shape:
        got = {name: data.shape, "train": train.shape}
        try:
            model.cost(data.shape)
        except NotImplementedError:  # a custom module, which raises its own error
            pass
        except ShapeError as error:
            raise ShapeError("fit", f"{name} examples of a shape that the model takes", **got) from error
    if train.labelled and data.labelled:
        check_classes("fit", data, train.classes)
    return data


def check_classes(where: str, data: Dataset, classes: tuple[str, ...]) -> None:
    """Raise DataError unless data has labels of these classes only, and the same names, if both have names."""
    check_names(where, data, classes)
    if int(data.y.max()) >= min(len(classes), len(data.classes)):
        rule = f"the {counted(len(classes), 'class')} of the training set, in its order"
        raise DataError(where, rule, label=int(data.y.max()))


def check_names(where: str, data: Dataset, classes: tuple[str, ...]) -> None:
    """Raise DataError where data has other names for these classes; numbers are no names."""
    other = [c for c, mine in zip(data.classes, classes, strict=False) if c != mine]
    if other and not any(map(_is_numbered, (classes, data.classes))):
        do = "order the classes alike" if set(classes) == set(data.classes) else ""
        rule = f"the {counted(len(classes), 'class')} of the training set, in its order"
        raise DataError(where, rule, do, **{"class": repr(other[0])})


def _is_numbered(classes: tuple[str, ...]) -> bool:
    return classes == tuple(str(k) for k in range(len(classes)))


def check_kind(name: str, value: Any, kind: type) -> Any:
    """Return an argument of the Trainer; ConfigError unless it is of a kind."""
    if not isinstance(value, kind):
        got = f"the class {value.__name__}" if isinstance(value, type) else arguments.shown(value)
        raise ConfigError("Trainer", f"{name}, a {kind.__name__}", **{name: got})
    return value


def check_normalize(normalize: Any) -> None:
    """Raise ConfigError unless data can be normalized by it, or it is None."""
    if not (normalize is None or (callable(normalize) and not isinstance(normalize, type))):
        raise ConfigError("Trainer", "normalize, a Normalize or None", normalize=arguments.shown(normalize))


def check_parameters(model: Module, known: Iterable[object]) -> None:
    """Raise ConfigError if the model has parameters besides those that were there when the trainer was made."""
    there = set(map(id, known))
    if new := [p.path for p in model.parameters() if id(p) not in there]:
        do = "make a new Trainer, or put it in before"
        raise ConfigError("fit", "the parameters that the Trainer was made for", do, new=new[0])


def check_tensor(where: str, what: str, value: Any) -> Tensor:
    """Return what a model or a loss gives; ConfigError unless it is a Tensor."""
    if isinstance(value, Tensor):
        return value
    raise ConfigError(where, f"{what} that returns a Tensor", returned=arguments.shown(value))


def read_callbacks(given: Any) -> list[Callback]:
    """Return callbacks as a list; ConfigError unless each has a Callback's methods."""
    methods = ("on_start", "on_gradients", "on_step", "on_epoch", "on_end")
    found = list(given) if hasattr(given, "__iter__") and not isinstance(given, str | dict | np.ndarray) else None
    if found is None or any(isinstance(c, type) or not all(hasattr(c, m) for m in methods) for c in found):
        raise ConfigError("Trainer", "callbacks, a list of objects of Callback", callbacks=arguments.shown(given))
    return found

"""What is learned of each sample: the label of its class, or numbers; how arrays become one or the other.

Labels are (N,) int64, and have names of classes. All else is targets, (N, ...), whose columns may have names: float32,
or int64 of two axes and more.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.data.arrays import host
from xpnet.data.classes import check_class_names
from xpnet.data.lazy import Lazy
from xpnet.data.scale import chunks
from xpnet.errors import ConfigError, DataError
from xpnet.output import counted

__all__ = ["check_finite", "check_targets", "check_weights", "names_of", "read_numbers", "read_targets"]

_log = logging.getLogger("xpnet")


def read_targets(name: str, y: Any, classes: Any, labelled: bool | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Bring labels or targets of any library to the form that a Dataset has, and return their names too.

    Args:
        name: of the set, for messages.
        y: (N, ...).
        classes: the names of classes or columns; None: words are their own names, labels get "0", "1", ...
        labelled: True: y is labels; False: numbers, float32; None: integers (N,) and words are labels, a matrix (N,
            L), L >= 2, of 0 and 1 and floating numbers become float32, and other integers int64.
    Raises:
        DataError: y is neither, a label is missing, or most classes have no label.
    """
    y = _words(y)
    y = y if isinstance(y, np.ndarray) and y.dtype.kind == "U" else read_numbers(name, "labels", y)
    kind, is_row = y.dtype.kind, y.ndim == 1
    if kind in "US" and is_row and labelled is not False:
        return _numbered_words(name, y, classes)
    keep = False
    if labelled is None:
        labelled = is_row and kind in "bui"
        is_column = y.ndim == 2 and y.shape[1] == 1
        keep = kind in "bui" and y.ndim > 1 and (is_column or not ((y == 0) | (y == 1)).all())
    if not labelled:
        if kind not in "buif" or not y.ndim:
            raise DataError(name, "targets (N, ...) of real numbers", shape=y.shape, dtype=y.dtype)
        with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite, which Dataset rejects
            y = y.astype(np.int64 if keep else np.float32, copy=False)
        return y, () if classes is None else names_of(name, classes)
    if kind not in "bui" or not is_row:
        if kind == "f" and is_row and (missing := np.flatnonzero(np.isnan(y))).size:
            raise DataError(name, "a label for each sample", label="NaN", sample=int(missing[0]))
        rule = "labels of shape (N,), integers, not one-hot"
        raise DataError(name, rule, _label_advice(y), shape=y.shape, dtype=y.dtype)
    names = _numbered(y, name) if classes is None else names_of(name, classes)
    return y.astype(np.int64, copy=False), names


def read_numbers(name: str, what: str, values: Any) -> np.ndarray:
    """Return an array of any library, or a list, on the host; DataError where it is neither."""
    try:
        return host(name, values)
    except TypeError as error:
        raise DataError(name, f"{what} in an array, or a list", values=f"of type {type(values).__name__}") from error


def names_of(name: str, classes: Any) -> tuple[str, ...]:
    """Return the names of classes, or of columns of targets, as a tuple of words."""
    try:
        return tuple(str(c) for c in arguments.items(name, "classes", classes))
    except ConfigError as error:
        raise DataError(name, "classes, a list of names", **error.got) from None


def check_targets(name: str, y: np.ndarray, classes: tuple[str, ...], count: int) -> None:
    """Raise DataError unless y is labels in classes, or finite targets with a name for each column or none.

    Args:
        name: of the set, for messages.
        y, classes: of the set; count: how many samples it has.
    """
    is_labels = y.ndim == 1 and y.dtype == np.int64
    if not is_labels and not (y.ndim and y.dtype in (np.float32, np.int64)):
        rule = "labels (N,) in int64, or targets (N, ...) in float32 or int64"
        do = "from_arrays converts other arrays"
        raise DataError(name, rule, do, shape=y.shape, dtype=y.dtype)
    if len(y) != count:
        what = "labels" if is_labels else "targets"
        raise DataError(name, f"one {what[:-1]} for each sample", samples=count, **{what: len(y)})
    check_class_names(name, classes)
    if not is_labels:
        columns = y.shape[1] if y.ndim > 1 else 1
        if classes and len(classes) != columns:
            raise DataError(name, "a name for each column of the targets", names=len(classes), columns=columns)
        check_finite(y, name, "targets")
        return
    if len(classes) < 2:
        raise DataError(name, "at least 2 classes", classes=list(classes))
    if len(y) and ((low := int(y.min())) < 0 or int(y.max()) >= len(classes)):
        label = low if low < 0 else int(y.max())
        raise DataError(name, "labels in 0..K-1", label=label, sample=int(np.argmax(y == label)), K=len(classes))


def check_weights(name: str, weights: np.ndarray, count: int) -> None:
    """Raise DataError unless weights are (N,) in float32, finite, not negative, and not all 0."""
    if not isinstance(weights, np.ndarray) or weights.shape != (count,) or weights.dtype != np.float32:
        got = {"weights": getattr(weights, "shape", arguments.shown(weights)), "N": count}
        raise DataError(name, "a weight for each sample, numbers (N,)", **got)
    check_finite(weights, name, "weights")
    if count and (weights.min() < 0 or not weights.any()):
        got = {"weight": weights.min(), "sample": int(np.argmin(weights))} if weights.any() else {"weights": "all 0"}
        raise DataError(name, "weights >= 0, not all 0", **got)


def check_finite(x: np.ndarray | Lazy, name: str, what: str = "values") -> None:
    """Raise DataError with the first value that is NaN or infinite, and its sample."""
    for start, part in chunks(x):
        good = np.isfinite(part)
        if not good.all():
            place = np.unravel_index(int(np.argmin(good)), part.shape)
            raise DataError(name, f"finite {what}", value=part[place], sample=start + int(place[0]))


def _words(y: Any) -> Any:
    """Return an array of words for a list or an array of objects that are all words; else y."""
    if isinstance(y, list | tuple) or str(getattr(y, "dtype", "")) == "object":
        try:
            found = np.asarray(y)
        except ValueError:  # rows that differ in length
            return y
        if found.dtype == object and found.size and all(isinstance(v, str) for v in found.flat):
            found = found.astype(str)
        if found.dtype.kind == "U" and all(isinstance(v, str) for v in np.asarray(y, dtype=object).flat):
            return found
    return y


def _numbered_words(name: str, y: np.ndarray, classes: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Number words by their place in classes, or in order of the alphabet."""
    found, numbers = np.unique(y.astype(str), return_inverse=True)
    if classes is None:
        if len(found) < 2:
            raise DataError(name, "at least 2 classes", labels=f"all {str(found[0])!r}" if len(found) else "none")
        return numbers.astype(np.int64), tuple(found.tolist())
    names = names_of(name, classes)
    place = {word: k for k, word in enumerate(names)}
    if other := [word for word in found.tolist() if word not in place]:
        sample = int(np.argmax(y == other[0]))
        raise DataError(name, f"labels among the {counted(len(names), 'class')}", label=repr(other[0]), sample=sample)
    return np.asarray([place[word] for word in found.tolist()], np.int64)[numbers], names


def _numbered(y: np.ndarray, name: str) -> tuple[str, ...]:
    """Name the classes 0, 1, ... up to the largest label, unless most of them have no sample."""
    if y.size == 0 or y.min() < 0:
        return ("0", "1")  # which Dataset rejects
    found, largest = np.unique(y), int(y.max())
    if len(found) == 1:
        raise DataError(name, "at least 2 classes", "name them with classes=", labels=f"all {y[0]}")
    if 2 * len(found) < largest + 1:
        do = (
            "number them with numpy.unique(y, return_inverse=True), or name all classes with classes=; "
            "for numbers to predict, y.astype(float)"
        )
        rule = "labels in 0..K-1 of which at least half have a sample"
        raise DataError(name, rule, do, label=largest, sample=int(np.argmax(y == largest)), different=len(found))
    return tuple(str(k) for k in range(largest + 1))


def _label_advice(y: np.ndarray) -> str:
    if y.ndim == 2 and y.shape[1] == 1:
        return "take y[:, 0]"
    if y.ndim == 2:
        return "of one-hot rows take y.argmax(axis=1)"
    return "cast classes to integers, y.astype(int)" if y.dtype.kind == "f" else ""

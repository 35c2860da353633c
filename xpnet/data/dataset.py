"""A labelled data set in memory: samples, labels and the names of the classes."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.data.arrays import host
from xpnet.data.classes import check_class_names
from xpnet.data.scale import chunks, white_of
from xpnet.errors import ConfigError, DataError
from xpnet.random import Key, permutation

__all__ = ["Dataset", "from_arrays"]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Samples with one label each, checked on construction.

    Args:
        x: images, (N, H, W, C), uint8 or float32, or feature vectors, (N, D), float32; finite.
        y: labels, (N,), int64, in 0..K-1.
        classes: the K names of the classes, K >= 2.
        name: used in messages.
        white: the value of full brightness, > 0: 255 for 8-bit images, 16 for digits, 1 for floating data.
    Raises:
        DataError: the counts differ, the set is empty, a label is outside 0..K-1, a value is NaN or infinite, or a
            shape or dtype is not one of the above.
    Cost: one pass over y, and over x where it is floating.
    """

    x: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...]
    name: str
    white: float = 255.0

    def __post_init__(self) -> None:
        x, y, name = self.x, self.y, self.name
        if not isinstance(x, np.ndarray) or not isinstance(y, np.ndarray):
            got = {"x": arguments.shown(x), "y": arguments.shown(y)}
            raise DataError(name, "samples and labels in NumPy arrays", "from_arrays converts others", **got)
        object.__setattr__(self, "classes", _names(name, self.classes))
        if (x.ndim, x.dtype) not in ((4, np.uint8), (4, np.float32), (2, np.float32)):
            rule = "samples of shape (N, H, W, C) in uint8 or float32, or (N, D) in float32"
            raise DataError(name, rule, "from_arrays converts other arrays", shape=x.shape, dtype=x.dtype)
        if y.ndim != 1 or y.dtype != np.int64:
            do = "from_arrays converts other arrays"
            raise DataError(name, "labels of shape (N,) in int64", do, shape=y.shape, dtype=y.dtype)
        if len(x) != len(y):
            raise DataError(name, "one label for each sample", samples=len(x), labels=len(y))
        if x.size == 0:
            raise DataError(name, "at least one sample", shape=x.shape)
        if len(self.classes) < 2:
            raise DataError(name, "at least 2 classes", classes=list(self.classes))
        check_class_names(name, self.classes)
        if not isinstance(self.white, numbers.Real) or not 0 < self.white < math.inf:
            raise DataError(name, "white, the value of full brightness, above 0", white=arguments.shown(self.white))
        _check_labels(y, len(self.classes), name)
        if x.dtype == np.float32:
            _check_finite(x, name)

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        return f"<Dataset {self.name}: {len(self)} x {self.shape} {self.x.dtype}, {len(self.classes)} classes>"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample: (H, W, C) or (D,)."""
        return self.x.shape[1:]

    def take(self, indices: Any) -> Dataset:
        """Copy the samples at indices, in their order.

        Args:
            indices: integers in 0..N-1, at least one; or a mask, N booleans, of which at least one is True.
        Raises:
            ConfigError: they are neither, or an index is outside 0..N-1.
            DataError: there are no indices.
        """
        where, n = f"{self.name}.take", len(self)
        rows = host(where, indices)
        if rows.dtype == np.bool_ and rows.shape == (n,):
            rows = np.flatnonzero(rows)
        elif rows.ndim != 1 or (rows.size and rows.dtype.kind not in "ui"):
            got = f"{rows.dtype} of shape {rows.shape}"
            raise ConfigError(where, "indices (M,), integers, or a mask (N,), booleans", indices=got, N=n)
        outside = rows[(rows < 0) | (rows >= n)]
        if outside.size:
            raise ConfigError(where, "indices in 0..N-1", index=int(outside[0]), N=n)
        rows = rows.astype(np.int64)
        return Dataset(np.take(self.x, rows, axis=0), np.take(self.y, rows), self.classes, self.name, self.white)

    def split(self, fraction: float, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Split the set at random into two, such as training and validation.

        Args:
            fraction: the first part's share of the samples, 0 < fraction < 1.
            seed: the same seed gives the same split on every machine.
        Returns:
            The two parts, each in the order of this set.
        Raises:
            ConfigError: a part would be empty.
        """
        where = f"{self.name}.split"
        count = round(arguments.number(where, "fraction", fraction, 0, 1, above=True) * len(self))
        if not 0 < count < len(self):
            raise ConfigError(where, "fraction with at least one sample in each part", fraction=fraction, N=len(self))
        return self.divide(count, Key(arguments.count(where, "seed", seed, 0, (1 << 64) - 1), "split"))

    def divide(self, count: int, key: Key) -> tuple[Dataset, Dataset]:
        """Split the set at random into count samples and the rest, each in the order of this set."""
        count = arguments.count(f"{self.name}.divide", "count", count, 1, len(self) - 1)
        order = permutation(key, len(self))
        return self.take(np.sort(order[:count])), self.take(np.sort(order[count:]))

    def hold_out_fifth(self, purpose: str, *, stratified: bool = False) -> tuple[Dataset, Dataset]:
        """Split a set that has no test part into (train, test); a random fifth, rounded up, is the test set.

        Args:
            purpose: names the draw; its seed is always 0, so the test set of a source never changes.
            stratified: hold out a fifth of each class, rounded so that the parts are as large as without it.
        Raises:
            DataError: there is only one sample.
        """
        arguments.text(f"{self.name}.hold_out_fifth", "purpose", purpose)
        stratified = arguments.boolean(f"{self.name}.hold_out_fifth", "stratified", stratified)
        if len(self) < 2:
            raise DataError(self.name, "at least 2 samples, to hold some out for testing", samples=len(self))
        count = -(-len(self) // 5)
        if not stratified:
            test, train = self.divide(count, Key(0, purpose))
            return train, test
        order = permutation(Key(0, purpose), len(self))
        order = order[np.argsort(self.y[order], kind="stable")]  # class by class, each in random order
        sizes = np.bincount(self.y, minlength=len(self.classes))
        held = sizes // 5
        rest = np.where(sizes == 1, -1, sizes % 5)  # the only sample of a class is held out last
        held[np.argsort(-rest, kind="stable")[: count - held.sum()]] += 1
        rank = np.arange(len(self)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        is_test = rank < np.repeat(held, sizes)
        return self.take(np.sort(order[~is_test])), self.take(np.sort(order[is_test]))


def from_arrays(
    x: Any, y: Any, classes: Sequence[str] | None = None, name: str = "arrays", *, white: float | None = None
) -> Dataset:
    """Make a data set from arrays in memory, of any library, or lists.

    Args:
        x: (N, H, W, C); (N, H, W), which gets one channel; or (N, D). uint8 images keep their type, all other real
            numbers become float32.
        y: integer labels, (N,), in 0..K-1.
        classes: the K names; "0", "1", ... up to the largest label by default.
        name: used in messages.
        white: the value of full brightness; by default 255, 16 or 1, decided by the values: see xpnet.data.scale.
    Raises:
        DataError: as for Dataset, or x holds no real numbers, or y no integers, or most classes have no label.
    """
    x, y = _numbers(name, "samples", x), _numbers(name, "labels", y)
    if x.dtype.kind not in "buif":
        raise DataError(name, "samples that are real numbers", dtype=x.dtype)
    if y.dtype.kind not in "bui" or y.ndim != 1:
        rule = "labels of shape (N,), integers, not one-hot"
        raise DataError(name, rule, _label_advice(y), shape=y.shape, dtype=y.dtype)
    if x.ndim == 3:
        x = x[..., np.newaxis]  # (N, H, W, 1)
    if white is None:
        white = white_of(x)
    if x.dtype != np.uint8 or x.ndim == 2:
        with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite, which Dataset rejects
            x = x.astype(np.float32, copy=False)
    if classes is None:
        classes = _numbered(y, name)
    return Dataset(x, y.astype(np.int64, copy=False), _names(name, classes), name, white)


def _numbered(y: np.ndarray, name: str) -> list[str]:
    """Name the classes 0, 1, ... up to the largest label, unless most of them have no sample."""
    if y.size == 0 or y.min() < 0:
        return ["0", "1"]  # which Dataset rejects
    found, largest = np.unique(y), int(y.max())
    if len(found) == 1:
        raise DataError(name, "at least 2 classes", "name them with classes=", labels=f"all {y[0]}")
    if 2 * len(found) < largest + 1:
        do = "number them with numpy.unique(y, return_inverse=True), or name all classes with classes="
        rule = "labels in 0..K-1 of which at least half have a sample"
        raise DataError(name, rule, do, label=largest, sample=int(np.argmax(y == largest)), different=len(found))
    return [str(k) for k in range(largest + 1)]


def _numbers(name: str, what: str, values: Any) -> np.ndarray:
    try:
        return host(name, values)
    except TypeError as error:
        raise DataError(name, f"{what} in an array, or a list", values=f"of type {type(values).__name__}") from error


def _label_advice(y: np.ndarray) -> str:
    if y.ndim == 2 and y.shape[1] == 1:
        return "take y[:, 0]"
    if y.ndim == 2:
        return "of one-hot rows take y.argmax(axis=1)"
    if y.dtype.kind in "USO":
        return "number them: classes, y = numpy.unique(y, return_inverse=True)"
    return "cast classes to integers, y.astype(int)" if y.dtype.kind == "f" else ""


def _names(name: str, classes: Any) -> tuple[str, ...]:
    """Return the names of classes as a tuple of words."""
    try:
        return tuple(str(c) for c in arguments.items(name, "classes", classes))
    except ConfigError as error:
        raise DataError(name, "classes, a list of names", **error.got) from None


def _check_labels(y: np.ndarray, count: int, name: str) -> None:
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= count:
        label = low if low < 0 else high
        raise DataError(name, "labels in 0..K-1", label=label, sample=int(np.argmax(y == label)), K=count)


def _check_finite(x: np.ndarray, name: str) -> None:
    for start, part in chunks(x):
        good = np.isfinite(part)
        if not good.all():
            place = np.unravel_index(int(np.argmin(good)), part.shape)
            raise DataError(name, "finite values", value=part[place], sample=start + int(place[0]))

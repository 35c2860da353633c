"""A data set in memory: samples, what is learned of each, and names of classes or columns."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.data import several
from xpnet.data.arrays import host
from xpnet.data.lazy import Lazy, joined
from xpnet.data.scale import are_images, white_of
from xpnet.data.targets import check_finite, check_targets, check_weights, names_of, read_numbers, read_targets
from xpnet.errors import ConfigError, DataError
from xpnet.output import counted
from xpnet.random import Key, permutation

__all__ = ["Dataset", "from_arrays", "read_rows"]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Samples with a label or targets each, checked on construction.

    Args:
        x: images, (N, H, W, C), uint8 or float32, or sequences, (N, T, D), or vectors, (N, D), float32; finite; or a
            Lazy of them; or a tuple or dictionary of such arrays of the same samples, a model's several inputs.
        y: labels, (N,), int64, in 0..K-1; or targets, (N, ...), float32, finite, or int64 of two axes and more.
        classes: of labels the K names of the classes, K >= 2; of targets the names of the columns, or none.
        name: used in messages.
        white: the value of full brightness, > 0: 255 for 8-bit images, 16 for digits, 1 for floating data.
        weights: what each sample weighs in averages of the loss, (N,) float32, finite, >= 0; None: all alike.
        source: what the samples were made by, such as the Columns of a table; or None.
        files: the path of each sample, (N,) objects; None where they are not of files.
    Raises:
        DataError: the counts differ, the set is empty, a label is outside 0..K-1, a value is NaN or infinite, or a
            shape or dtype is not one of the above.
    Cost: one pass over y, and over x where it is floating.
    """

    x: Any
    y: np.ndarray
    classes: tuple[str, ...] = ()
    name: str = "arrays"
    white: Any = 255.0
    weights: np.ndarray | None = field(default=None, kw_only=True)
    source: Any = field(default=None, kw_only=True)
    files: np.ndarray | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        x, y, name = self.x, self.y, self.name
        inputs = several.each(x)
        if not inputs or not all(isinstance(a, np.ndarray | Lazy) for a in inputs) or not isinstance(y, np.ndarray):
            got = {"x": arguments.shown(x), "y": arguments.shown(y)}
            raise DataError(name, "samples and labels in NumPy arrays", "from_arrays converts others", **got)
        object.__setattr__(self, "classes", names_of(name, self.classes))
        if len({len(a) if a.ndim else 0 for a in inputs}) > 1:
            raise DataError(name, "inputs of the same samples", shapes=several.shape(x))
        if several.is_several(self.white) and several.form(self.white) != several.form(x):
            raise DataError(name, "white, a number or one for each input", white=arguments.shown(self.white))
        if several.is_several(x) and not several.is_several(self.white):
            object.__setattr__(self, "white", several.like(x, [self.white] * len(inputs)))
        for each, white in zip(inputs, several.each(self.white), strict=True):
            self._check_samples(each, white)
        check_targets(name, y, self.classes, len(inputs[0]))
        if self.weights is not None:
            check_weights(name, self.weights, len(y))
        if self.files is not None and (not isinstance(self.files, np.ndarray) or self.files.shape != (len(y),)):
            raise DataError(name, "files, an array of a path each", files=arguments.shown(self.files), samples=len(y))

    def _check_samples(self, x: np.ndarray | Lazy, white: Any) -> None:
        name = self.name
        if (x.ndim, x.dtype) not in ((4, np.uint8), (4, np.float32), (3, np.float32), (2, np.float32)):
            rule = "samples of shape (N, H, W, C) in uint8 or float32, or (N, T, D) or (N, D) in float32"
            raise DataError(name, rule, "from_arrays converts other arrays", shape=x.shape, dtype=x.dtype)
        if x.size == 0:
            raise DataError(name, "at least one sample", shape=x.shape)
        if not isinstance(white, numbers.Real) or not 0 < float(white) < math.inf:
            raise DataError(name, "white, the value of full brightness, above 0", white=arguments.shown(white))
        if x.dtype == np.float32:
            check_finite(x, name)

    def __len__(self) -> int:
        return several.count(self.x)

    def __repr__(self) -> str:
        learned = counted(len(self.classes), "class") if self.labelled else f"targets {self.y.shape[1:] or ''}".strip()
        kind = "" if several.is_several(self.x) else f" {self.x.dtype}"
        return f"<Dataset {self.name}: {len(self)} x {self.shape}{kind}, {learned}>"

    @property
    def labelled(self) -> bool:
        """Whether y is labels of classes; else it is targets, numbers."""
        return self.y.ndim == 1 and self.y.dtype.kind == "i"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample: (H, W, C), (T, D) or (D,)."""
        return several.like(self.x, [a.shape[1:] for a in several.each(self.x)])

    def inputs(self) -> list[Dataset]:
        """Return a set of each input alone, without weights."""
        if not several.is_several(self.x):
            return [self if self.weights is None else replace(self, weights=None)]
        pairs = zip(several.each(self.x), several.each(self.white), strict=True)
        return [replace(self, x=x, white=white, weights=None) for x, white in pairs]

    def weighted(self, weights: Any) -> Dataset:
        """Return the set with weights of its samples, multiplied by those it has.

        Args:
            weights: (N,), finite, >= 0 and not all 0, of any library, or a list.
        """
        found = read_numbers(self.name, "weights", weights)
        if found.dtype.kind in "buif":
            found = found.astype(np.float32)
        check_weights(self.name, found, len(self))
        return replace(self, weights=found if self.weights is None else found * self.weights)

    def take(self, indices: Any) -> Dataset:
        """Copy the samples at indices, in their order.

        Args:
            indices: integers in 0..N-1, at least one; or a mask, N booleans, of which at least one is True.
        Raises:
            ConfigError: they are neither, or an index is outside 0..N-1.
            DataError: there are no indices.
        """
        rows = read_rows(f"{self.name}.take", indices, len(self))
        x = several.like(self.x, [a.take(rows, axis=0) for a in several.each(self.x)])
        weights = None if self.weights is None else self.weights[rows]
        files = None if self.files is None else self.files[rows]
        return replace(self, x=x, y=np.take(self.y, rows, axis=0), weights=weights, files=files)

    def joined(self, other: Dataset) -> Dataset:
        """Return the samples of this set and then those of another part of it, without weights."""
        x = several.like(self.x, [joined(*pair) for pair in zip(*map(several.each, (self.x, other.x)), strict=True)])
        files = None if self.files is None or other.files is None else np.concatenate([self.files, other.files])
        return replace(self, x=x, y=np.concatenate([self.y, other.y]), weights=None, files=files)

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
        return self._hold_out(-(-len(self) // 5), Key(0, purpose), stratified, (1, 5))

    def hold_out(self, count: int, key: Key, *, stratified: bool = True) -> tuple[Dataset, Dataset]:
        """Split the set at random into (rest, held), count samples held, each in the order of this set.

        Args:
            count: 1..N-1.
            key: of the draw.
            stratified: hold out the same share of each class, rounded so that the parts are as large as without it; of
                targets that are no labels there are no classes to do it by.
        """
        where = f"{self.name}.hold_out"
        count = arguments.count(where, "count", count, 1, len(self) - 1)
        return self._hold_out(count, key, arguments.boolean(where, "stratified", stratified), (count, len(self)))

    def _hold_out(self, count: int, key: Key, stratified: bool, share: tuple[int, int]) -> tuple[Dataset, Dataset]:
        """Hold out count samples; of each class that share of its samples, rounded."""
        if not stratified or not self.labelled:
            held, rest = self.divide(count, key)
            return rest, held
        order = permutation(key, len(self))
        order = order[np.argsort(self.y[order], kind="stable")]  # class by class, each in random order
        sizes = np.bincount(self.y, minlength=len(self.classes))
        held = sizes * share[0] // share[1]
        rest = np.where(sizes == 1, -1, sizes * share[0] % share[1])  # the only sample of a class is held out last
        held[np.argsort(-rest, kind="stable")[: count - held.sum()]] += 1
        rank = np.arange(len(self)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        is_held = rank < np.repeat(held, sizes)
        return self.take(np.sort(order[~is_held])), self.take(np.sort(order[is_held]))


def read_rows(where: str, indices: Any, n: int) -> np.ndarray:
    """Return indices in 0..n-1, or those of a mask of n booleans, as int64; ConfigError where they are neither."""
    rows = host(where, indices)
    if rows.dtype == np.bool_ and rows.shape == (n,):
        rows = np.flatnonzero(rows)
    elif rows.ndim != 1 or (rows.size and rows.dtype.kind not in "ui"):
        got = f"{rows.dtype} of shape {rows.shape}"
        raise ConfigError(where, "indices (M,), integers, or a mask (N,), booleans", indices=got, N=n)
    outside = rows[(rows < 0) | (rows >= n)]
    if outside.size:
        raise ConfigError(where, "indices in 0..N-1", index=int(outside[0]), N=n)
    return rows.astype(np.int64)


def from_arrays(
    x: Any,
    y: Any = None,
    classes: Sequence[str] | None = None,
    name: str = "arrays",
    *,
    white: float | None = None,
    labelled: bool | None = None,
    images: bool | None = None,
) -> Dataset:
    """Make a data set from arrays in memory, of any library, or lists.

    Args:
        x: images (N, H, W, C), or (N, H, W), which get one channel; sequences (N, T, D); or vectors (N, D). uint8
            images keep their type, all other real numbers become float32. Or a Lazy of them, of which a sample decides
            what it is.
            A dictionary or a tuple of arrays is several inputs, of which each may be (N,) too.
        y: integer labels, (N,), in 0..K-1, or words; a 0/1 matrix (N, L), L >= 2; or other numbers, (N, ...). None:
            x itself, for models that reconstruct it.
        classes: the K names of the classes: by default the words in order of the alphabet, or "0", "1", ... up to the
            largest label; or the names of the columns of targets.
        name: used in messages.
        white: the value of full brightness; by default 255, 16 or 1, decided by the values: see xpnet.data.scale.
        labelled: whether y is labels (True) or numbers (False); by default y's kind says it.
        images: whether x of 3 axes is gray images (True) or sequences (False); by default it is images if its values
            are bytes, numbers of 0..1, or whole numbers of 0..255, and else sequences.
    Raises:
        DataError: as for Dataset, or x holds no real numbers, or y is none of the above, or most classes have no label.
    """
    labelled = arguments.optional(arguments.boolean)(name, "labelled", labelled)
    names: tuple[str, ...] = ()
    if y is not None:
        y, names = read_targets(name, y, classes, labelled)
    images = arguments.optional(arguments.boolean)(name, "images", images)
    if not _is_several(x):
        x, white = _samples(name, x, images, white)
        return Dataset(x, np.asarray(x, np.float32) if y is None else y, names, name, white)
    if y is None:
        raise DataError(name, "targets y, of several inputs", y=None)
    found = [_samples(name, _rows(name, each), images, white) for each in several.each(x)]
    whites = several.like(x, [white for _, white in found])
    return Dataset(several.like(x, [each for each, _ in found]), y, names, name, whites)


def _is_several(x: Any) -> bool:
    """Whether x is several inputs: a dictionary, or a tuple of arrays; a tuple of rows of numbers is one array."""
    return isinstance(x, dict) or (isinstance(x, tuple) and bool(x) and all(hasattr(a, "shape") for a in x))


def _rows(name: str, x: Any) -> np.ndarray:
    """Return one of several inputs; a number an example, (N,), as rows of one, (N, 1)."""
    x = x if isinstance(x, Lazy) else read_numbers(name, "samples", x)
    return x[:, np.newaxis] if x.ndim == 1 else x


def _samples(name: str, x: Any, images: bool | None, white: float | None) -> tuple[Any, float]:
    """Bring one array of samples to the form that a Dataset has, and say its white."""
    x = x if isinstance(x, Lazy) else read_numbers(name, "samples", x)
    if x.dtype.kind not in "buif":
        raise DataError(name, "samples that are real numbers", dtype=x.dtype)
    if x.ndim == 3 and (are_images(x) if images is None else images):
        x = x.converted((*x.shape, 1), x.dtype) if isinstance(x, Lazy) else x[..., np.newaxis]  # (N, H, W, 1)
    if white is None:
        white = white_of(x)
    if isinstance(x, Lazy):
        dtype = np.dtype(np.uint8 if x.dtype == np.uint8 and x.ndim > 3 else np.float32)
        x = x if x.dtype == dtype else x.converted(x.shape, dtype)
    elif x.dtype != np.uint8 or x.ndim < 4:
        with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite, which Dataset rejects
            x = x.astype(np.float32, copy=False)
    return x, white

"""load and splits: every data set by its name, or by the path of a folder or file."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

from xpnet import arguments
from xpnet.data.cifar10 import load_cifar10
from xpnet.data.columns import Columns
from xpnet.data.dataset import Dataset
from xpnet.data.digits import load_digits
from xpnet.data.download import Progress
from xpnet.data.folder import load_folder
from xpnet.data.idx import load_fashion_mnist, load_mnist
from xpnet.data.labels import folder_of
from xpnet.data.npz import load_npz
from xpnet.data.opening import beside, nearest_path
from xpnet.data.plane import blobs, circles, moons, spirals, xor
from xpnet.data.splits import LoadOptions, Splits
from xpnet.data.table import TABLES
from xpnet.data.table_rows import fitted, table_rows
from xpnet.errors import ConfigError, DataError, near, nearest
from xpnet.random import Key

__all__ = ["DATASETS", "PUBLISHED", "load", "splits"]

_POINTS = 4000  # of a problem in the plane; with fewer, the default 20 epochs are too few steps for spirals
_PLANE = {"moons": moons, "circles": circles, "spirals": spirals, "xor": xor, "blobs": blobs}
PUBLISHED = {"mnist": load_mnist, "fashion-mnist": load_fashion_mnist, "cifar10": load_cifar10}

DATASETS = ("digits", *PUBLISHED, *_PLANE)


def load(
    name_or_path: str,
    data_dir: str | None = None,
    *,
    progress: Progress | None = None,
    max_pixels: int | None = None,
    options: LoadOptions | None = None,
) -> tuple[Dataset, Dataset]:
    """Load a data set as a training set and a test set.

    moons, circles, spirals, xor and blobs are generated, always the same: 3,200 training and 800 test points.

    Args:
        name_or_path: one of DATASETS, or the path of a folder of images by class, or of a .csv, .parquet or
            .npz file. To load a folder that has the name of a data set, write "./mnist".
        data_dir: the folder with the files of mnist, fashion-mnist and cifar10; by default XPNET_DATA_DIR. Missing sets
            are downloaded into the user's cache folder.
        progress: called with (done, total): bytes of a download, images of a folder. By default a download shows a bar
            on standard error, if that is a terminal.
        max_pixels: the largest image of a folder, as for load_image.
        options: see LoadOptions.
    Returns:
        train, test.
    Raises:
        ConfigError: no data set has that name.
        DataError: the files are missing, damaged, or cannot be learned from.
    """
    found = fitted(_found("load", name_or_path, data_dir, progress, max_pixels, options))
    if found.test is None:
        raise DataError(str(name_or_path), "a training set and a test set", "use splits", test=None)
    for text in found.warnings:
        warnings.warn(text, stacklevel=2)
    return found.train, found.test


def splits(
    name_or_path: str,
    data_dir: str | None = None,
    *,
    validation: Any = 0.1,
    least: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
    options: LoadOptions | None = None,
) -> Splits:
    """Load a data set in parts to learn from, to choose by, and to test with, and say what was found.

    Args:
        name_or_path, data_dir, progress, options: as for load.
        validation: the fraction of the training set that is held out, of each class alike, where the data has no
            validation part of its own; or the path of a folder or file, all of which is the validation set; 0 or None:
            no validation set.
        least: where the fraction is fewer examples, none are held out.
        seed: of that draw.
    Raises:
        ConfigError, DataError: as for load; or validation is outside 0..1, or has other classes.
    """
    where = "splits"
    seed = arguments.count(where, "seed", seed, 0, (1 << 64) - 1)
    arguments.count(where, "least", least)
    is_path = isinstance(validation, str | os.PathLike)
    other = arguments.path(where, "validation", validation) if is_path else None
    fraction = 0.0 if is_path or validation is None else arguments.number(where, "validation", validation, 0, 1)
    found = _found(where, name_or_path, data_dir, progress, None, options)
    columns = Columns.from_json(options.columns) if options and options.columns else None
    if other is not None:
        if not os.path.exists(os.path.expanduser(other)):
            raise DataError(
                where, "validation, a fraction, or the path of a folder or file", validation=repr(str(other))
            )
        if other.suffix.lower() in TABLES:
            return fitted(found, other, columns)
        return found._replace(validation=_like(found.train, other, progress, options))
    if not fraction:
        return fitted(found._replace(validation=None), columns=columns)
    if found.validation is None:
        count = max(1, round(fraction * len(found.train)))
        if count < least:
            line = f"validation: none; {fraction:g} of {len(found.train):,} training examples are fewer than {least}"
            return fitted(found._replace(note=(*found.note, line)), columns=columns)
        if count >= len(found.train):
            rule = "validation with at least one example in each part"
            raise ConfigError(where, rule, validation=fraction, examples=len(found.train))
        train, held = found.train.hold_out(count, Key(seed, "validation"))
        line = f"validation: {len(held):,} of the {len(found.train):,} training examples are held out"
        found = found._replace(train=train, validation=held, note=(*found.note, line))
    return fitted(found, columns=columns)


def _like(train: Dataset, path: Path, progress: Progress | None, options: LoadOptions | None) -> Dataset:
    """Load all of a folder or file, as more examples of a training set."""
    shape = train.shape
    options = options or LoadOptions()
    if len(shape) == 3:
        options = replace(options, image_size=shape[:2], channels=shape[2])
    found = _found("splits", str(path), None, progress, None, options)
    parts = [part for part in (found.train, found.validation, found.test) if part is not None]
    if found.test is found.validation:
        parts = parts[:2]
    if any(part.shape != shape or part.classes != train.classes for part in parts):
        got = {"shape": parts[0].shape, "classes": ", ".join(parts[0].classes[:10])}
        raise DataError(str(path), f"examples {shape} in the classes of the training set", **got)
    return reduce(Dataset.joined, parts)


def _found(
    where: str,
    name_or_path: str,
    data_dir: str | None,
    progress: Progress | None,
    max_pixels: int | None,
    options: LoadOptions | None,
) -> Splits:
    """Load what a name or path says, in the parts that it has."""
    is_name = isinstance(name_or_path, str)  # a path would lose the "./" of "./mnist"
    name = name_or_path if is_name else str(arguments.path(where, "name_or_path", name_or_path))
    arguments.optional(arguments.path)(where, "data_dir", data_dir)
    arguments.optional(arguments.function)(where, "progress", progress)
    max_pixels = arguments.optional(arguments.count)(where, "max_pixels", max_pixels)
    options = LoadOptions() if options is None else options
    arguments.instance(where, "options", options, kind=LoadOptions, rule="a LoadOptions")
    if max_pixels is not None:
        options = replace(options, max_pixels=max_pixels)
    suffix = "" if name in DATASETS else os.path.splitext(name)[1].lower()
    if options.target is not None and (name in DATASETS or suffix == ".npz"):
        rule, do = "a table, or photos with a file of labels, to choose a column of", "omit it: this data has targets"
        raise ConfigError("target", rule, do, target=repr(options.target), data=repr(name))
    if name in DATASETS:
        return _named(name, data_dir, progress)
    path = Path(os.path.expanduser(name))
    try:
        if name and os.path.isdir(path):
            return load_folder(path, progress, options)
        if folder := folder_of(str(path)):
            return load_folder(Path(folder), progress, options, str(path))
        if path.suffix.lower() == ".npz":
            return Splits(*load_npz(path, options))
        if path.suffix.lower() in TABLES:
            rows = table_rows(path, options.target, options.task)
            return Splits(rows) if options.whole else _of(rows.hold_out_fifth("table/test", stratified=True))
    except MemoryError as error:
        raise DataError.event(name, "the data set does not fit in memory", error=error or "MemoryError") from error
    if name and os.path.lexists(path):
        raise DataError(
            name, "a folder of images by class, or a .csv, .parquet or .npz file", suffix=path.suffix or "none"
        )
    if os.path.dirname(name) or path.suffix:
        raise DataError.event(name, "no such folder or file", nearest_path(path, _data_beside(path), "check the path"))
    near_names = near(name, {*DATASETS, *(place.name for place in _data_beside(path))})
    do = nearest(name, near_names or DATASETS)
    raise ConfigError("data", "a data set, folder, .csv or .npz file", do, data=repr(name))


def _data_beside(path: Path) -> list[Path]:
    """Return what is beside a path and can hold data: folders, and files with the suffix of one."""
    return [place for place in beside(path) if place.suffix.lower() in (".npz", *TABLES) or place.is_dir()]


def _named(name: str, data_dir: str | None, progress: Progress | None) -> Splits:
    """Load a data set of DATASETS; a folder of classes here that has its name is warned of."""
    if name == "digits":
        found = _of(load_digits())
    elif name in PUBLISHED:
        found = _of(PUBLISHED[name](data_dir, progress))
    else:
        found = _of(_PLANE[name](_POINTS).hold_out_fifth(f"plane/{name}/test"))
    if os.path.isdir(name) and any(entry.is_dir() for entry in os.scandir(name)):
        line = f"{name} is the data set of that name; write ./{name} for the folder here"
        found = found._replace(warnings=(*found.warnings, line))
    return found


def _of(parts: tuple[Dataset, Dataset]) -> Splits:
    return Splits(parts[0], None, parts[1])

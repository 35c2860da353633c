"""The data of a run: found from everywhere, in the classes and on the scale that its model was trained with."""

from __future__ import annotations

import dataclasses
import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import data as datasets
from xpnet import models
from xpnet.data import Dataset, LoadOptions, Splits, several
from xpnet.data.splits import LEAST
from xpnet.errors import ConfigError, DataError
from xpnet.train.runs.config import RunConfig
from xpnet.train.runs.config_schema import TASKS
from xpnet.train.shaping import reshaped_set

__all__ = ["as_trained", "check_used", "load_data", "load_options", "load_parts", "place", "placed", "whole"]

_OF_PHOTOS = ("image_size", "image_fit", "skip_damaged", "cache_images", "cache_folder", "workers")
_VALIDATION = 0.1  # the part that is held out by default, if it is at least LEAST examples


def place(data: str) -> str:
    """Return the absolute path of a folder or file, so that a run finds its data from everywhere; other names stay."""
    path = Path(os.path.expanduser(data))
    return data if data in datasets.DATASETS or not os.path.exists(path) else str(path.absolute())


def placed(config: RunConfig) -> RunConfig:
    """Return a configuration with the absolute paths of its folders and files."""
    found = {name: place(value) for name in ("data", "data_dir", "from_run") if (value := getattr(config, name))}
    if isinstance(config.val, str):
        found["val"] = place(config.val)
    for name in ("cache_folder", "log_dir"):
        if value := getattr(config, name):
            found[name] = str(Path(value).expanduser().absolute())
    return dataclasses.replace(config, **found)


def load_parts(
    config: RunConfig,
    options: LoadOptions,
    run: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Splits:
    """Load the data of a run in its parts.

    Args:
        config: the run's.
        options: as load_options returns them.
        run: its folder, where it is resumed: it is named if its data is gone.
        progress: called as (done, total).
    """
    check_there(config.data, run)
    val = _VALIDATION if config.val is None else config.val
    if isinstance(val, str) and not os.path.exists(os.path.expanduser(val)):
        if run is not None:
            check_there(val, run, "val")
        raise DataError.event(val, "no such folder or file", "give val a fraction, such as 0.1, or a path")
    least = LEAST if config.val is None else 1
    parts = datasets.splits(
        config.data, config.data_dir, validation=val, least=least, progress=progress, options=options
    )
    for text in parts.warnings:
        warnings.warn(text, stacklevel=3)
    if several.is_several(parts.train.x):
        do = "fit a model whose forward takes them in a program: Trainer(model).fit(xpnet.data.load(file)[0])"
        rule = "one array of examples, as the models of xpnet train take"
        raise ConfigError("data", rule, do, inputs=", ".join(map(str, parts.train.x)))
    return parts


def check_used(config: RunConfig, train: Dataset) -> None:
    """Raise ConfigError where an option is given that this kind of data makes no use of."""
    rules: dict[str, str] = {} if train.files is not None else dict.fromkeys(_OF_PHOTOS, "a folder of images")
    if config.data.lower().endswith(".npz"):
        rules.pop("cache_images", None)
    if len(train.shape) != 3:
        rules["augment"] = "images"
    for name, rule in rules.items():
        if (value := getattr(config, name)) not in (None, False, "none"):
            raise ConfigError(name, f"data that is {rule}", f"omit {name}", **{name: value, "data": repr(config.data)})


def load_data(
    data: str,
    data_dir: str | None,
    run: str | Path | None,
    progress: Callable[[int, int], None] | None,
    options: LoadOptions | None = None,
) -> Splits:
    """Load a data set without a validation part; where that of a run is gone, say how to name its new place."""
    check_there(data, run)
    return datasets.splits(data, data_dir, validation=0, progress=progress, options=options)


def check_there(data: str, run: str | Path | None, name: str = "data") -> None:
    """Raise DataError where the data of a run is gone; it says how to name its new place."""
    if run is not None and data not in datasets.DATASETS and not os.path.exists(os.path.expanduser(data)):
        what = "data" if name == "data" else "validation set"
        raise DataError.event(
            data, f"the {what} of {run} is not there any more", f"say where it is now with {name}=PATH"
        )


def load_options(
    config: RunConfig | None = None, meta: Mapping[str, Any] | None = None, skip_damaged: bool = False
) -> LoadOptions:
    """Return how the data of a run is loaded: as it was trained, where the JSON of its checkpoint says that.

    A run of version 0.7 or older says no fit: its images were stretched.
    """
    if config is None:
        learned = meta or {}
        task = (learned.get("task") or {}).get("name")
        skip = skip_damaged or bool(learned.get("skip_damaged"))
        config = RunConfig(target=learned.get("target"), task=task if task in TASKS else None, skip_damaged=skip)
    options = LoadOptions(
        image_size=config.image_size,
        side=models.image_side(config.model),
        fit=config.image_fit or "crop",
        target=config.target,
        task=config.task,
        columns=(meta or {}).get("columns"),
        skip_damaged=config.skip_damaged,
        cache_images=config.cache_images,
        cache_folder=config.cache_folder,
        workers=config.workers,
    )
    shape = tuple(meta["shape"]) if meta else ()
    if meta and len(shape) == 3 and shape[2] in (1, 3):
        options = dataclasses.replace(options, image_size=shape[:2], channels=shape[2], fit=meta.get("fit", "stretch"))
    return options


def as_trained(data: Dataset, meta: Mapping[str, Any], where: str, every: bool = False) -> Dataset:
    """Number the classes of a data set, and scale its values, as in the set that a run was trained on.

    Args:
        data: examples of the run's shape, in classes whose names the run knows.
        meta: the JSON of the run's checkpoint.
        where: named in errors.
        every: whether no class of the run may be missing.
    Raises:
        ConfigError: the shape differs, or a class is unknown or missing.
    """
    classes, shape = tuple(meta["classes"]), tuple(meta["shape"])
    if meta.get("unnamed") and len(data.classes) == len(classes):
        classes = data.classes  # of a file that does not name its outputs
    data = reshaped_set(where, data, None, shape, logging.WARNING)
    if data.shape != shape:
        raise ConfigError(where, f"data of shape {shape}, as the run was trained on", shape=data.shape)
    if data.classes != classes:
        unknown = [name for name in data.classes if name not in classes]
        missing = [name for name in classes if name not in data.classes]
        if unknown or (missing and every) or len(set(classes)) < len(classes):
            got = {"unknown": _some(unknown)} | ({"missing": _some(missing)} if every or unknown else {})
            rule = f"data in the classes of the run, {_some(classes)}"
            raise ConfigError(where, rule, **{name: value for name, value in got.items() if value})
        numbers = np.asarray([classes.index(name) for name in data.classes])
        data = dataclasses.replace(data, y=numbers[data.y], classes=classes)
    # a run of xpnet 0.6 or older, or a file: else the Trainer does it; None: numbers as they are
    if not meta.get("scale") and meta["white"] not in (None, data.white):
        x = np.asarray(data.x, np.float32) * np.float32(meta["white"] / data.white)
        data = dataclasses.replace(data, x=x, white=meta["white"])
    return data


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def whole(train: Dataset, test: Dataset | None) -> Dataset:
    """Return the examples of both parts as one set."""
    return train if test is None else train.joined(test)

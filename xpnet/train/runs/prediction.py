"""What a run's model says of new examples: images, or the rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.backend import Backend, available_cores
from xpnet.data import Columns, load_image
from xpnet.data.npz import load_inputs
from xpnet.data.photos import in_threads
from xpnet.distributed import by_first
from xpnet.errors import ConfigError, DataError
from xpnet.train.runs.evaluation import open_run
from xpnet.train.runs.inputs import expanded, is_archive, is_table
from xpnet.train.shaping import shape_for
from xpnet.train.trainer import Trainer

__all__ = ["ask_opened", "ask_run", "predict_run"]

_BATCH = 64  # images that are decoded at a time


def predict_run(
    run: str | Path, images: list[str], top: int | None = None, backend: str | Backend | None = None
) -> list[dict[str, Any]]:
    """Predict images, or the rows of tables, by a run's model.

    Args:
        run: the run's folder.
        images: files, folders, patterns such as "*.png", "-" for names on standard input; tables, if the run is of one;
            or .npz files with examples x, as the run's.
        top: the number of classes to return, 1 .. K; by default 3, or K if there are fewer.
        backend: where to compute; the default one by default.
    Returns:
        For each example a dictionary that begins with its name (image, table and row, or file and example): of classes
        {classes: the top K names, probabilities}; of labels {labels: those of probability 1/2 or more, probabilities:
        all by name}; of numbers {values: by name}; of reconstruction {mse}.
    Raises:
        ConfigError: top is outside 1 .. K. DataError: a file does not exist or is not an image.
    """
    results = []
    for result in ask_run(run, images, top, backend):
        if isinstance(result, DataError):
            raise result
        results.append(result)
    return results


def ask_run(
    run: str | Path, images: Any, top: int | None = None, backend: str | Backend | None = None
) -> Iterator[dict[str, Any] | DataError]:
    """Predict as predict_run does, in batches: each result as it is known, or the error of an unreadable image.

    Raises: as predict_run.
    """
    return ask_opened(*open_run(run, backend), images, top)


def ask_opened(
    trainer: Trainer, meta: Mapping[str, Any], images: Any, top: int | None = None
) -> Iterator[dict[str, Any] | DataError]:
    """Predict as ask_run does, with a model that open_run, or another function with such results, has opened.

    Raises: as predict_run.
    """
    images = [images] if isinstance(images, str) else arguments.items("predict_run", "images", images)
    images = [name if name == "-" else str(arguments.path("predict_run", "images", name)) for name in images]
    classes, shape = meta["classes"], tuple(meta["shape"])
    top = min(3, max(1, len(classes))) if top is None else top
    if arguments.as_index(top) is None or not 1 <= top <= max(1, len(classes)):
        raise ConfigError("top", f"1 <= top <= {len(classes)}, the number of classes", top=arguments.shown(top))
    task = trainer.task
    assert task is not None  # a run has one

    def say(answers: np.ndarray, x: np.ndarray) -> list[dict[str, Any]]:
        return task.predictions(answers, classes, x, top)

    if meta.get("columns"):
        return _rows(trainer, Columns.from_json(meta["columns"]), images, say)
    if any(map(is_archive, images)):
        return _arrays(trainer, shape, images, say)
    if len(shape) != 3:
        do = "give an .npz file with examples x"
        raise ConfigError("predict", "a model of images (H, W, C)", do, shape=shape)
    # standard input reaches process 0 alone
    return _images(trainer, meta, by_first(trainer.processes.communicator, lambda: expanded(images)), say)


def _rows(trainer: Trainer, columns: Columns, tables: Sequence[str], say: Any) -> Iterator[dict[str, Any]]:
    """Predict the rows of tables, all of which are read before the first is predicted."""
    if others := [name for name in tables if not is_table(name)]:
        raise ConfigError("predict", "a table, as the run was trained on: .csv, .tsv or .parquet", file=repr(others[0]))
    if not tables:
        raise ConfigError("predict", "a table, at least one", tables="none")
    read = [(name, columns.apply(name)) for name in tables]
    return (
        {"table": name, "row": row, **result}
        for name, x in read
        for row, result in enumerate(say(trainer.predict(x), x), 1)
    )


def _arrays(trainer: Trainer, shape: tuple[int, ...], files: Sequence[str], say: Any) -> Iterator[dict[str, Any]]:
    """Predict the examples of archives, all of which are read before the first is predicted."""
    if others := [name for name in files if not is_archive(name)]:
        raise ConfigError("predict", "images, or .npz files, not both", file=repr(others[0]))
    read = [(name, load_inputs(Path(name).expanduser())) for name in files]
    for name, x in read:
        if isinstance(x, dict):
            raise DataError(name, "one array x, as the run was trained on", inputs=", ".join(x))
        if not x.ndim or not len(x):
            raise DataError(name, "at least one example in x (N, ...)", shape=x.shape)
        if x.shape[1:] != shape and shape_for(name, x.shape[1:], None, shape) != shape:
            raise DataError(name, f"examples of shape {shape}, as the run was trained on", shape=x.shape[1:])

    def results() -> Iterator[dict[str, Any]]:
        for name, x in read:
            found = say(trainer.predict(x), x.reshape(len(x), *shape))
            yield from ({"file": name, "example": i, **result} for i, result in enumerate(found))

    return results()


def _images(
    trainer: Trainer, meta: Mapping[str, Any], files: Sequence[str], say: Any
) -> Iterator[dict[str, Any] | DataError]:
    decode = partial(_decoded, shape=tuple(meta["shape"]), fit=meta.get("fit", "stretch"))
    for start in range(0, len(files), _BATCH):
        part = files[start : start + _BATCH]
        pixels = list(in_threads(decode, part, available_cores()))
        good = [image for image in pixels if not isinstance(image, DataError)]
        results = iter(())
        if good:
            x = np.stack(good).astype(np.float32)
            if not trainer.scale and meta["white"] is None:
                rule = "an .npz file, on the scale of the data that the model was trained with"
                raise ConfigError("predict", rule, file=repr(part[0]))
            if not trainer.scale:  # a run of xpnet 0.6 or older, or a file
                x *= np.float32(meta["white"] / 255.0)
            results = iter(say(trainer.predict(x, white=255.0 if trainer.scale else None), x))
        for file, image in zip(part, pixels, strict=True):
            yield image if isinstance(image, DataError) else {"image": file, **next(results)}


def _decoded(path: str, shape: tuple[int, ...], fit: str) -> np.ndarray | DataError:
    try:
        return load_image(path, shape, fit=fit)
    except DataError as error:
        return error

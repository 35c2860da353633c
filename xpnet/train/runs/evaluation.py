"""A run's trainer, opened again and measured on data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import arguments, models
from xpnet import data as datasets
from xpnet.backend import Backend, get_backend
from xpnet.data import Columns, Dataset
from xpnet.data.labels import folder_of
from xpnet.distributed import by_first
from xpnet.distributed.sharing import sharing
from xpnet.errors import CheckpointError, ConfigError, DataError
from xpnet.train.runs.data import as_trained, load_data, load_options, place, whole
from xpnet.train.runs.fine_tuning import read_weights
from xpnet.train.runs.inputs import is_table
from xpnet.train.runs.prediction_csv import write_csv
from xpnet.train.runs.result import names_of, recorded_of
from xpnet.train.tasks import saved_kind
from xpnet.train.trainer import Trainer

__all__ = ["evaluate_opened", "evaluate_run", "open_run", "test_part"]

Report = Callable[[int, int], None]


def open_run(run: str | Path, backend: str | Backend | None = None) -> tuple[Trainer, dict[str, Any]]:
    """Load a run's trainer, on any backend, and its checkpoint's JSON: of its best epoch, if the run keeps that.

    Raises:
        CheckpointError: no such run, or its checkpoint cannot be read or is of another model.
    """
    checkpoint = read_weights(run)
    meta = checkpoint.meta
    scale = meta.get("normalize")
    if scale is None and meta["white"] > 1 and meta["format_version"] == 1:  # such sets held bytes
        path = Path(run) / "checkpoint.safetensors"
        raise CheckpointError(str(path), "normalize, of a run trained on bytes", normalize=scale)
    outputs, K = meta.get("outputs"), len(meta["classes"])
    labelled = saved_kind(meta.get("task")).labelled
    if labelled and (K < 2 or outputs not in (None, K)):
        path = Path(run) / "checkpoint.safetensors"
        raise CheckpointError(str(path), "the names of at least 2 classes, one an output", classes=K, outputs=outputs)
    outputs = outputs or K
    model = models.build(meta["model_name"], tuple(meta["shape"]), outputs).to(get_backend(backend))
    checkpoint.restore(model)
    loss = models.recipe(meta["model_name"]).loss if labelled else None
    trainer = Trainer(model, loss=loss, shards=1)  # any number of processes evaluates
    trainer.take_scale(meta)
    trainer.shape = tuple(meta["shape"])
    return trainer, meta


def evaluate_run(
    run: str | Path,
    data: str | None = None,
    data_dir: str | None = None,
    backend: str | Backend | None = None,
    *,
    progress: Report | None = None,
    csv: str | Path | None = None,
    skip_damaged: bool = False,
) -> dict[str, Any]:
    """Measure a run's model on the test part of a data set, by default the run's.

    Another folder or file than the run's that has no test part is measured as a whole.

    Args:
        run: the run's folder.
        data: a name or path that data.load takes; data_dir: where its files are.
        backend: where to compute; the default one by default.
        progress: called as (done, total) while data is loaded.
        csv: a table to write, with a line for each example: its name, what is true and what is predicted.
        skip_damaged: leave out images that cannot be decoded; so it is where the run was trained so.
    Returns:
        {model, data, task, backend, device, examples, test_loss, test_accuracy, top5_accuracy, confusion, classes,
        run}; of another task than classification its own figures.
    """
    trainer, meta = open_run(run, backend)
    return evaluate_opened(trainer, meta, run, data, data_dir, progress=progress, csv=csv, skip_damaged=skip_damaged)


def evaluate_opened(
    trainer: Trainer,
    meta: Mapping[str, Any],
    run: str | Path,
    data: str | None = None,
    data_dir: str | None = None,
    *,
    progress: Report | None = None,
    csv: str | Path | None = None,
    skip_damaged: bool = False,
) -> dict[str, Any]:
    """Measure a model that open_run, or another function with such results, has opened; see evaluate_run.

    Args:
        trainer, meta: what was returned; a file that is no run has no data of its own.
        run: the run's folder, or that file.
        data, data_dir, progress, csv, skip_damaged: as evaluate_run takes them.
    """
    arguments.optional(arguments.text)("evaluate_run", "data_dir", data_dir)
    if data is None and not meta["data"]:
        raise ConfigError("data", "a data set, since the ONNX file holds none", data=None)
    if data is not None:
        data = str(arguments.path("evaluate_run", "data", data))
    else:
        data_dir = data_dir or meta.get("data_dir")
    skip_damaged = arguments.boolean("evaluate_run", "skip_damaged", skip_damaged)
    share = sharing(trainer.processes.communicator)
    test = test_part(meta, data, data_dir, None if data else run, progress, skip_damaged, share)
    figures = trainer.evaluate(test)
    if csv is not None:
        each = _each(trainer, test, meta)
        by_first(trainer.processes.communicator, lambda: write_csv(csv, each))
    task = trainer.task
    others = {
        key: value for key, value in figures.items() if key not in ("loss", "scores", *(task.recorded if task else ()))
    }
    return {
        **names_of(meta["model_name"], test.name, trainer.model.backend),
        "task": task.name if task else None,
        "examples": len(test),
        **recorded_of(task, figures, "test"),
        **{key: value.tolist() if hasattr(value, "tolist") else value for key, value in others.items()},
        "classes": list(test.classes),
        "run": str(run),
    }


def _each(trainer: Trainer, test: Dataset, meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return for each example its name, what is true and what is predicted."""
    white = test.white if trainer.scale and len(test.shape) == 3 else None
    assert trainer.task is not None  # a run has one
    answers = trainer.predict(test.x, white=white)
    results = trainer.task.predictions(answers, meta["classes"], np.asarray(test.y))
    files = test.files
    names = [{"example": i} for i in range(len(test))] if files is None else [{"image": str(file)} for file in files]
    truth = np.asarray(test.y).reshape(len(test), -1)
    columns = meta["classes"] if len(meta["classes"]) == truth.shape[1] else [str(k) for k in range(truth.shape[1])]
    if test.labelled:
        true = [{"true": meta["classes"][int(k)]} for k in truth[:, 0]]
    else:
        true = [{f"true {c}": float(v) for c, v in zip(columns, row, strict=True)} for row in truth]
    return [{**n, **t, **r} for n, t, r in zip(names, true, results, strict=True)]


def test_part(
    meta: Mapping[str, Any],
    data: str | None,
    data_dir: str | None,
    run: str | Path | None,
    progress: Report | None,
    skip_damaged: bool,
    share: Any,
) -> Dataset:
    """Load what a run is measured on: see evaluate_run."""
    is_other = data not in (None, *datasets.DATASETS) and place(str(data)) != meta["data"]
    if meta.get("columns") and (is_other or data in datasets.DATASETS):
        if not is_table(str(data)):
            raise ConfigError("data", "a table, as the run was trained on: .csv, .tsv or .parquet", data=repr(data))
        return Columns.from_json(meta["columns"]).dataset(str(data))
    if is_other and is_table(str(data)) and not folder_of(str(data)):
        rule = "no table, since the model was not trained on one"
        do = "give a folder of images, or a table of their names and labels that is beside them"
        do = do if len(meta["shape"]) == 3 else "give an .npz file with x and y"
        raise ConfigError("data", rule, do, data=repr(data))
    options = dataclasses.replace(load_options(None, meta, skip_damaged), share=share)
    if is_other:
        options = dataclasses.replace(options, whole=True, classes=tuple(meta["classes"]))
    parts = load_data(data or meta["data"], data_dir, run, progress, options)
    train, test = parts.train, parts.test
    if is_other and (test is None or train.name == test.name):
        test = whole(train, test)  # another set than the run's, without a test part: none of it was trained on
    if test is None:
        raise DataError(parts.train.name, "a test part", "name other data with data", test=None)
    return as_trained(test, meta, "evaluate")

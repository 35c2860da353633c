"""A run's trainer, opened again and measured on data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from xpnet import arguments, models
from xpnet import data as datasets
from xpnet.backend import Backend, get_backend
from xpnet.errors import CheckpointError
from xpnet.train.checkpoint import read_checkpoint
from xpnet.train.run_data import as_trained, load_data, load_options, place, whole
from xpnet.train.schema import RUN, check
from xpnet.train.trainer import Trainer

__all__ = ["evaluate_run", "names_of", "open_run"]

Report = Callable[[int, int], None]


def names_of(model: str, data: str, backend: Backend) -> dict[str, Any]:
    return {"model": model, "data": data, "backend": backend.name, "device": backend.device_name}


def open_run(run: str | Path, backend: str | Backend | None = None) -> tuple[Trainer, dict[str, Any]]:
    """Load a run's trainer, on any backend, and its checkpoint's JSON.

    Raises:
        CheckpointError: no such run, or its checkpoint cannot be read or is of another model.
    """
    path = arguments.path("open_run", "run", run) / "checkpoint.safetensors"
    checkpoint = read_checkpoint(path)
    meta = checkpoint.meta
    check(meta, RUN, str(path), CheckpointError, others=True)
    scale = meta.get("normalize")
    if scale is None and meta["white"] > 1 and meta["format_version"] == 1:  # such sets held bytes
        raise CheckpointError(str(path), "normalize, of a run trained on bytes", normalize=scale)
    recipe = models.recipe(meta["model_name"])
    model = models.build(meta["model_name"], tuple(meta["shape"]), len(meta["classes"])).to(get_backend(backend))
    checkpoint.restore(model)
    trainer = Trainer(model, loss=recipe.loss)
    trainer.take_scale(meta)
    return trainer, meta


def evaluate_run(
    run: str | Path,
    data: str | None = None,
    data_dir: str | None = None,
    backend: str | Backend | None = None,
    *,
    progress: Report | None = None,
) -> dict[str, Any]:
    """Measure a run's model on the test part of a data set, by default the run's.

    Another folder or file than the run's that has no test part is measured as a whole.

    Returns:
        {model, data, backend, device, examples, test_loss, test_accuracy, top5_accuracy, confusion, classes, run}.
    """
    arguments.optional(arguments.text)("evaluate_run", "data_dir", data_dir)
    trainer, meta = open_run(run, backend)
    if data is not None:
        data = str(arguments.path("evaluate_run", "data", data))
    else:
        data_dir = data_dir or meta.get("data_dir")
    options = load_options(None, meta)
    train, test = load_data(data or meta["data"], data_dir, None if data else run, progress, options)
    if data not in (None, *datasets.DATASETS) and place(data) != meta["data"] and train.name == test.name:
        test = whole(train, test)  # another set than the run's, without a test part: none of it was trained on
    test = as_trained(test, meta, "evaluate")
    figures = trainer.evaluate(test)
    return {
        **names_of(meta["model_name"], test.name, trainer.model.backend),
        "examples": len(test),
        "test_loss": figures["loss"],
        "test_accuracy": figures["accuracy"],
        "top5_accuracy": figures["top5_accuracy"],
        "confusion": figures["confusion"].tolist(),
        "classes": list(test.classes),
        "run": str(run),
    }

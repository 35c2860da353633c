"""A run's model written as an ONNX file, with what the run knows of its inputs and outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.data import Columns, Normalize
from xpnet.errors import ConfigError
from xpnet.interop.onnx.export import Exported, export_onnx
from xpnet.output import counted
from xpnet.train import scaling
from xpnet.train.runs.evaluation import open_run
from xpnet.train.trainer import Trainer

__all__ = ["export_run"]

_WHITE = 255.0  # of pixels in files of images


def export_run(
    run: str | Path,
    path: str | Path,
    *,
    inputs: str = "nchw",
    opset: int = 21,
    batch: str | int = "N",
    with_preprocessing: bool = False,
) -> Exported:
    """Write the model of a run, of its best epoch where the run keeps it, as export_onnx does.

    Args:
        run: the run's folder.
        path, inputs, opset: as export_onnx takes them.
        batch: as export_onnx takes it, or "fixed" for one example.
        with_preprocessing: whether the file normalizes its inputs, which are then pixels of 0..255, or the numbers of
            the data if those are no images; and gives what the run predicts: probabilities, or values in their units.
            Otherwise it takes normalized numbers and gives scores.
    Returns:
        What the file holds. Its metadata has, as JSON, "classes" (the names of the outputs), "task", "model",
        "preprocessing" (how images are resized and inputs normalized, and whether the file does the latter),
        "columns" of a table, and "inputs", what the file's columns are; and "description", which says it in words.
    Raises:
        CheckpointError: no such run, or the file cannot be written. Otherwise as export_onnx.
    """
    trainer, meta = open_run(run)
    shape = tuple(meta["shape"])
    included = arguments.boolean("export", "with_preprocessing", with_preprocessing)
    normalize = _normalization(trainer, meta, shape)
    if included and normalize is not None and not isinstance(normalize, Normalize):
        what = "a custom normalization cannot be part of the file"
        raise ConfigError.event(
            "with_preprocessing", what, "omit with_preprocessing", normalize=type(normalize).__name__
        )
    columns = Columns.from_json(meta["columns"]) if meta.get("columns") else None
    first = normalize
    if included and columns is not None and normalize is None:
        means, deviations = columns.scaling()
        first = Normalize(tuple(means), tuple(deviations), 1.0)
    task = trainer.task
    assert task is not None  # a run has one
    is_image = len(shape) == 3 and not meta.get("columns")
    facts = {
        "normalize": first.to_json() if isinstance(first, Normalize) else None,
        "white": _WHITE if is_image and trainer.scale and trainer.scale.white else None,
        "included": included,
        "fit": meta.get("fit", "stretch") if is_image else None,
    }
    metadata = {"model": meta["model_name"], "task": json.dumps(task.to_json()), "preprocessing": json.dumps(facts)}
    if columns is not None:
        metadata["columns"] = json.dumps(meta["columns"])
        metadata["inputs"] = json.dumps([name for feature in columns.features for name in feature.inputs])
    metadata["description"] = _description(inputs, shape, columns, facts, task.name)
    return export_onnx(
        trainer.model,
        path,
        shape,
        inputs=inputs,
        opset=opset,
        batch=1 if batch == "fixed" else batch,
        normalize=first if included else None,
        finish=partial(task.answer_tensor, normalize=normalize, shape=shape) if included else None,
        classes=meta["classes"],
        metadata=metadata,
    )


_FITS = {
    "crop": "resized so that it covers {0} x {1}, and the centre cropped",
    "pad": "resized so that it fits into {0} x {1}, and padded with black",
    "stretch": "stretched to {0} x {1}",
}
_ANSWERS = {"classification": "the probability of each class", "multilabel": "the probability of each label",
            "regression": "values in their own units", "reconstruction": "the input, in its own units"}  # fmt: skip


def _description(layout: str, shape: tuple[int, ...], columns: Columns | None, facts: dict[str, Any], task: str) -> str:
    """Say in words what a file takes and gives."""
    included = facts["included"]
    if facts["fit"]:
        h, w, c = shape
        lie = f"(N, {c}, {h}, {w})" if layout == "nchw" else f"(N, {h}, {w}, {c})"
        colours = {1: "gray", 3: "RGB"}.get(c, counted(c, "channel"))
        fit = _FITS[facts["fit"]].format(h, w) + ", by Pillow, with its EXIF orientation"
        takes = f"images {lie}, {colours}, each {fit}; "
        takes += "pixels of 0 to 255" if facts["white"] else "pixels on the scale of the data"
    elif columns is not None:
        takes = f"columns (N, {columns.width}): {', '.join(n for f in columns.features for n in f.inputs)}; "
        takes += "numbers in their own units, the median for a missing one" if included else "numbers standardized, "
        takes += ", and 0 or 1" if included else "(x - mean) / deviation as in metadata columns, and 0 or 1"
    else:
        takes = f"numbers (N, {', '.join(map(str, shape))}) of the data"
    if facts["normalize"] and not included:
        takes += ", then x / white, minus mean, divided by std, as in metadata preprocessing"
    gives = _ANSWERS.get(task, "answers") if included else f"scores of {task}"
    return f"Takes {takes}. Gives {gives}."


def _normalization(trainer: Trainer, meta: Mapping[str, Any], shape: tuple[int, ...]) -> Any:
    """Return what normalizes pixels of 0..255, or of data that is no images its own numbers; None: nothing does."""
    if len(shape) != 3 or meta.get("columns") or (trainer.scale and not trainer.scale.white):
        return trainer.normalize
    if trainer.scale:
        return scaling.normalization("export", np.zeros((1, *shape)), trainer.scale, trainer.normalize, white=_WHITE)
    factor = float(meta["white"]) / _WHITE  # a run of xpnet 0.6 or older
    if isinstance(trainer.normalize, Normalize):
        return trainer.normalize.scaled(factor)
    return trainer.normalize if factor == 1.0 else Normalize((0.0,), (1.0,), 1.0 / factor)

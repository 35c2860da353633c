"""What can be served: the folder of a run, a file that `xpnet export` wrote of one, or another ONNX file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.backend import Backend, get_backend
from xpnet.data import Columns
from xpnet.errors import ConfigError, DataError
from xpnet.interop.onnx.graph import Graph
from xpnet.interop.onnx.load import parse_onnx
from xpnet.interop.onnx.metadata import read_facts
from xpnet.interop.onnx.trained import open_onnx, undo
from xpnet.serving.sources import Given, Source
from xpnet.train.runs.evaluation import open_run
from xpnet.train.scoring import Scoring
from xpnet.train.tasks import saved_task
from xpnet.train.trainer import Trainer

__all__ = ["OnnxFile", "Run", "open_source"]

_KEYS = ("input", "model", "preprocessing", "task")  # of the metadata of a file


def open_source(
    path: str | os.PathLike[str],
    backend: str | Backend | None = None,
    *,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    scale: float | None = None,
) -> Source:
    """Open what is to be served.

    Args:
        path: the folder of a run, or an .onnx file.
        backend: where to compute; the default one by default.
        mean, std, scale: of an .onnx file that `xpnet export` did not write of a run, as of open_onnx.
    Raises:
        CheckpointError: no such run, or its checkpoint cannot be read. ConfigError: the path is none, a package is not
            installed, or it is not said, or said twice, how inputs are normalized. DataError: the file cannot be read.
    """
    found = arguments.path("open_source", "path", path)
    given = {"mean": mean, "std": std, "scale": scale}
    is_file = found.suffix.lower() == ".onnx" and not found.is_dir()
    file = parse_onnx(found) if is_file else None
    if file is not None and any(key not in file.metadata for key in _KEYS):
        return _Other(found, open_onnx(file, backend, **given))
    if name := next((name for name, value in given.items() if value is not None), None):
        raise ConfigError.event(name, f"{found} says how its inputs are normalized", f"omit {name}")
    return Run(found, open_run(found, backend)) if file is None else OnnxFile(found, file.graph(), backend)


class Run(Source):
    """A run: says what `xpnet predict` says."""

    def __init__(self, path: Path, opened: tuple[Trainer, dict[str, Any]]) -> None:
        trainer, meta = opened
        assert trainer.task is not None  # a run has one
        columns = Columns.from_json(meta["columns"]) if meta.get("columns") else None
        shape, fit = tuple(meta["shape"]), meta.get("fit", "stretch")
        super().__init__(
            str(path), meta["model_name"], trainer.model, trainer.task, meta["classes"], shape, columns, fit
        )
        self._white = meta["white"]
        self._scoring = Scoring(
            trainer.model, trainer.loss, trainer.normalize, trainer.scale, trainer.classes, trainer.task, {}
        )

    def images(self, pixels: Sequence[np.ndarray]) -> Given:
        """Return decoded images as the model takes them."""
        if self._scoring.scale is None and self._white is None:
            raise DataError(
                self.name, "numbers on the scale of the data that the model was trained with", given="images"
            )
        if self._scoring.scale is None:  # a run of xpnet 0.6 or older
            return self._given(np.stack(pixels).astype(np.float32) * np.float32(self._white / 255.0))
        return super().images(pixels)

    def normalization(self, x: np.ndarray, white: float | None) -> Any:
        """Bring examples to the scale of the training set, as Trainer.predict does."""
        return self._scoring.normalization("predict", x, white=white)


class _Other(Run):
    """An ONNX file of another origin, which may compute one example at a time only."""

    def largest(self, most: int) -> int:
        """Return 1: whether the file takes more is not known."""
        return 1


class OnnxFile(Source):
    """A file of `xpnet export`, whose metadata say what the run knew; rows of an image are pixels of 0 to 255."""

    def __init__(self, path: Path, model: Graph, backend: str | Backend | None = None) -> None:
        where = str(path)
        facts = read_facts(where, model.metadata)
        whole = model.plan.inputs[0].shape or (0,)
        shape = tuple(size for size in model.input_shape or () if size is not None)
        if len(shape) + 1 != len(whole) or whole[0] not in (None, 1):
            rule = "an input of known sizes, and a free number of examples"
            raise DataError(where, rule, "export it with batch N", shape=whole)
        columns = None if facts.columns is None else Columns.from_json(facts.columns)
        task, model = saved_task(facts.task), model.to(get_backend(backend))
        super().__init__(where, facts.model, model, task, list(facts.classes), shape, columns, facts.fit)
        self.takes_images = self.takes_images and facts.white == 255
        self._included = facts.included  # whether the file normalizes and answers by itself
        self._normalize = None if self._included and columns is None else facts.normalize
        if self._included and self._normalize is not None:
            self._normalize = undo(where, self._normalize, shape)

    def normalization(self, x: np.ndarray, white: float | None) -> Any:
        """Normalize as the metadata say."""
        return self._normalize

    def _answers(self, given: Given, scores: np.ndarray) -> np.ndarray:
        return scores if self._included else super()._answers(given, scores)

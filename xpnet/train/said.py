"""What predictions say, in words and numbers, by the task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xpnet.train.trainer import Trainer

__all__ = ["said"]


def said(
    trainer: Trainer, classes: Sequence[str], top: int, answers: np.ndarray, x: np.ndarray
) -> list[dict[str, Any]]:
    """Return what predictions say, by the task, as predict_run does but for the names of the examples.

    Args:
        trainer: of the run. classes: names of classes or targets; may be empty.
        top: how many classes.
        answers: what predict returned, of examples x.
    """
    name = trainer.task.name if trainer.task else "classification"
    return _SAID[name](answers, classes, top, x)


def _of_classes(answers: np.ndarray, classes: Sequence[str], top: int, x: Any) -> list[dict[str, Any]]:
    ranked = np.argsort(-answers, axis=1, kind="stable")[:, :top]
    return [
        {"classes": [classes[k] for k in order], "probabilities": [round(float(row[k]), 6) for k in order]}
        for row, order in zip(answers, ranked, strict=True)
    ]


def _of_labels(answers: np.ndarray, classes: Sequence[str], top: int, x: Any) -> list[dict[str, Any]]:
    names = _named(classes, answers.reshape(len(answers), -1).shape[1])
    return [
        {
            "labels": [name for name, p in zip(names, row, strict=True) if p >= 0.5],
            "probabilities": {name: round(float(p), 6) for name, p in zip(names, row, strict=True)},
        }
        for row in answers.reshape(len(answers), -1)
    ]


def _of_numbers(answers: np.ndarray, classes: Sequence[str], top: int, x: Any) -> list[dict[str, Any]]:
    rows = answers.reshape(len(answers), -1)
    names = _named(classes, rows.shape[1])
    return [{"values": {name: float(value) for name, value in zip(names, row, strict=True)}} for row in rows]


def _of_inputs(answers: np.ndarray, classes: Sequence[str], top: int, x: Any) -> list[dict[str, Any]]:
    errors = (answers.reshape(len(x), -1) - x.reshape(len(x), -1)).astype(np.float64)
    return [{"mse": float(error)} for error in (errors**2).mean(axis=1)]


def _named(names: Sequence[str], count: int) -> Sequence[str]:
    return names if len(names) == count else ["value"] if count == 1 else [f"value {k}" for k in range(count)]


_SAID: dict[str, Callable[..., list[dict[str, Any]]]] = {
    "classification": _of_classes,
    "multilabel": _of_labels,
    "regression": _of_numbers,
    "custom": _of_numbers,
    "reconstruction": _of_inputs,
}

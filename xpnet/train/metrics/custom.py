"""Figures that a user adds to a Trainer's own: functions of scores and targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.errors import ConfigError
from xpnet.train.tasks import Task

__all__ = ["Metric", "check_metrics", "measured"]

Metric = Callable[[np.ndarray, np.ndarray], Any]

_TAKEN = ("loss", "scores", "seconds", "epoch", "confusion")


def check_metrics(metrics: Any, task: Task | None) -> dict[str, Metric]:
    """Return metrics by name; ConfigError unless they are functions, with names that no other figure has."""
    found = {} if metrics is None else dict(arguments.mapping("Trainer", "metrics", metrics))
    for name, metric in found.items():
        if not isinstance(name, str) or not name.isidentifier() or name in (*_TAKEN, *(task.recorded if task else ())):
            raise ConfigError(
                "Trainer", "names of metrics that are words no other figure has", metric=arguments.shown(name)
            )
        arguments.function("Trainer", f"the metric {name}", metric)
    return found


def measured(name: str, metric: Metric, scores: np.ndarray, y: np.ndarray) -> float:
    """Return a metric's value; ConfigError where it fails, or is no number."""
    try:
        value = metric(scores, y)
    except Exception as error:
        what = f"the metric {name} failed"
        text = f"{type(error).__name__}: {error}"
        raise ConfigError.event("evaluate", what, scores=scores.shape, targets=y.shape, error=text) from error
    try:
        return float(value) if not isinstance(value, str | bytes) else _no_number(name, value)
    except (TypeError, ValueError):
        return _no_number(name, value)


def _no_number(name: str, value: Any) -> float:
    raise ConfigError("evaluate", f"a number from the metric {name}", returned=arguments.shown(value)) from None

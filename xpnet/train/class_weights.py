"""What the examples of each class weigh in the loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.data import Dataset, host
from xpnet.errors import ConfigError, nearest

__all__ = ["check_class_weights", "given_values", "weights_of"]

_BALANCED = "balanced"


def check_class_weights(given: Any) -> Any:
    """Return class weights as they were given; ConfigError unless they are "balanced", a dictionary or numbers."""
    if given is None or (isinstance(given, str) and given == _BALANCED):
        return given
    if isinstance(given, str):
        raise ConfigError("class_weights", "'balanced', or a weight for each class", class_weights=repr(given))
    values = given.values() if isinstance(given, Mapping) else arguments.items("Trainer", "class_weights", given)
    if not values or not all(math.isfinite(arguments.not_negative("class_weights", "weight", v)) for v in values):
        raise ConfigError("class_weights", "a weight for each class", class_weights="none")
    return given


def given_values(given: Any) -> Any:
    """Return class weights that were checked in a form that JSON can hold: a word, numbers, or numbers by name."""
    if given is None or isinstance(given, str):
        return given
    return {str(k): float(v) for k, v in given.items()} if isinstance(given, Mapping) else [float(v) for v in given]


def weights_of(given: Any, data: Dataset) -> np.ndarray:
    """Return the weight of each class, (K,) float32.

    Args:
        given: "balanced": N / (number of classes with examples * examples of the class), so that all such classes weigh
            alike and an example 1 on average; or a number for each class; or a dictionary of them by name, in which
            those that are left out weigh 1.
        data: the training set.
    Raises:
        ConfigError: a name is no class, or there are not as many weights as classes, or all are 0.
    """
    K = len(data.classes)
    if isinstance(given, str):
        counts = np.bincount(data.y, minlength=K)
        there = counts > 0
        return np.where(there, len(data.y) / (there.sum() * np.maximum(counts, 1)), 1.0).astype(np.float32)
    if isinstance(given, Mapping):
        place = {name: k for k, name in enumerate(data.classes)}
        if unknown := [name for name in given if str(name) not in place]:
            raise ConfigError(
                "class_weights", "the name of a class", nearest(str(unknown[0]), place), name=repr(unknown[0])
            )
        found = np.ones(K, np.float32)
        for name, weight in given.items():
            found[place[str(name)]] = weight
    else:
        found = host("class_weights", [float(w) for w in given]).astype(np.float32)
        if found.shape != (K,):
            raise ConfigError("class_weights", f"a weight for each of {K} classes", weights=len(found))
    if not found[data.y].any():
        raise ConfigError("class_weights", "a weight above 0 for a class of the data", class_weights="all 0")
    return found

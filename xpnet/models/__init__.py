"""Models by name: builders that put layers together for an image size and a number of classes; no arithmetic.

    model = build("lenet5", (28, 28, 1), 10)

MODELS says how each is usually trained.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from xpnet import nn
from xpnet.errors import ConfigError, nearest
from xpnet.models.convolutional import cnn, lenet5
from xpnet.models.dense import mlp, perceptron, softmax

__all__ = ["MODELS", "Recipe", "build", "cnn", "lenet5", "mlp", "perceptron", "softmax"]


class Recipe(NamedTuple):
    """How a model is built and usually trained: its builder, loss, optimizer, learning rate and weight decay."""

    build: Callable[..., nn.Module]
    loss: Callable[..., Any]
    optimizer: str
    lr: float
    weight_decay: float = 0.0


MODELS: dict[str, Recipe] = {
    "perceptron": Recipe(perceptron, nn.perceptron_loss, "sgd", 0.01),
    "softmax": Recipe(softmax, nn.softmax_cross_entropy, "momentum", 0.01),
    "mlp": Recipe(mlp, nn.softmax_cross_entropy, "momentum", 0.02),
    "lenet5": Recipe(lenet5, nn.softmax_cross_entropy, "momentum", 0.02),
    "cnn": Recipe(cnn, nn.softmax_cross_entropy, "momentum", 0.05, 1e-3),
}


def build(name: str, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build a model by name.

    Args:
        name: a key of MODELS.
        shape: one example: (H, W, C), or (D,) for the models without convolutions.
        classes: K, >= 2.
    Returns: a module that takes (N, *shape) and gives scores (N, K).
    Raises:
        ConfigError: no such model (the message gives the nearest name), or fewer than two classes.
    """
    if classes < 2:
        raise ConfigError("model", "there are at least 2 classes", classes=classes)
    return recipe(name).build(shape, classes)


def recipe(name: str) -> Recipe:
    """Look a model up by name; ConfigError with the nearest name where there is none."""
    if name not in MODELS:
        raise ConfigError("model", "no such model", nearest(name, MODELS), model=repr(name))
    return MODELS[name]

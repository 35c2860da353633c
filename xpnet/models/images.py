"""Common parts of the models of images: the check of the shape, the length of the feature row, the classifier."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeVar

from xpnet import arguments, nn
from xpnet.errors import ShapeError

__all__ = ["SIDES", "classifier", "image", "prefers", "row_length"]

SIDES: dict[str, int] = {}  # the shorter side, in pixels, that a model prefers of photos; see prefers

Build = TypeVar("Build", bound=Callable[..., nn.Module])


def prefers(side: int) -> Callable[[Build], Build]:
    """Say of a model, by its name, the shorter side in pixels to which photos of several sizes are resized for it."""

    def record(build: Build) -> Build:
        SIDES[build.__name__] = side
        return build

    return record


def image(model: str, shape: tuple[int, ...], classes: int) -> tuple[int, int, int]:
    """Return H, W, C of one image, for a model of so many classes; ShapeError where the shape is not an image's."""
    arguments.count(model, "classes", classes)
    shape = arguments.shape(model, "shape", shape)
    if len(shape) != 3 or min(shape) < 1:
        do, side = "use mlp for other data", math.isqrt(shape[0]) if len(shape) == 1 else 0
        if side > 3 and side * side == shape[0]:
            do += f", or reshape rows of images to (N, {side}, {side}, 1)"
        raise ShapeError(model, "an image (H, W, C), each >= 1", do, shape=shape)
    return shape[0], shape[1], shape[2]


def row_length(layers: Mapping[str, nn.Module], shape: tuple[int, ...]) -> int:
    """Count the features that layers compute of one image; ShapeError where a window does not fit."""
    features = nn.Sequential(**layers)
    try:
        return math.prod(features.cost(shape).output)
    except ShapeError as error:
        layer = dict(features.modules()).get(error.where)
        if layer is not None and not error.path:  # as of an error on call: path (what it is of)
            error.path, error.where = error.where, type(layer).__name__
        raise


def classifier(layers: Mapping[str, nn.Module], shape: tuple[int, ...], classes: int, hidden: int) -> nn.Sequential:
    """Append the classifier of AlexNet and VGG: two hidden layers, half of their neurons dropped in training, K scores.

    Args:
        layers: the layers before, by name, of images.
        shape: one image, (H, W, C).
        classes: K.
        hidden: neurons of each of the two layers.
    """
    return nn.Sequential(
        **layers,
        flatten=nn.Flatten(),
        fc6=nn.Linear(row_length(layers, shape), hidden),
        relu6=nn.ReLU(),
        drop6=nn.Dropout(0.5),
        fc7=nn.Linear(hidden, hidden),
        relu7=nn.ReLU(),
        drop7=nn.Dropout(0.5),
        fc8=nn.Linear(hidden, classes, init=nn.zeros),
    )

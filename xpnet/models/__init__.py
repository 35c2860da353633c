"""Models by name: builders that put layers together for an image size and a number of classes; no arithmetic.

    model = build("lenet5", (28, 28, 1), 10)
    model = build("alexnet")                    # 227x227x3, 1000 classes

MODELS says how each is usually trained.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from typing import Any, NamedTuple

from xpnet import arguments, nn
from xpnet.errors import ConfigError, ShapeError, nearest
from xpnet.models.alexnet import alexnet
from xpnet.models.convolutional import cnn, lenet5
from xpnet.models.dense import mlp, perceptron, softmax
from xpnet.models.images import SIDES
from xpnet.models.resnet import resnet18, resnet20
from xpnet.models.vgg import vgg16

__all__ = [
    "MODELS",
    "Recipe",
    "alexnet",
    "build",
    "cnn",
    "image_side",
    "lenet5",
    "mlp",
    "perceptron",
    "resnet18",
    "resnet20",
    "smallest_input",
    "softmax",
    "vgg16",
]


class Recipe(NamedTuple):
    """How a model is built and usually trained.

    Args:
        build: (shape, classes) -> the module.
        loss: (scores, labels) -> one number.
        optimizer: a name of optim.OPTIMIZERS; lr its learning rate, weight_decay its decay.
        shape: one example of the model's own input, by default.
        classes: likewise, K.
        characters: whether it is made for digits and letters, which are not mirrored.
    """

    build: Callable[..., nn.Module]
    loss: Callable[..., Any]
    optimizer: str
    lr: float
    weight_decay: float = 0.0
    shape: tuple[int, ...] = (28, 28, 1)
    classes: int = 10
    characters: bool = False


_CLASSES = nn.softmax_cross_entropy

MODELS: dict[str, Recipe] = {
    "perceptron": Recipe(perceptron, nn.perceptron_loss, "sgd", 0.01),
    "softmax": Recipe(softmax, _CLASSES, "momentum", 0.01),
    "mlp": Recipe(mlp, _CLASSES, "momentum", 0.02),
    "lenet5": Recipe(lenet5, _CLASSES, "momentum", 0.02, characters=True),
    "cnn": Recipe(cnn, _CLASSES, "momentum", 0.05, 1e-3),
    "alexnet": Recipe(alexnet, _CLASSES, "momentum", 0.01, 5e-4, (227, 227, 3), 1000),
    "vgg16": Recipe(vgg16, _CLASSES, "momentum", 0.01, 5e-4, (224, 224, 3), 1000),
    "resnet18": Recipe(resnet18, _CLASSES, "momentum", 0.05, 1e-4, (224, 224, 3), 1000),
    "resnet20": Recipe(resnet20, _CLASSES, "momentum", 0.1, 1e-4, (32, 32, 3), 10),
}


def build(name: str, shape: tuple[int, ...] | None = None, classes: int | None = None) -> nn.Module:
    """Build a model by name.

    Args:
        name: a key of MODELS.
        shape: one example: (H, W, C), or (D,) for the models without convolutions; by default the recipe's.
        classes: K, or how many numbers are predicted, >= 1; by default the recipe's.
    Returns: a module that takes (N, *shape) and returns scores (N, K).
    Raises:
        ConfigError: no such model (the message gives the nearest name), or no classes.
        ShapeError: a layer's output would be empty; the message names the layer, its input and the smallest image.
    """
    found = recipe(name)
    shape = found.shape if shape is None else arguments.shape("build", "shape", shape)
    classes = found.classes if classes is None else arguments.count("build", "classes", classes)
    try:
        return found.build(shape, classes)
    except ShapeError as error:
        if not error.do:
            side = smallest_input(name, shape[-1])
            error.do = f"{name} takes images of {side}x{side} or more"
        raise


def smallest_input(name: str, channels: int | None = None) -> int:
    """Find the smallest square image that a model can be built for, from shapes alone.

    Args:
        name: a key of MODELS.
        channels: C of the images; by default the recipe's.
    Returns: H = W in pixels; 1 for models that take any.
    Raises:
        ConfigError: no such model, or no channels.
    Cost: builds the model about log2(H of the recipe) times, without making an array.
    """
    found = recipe(name)
    channels = found.shape[-1] if channels is None else channels
    channels = arguments.count("smallest_input", "channels", channels)

    def fits(side: int) -> bool:
        try:
            found.build((side, side, channels), 2)
        except ShapeError:
            return False
        return True

    return bisect.bisect_left(range(found.shape[0] + 1), True, lo=1, key=fits)


def image_side(name: str) -> int:
    """Return the shorter side, in pixels, to which photos of several sizes are resized for a model.

    Raises:
        ConfigError: no such model.
    """
    return SIDES.get(name, recipe(name).shape[0])


def recipe(name: str) -> Recipe:
    """Look a model up by name; ConfigError with the nearest name where there is none."""
    if not isinstance(name, str) or name not in MODELS:
        do = nearest(str(name), MODELS)
        raise ConfigError("model", "the name of a model", do, model=arguments.shown(name))
    return MODELS[name]

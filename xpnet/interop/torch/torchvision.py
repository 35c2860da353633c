"""The names that torchvision gives the arrays of AlexNet, VGG-16 and ResNet-18, beside those of models here."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from xpnet.errors import ConfigError

__all__ = ["advice", "layers_of", "model_of", "names_for"]

_ALEXNET = {"conv1": 0, "conv2": 3, "conv3": 6, "conv4": 8, "conv5": 10}
_VGG16 = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_DEPTHS = (2, 2, 3, 3, 3)


def _alexnet() -> dict[str, str]:
    features = {path: f"features.{i}" for path, i in _ALEXNET.items()}
    return {**features, "fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6"}


def _vgg16() -> dict[str, str]:
    paths = [f"conv{stage}_{i + 1}" for stage, depth in enumerate(_DEPTHS, 1) for i in range(depth)]
    features = {path: f"features.{i}" for path, i in zip(paths, _VGG16, strict=True)}
    return {**features, "fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}


def _resnet18() -> dict[str, str]:
    found = {"conv1": "conv1", "norm1": "bn1"}
    for stage, block in itertools.product((1, 2, 3, 4), (1, 2)):
        ours, theirs = f"stage{stage}.block{block}", f"layer{stage}.{block - 1}"
        for i in (1, 2):
            found |= {f"{ours}.body.conv{i}": f"{theirs}.conv{i}", f"{ours}.body.norm{i}": f"{theirs}.bn{i}"}
        if stage > 1 and block == 1:
            found |= {
                f"{ours}.shortcut.conv": f"{theirs}.downsample.0",
                f"{ours}.shortcut.norm": f"{theirs}.downsample.1",
            }
    return {**found, "scores": "fc"}


_KNOWN = {"AlexNet": _alexnet, "VGG-16": _vgg16, "ResNet-18": _resnet18}
_BUILDERS = {
    "AlexNet": 'models.alexnet((224, 224, 3), variant="torchvision")',
    "VGG-16": "models.vgg16()",
    "ResNet-18": "models.resnet18()",
}


def model_of(layers: Iterable[str]) -> str:
    """Return the model of torchvision whose layers with arrays have these names; "" where none has."""
    layers = set(layers)
    return next((title for title, names in _KNOWN.items() if layers == set(names().values())), "")


def layers_of(title: str) -> dict[str, str]:
    """Return torchvision's name of each layer with arrays, by its path in the model of xpnet."""
    return _KNOWN[title]()


def advice(title: str) -> str:
    """Say which model of xpnet takes the arrays of a model of torchvision."""
    return f"these are the arrays of torchvision's {title}: build {_BUILDERS[title]}"


def names_for(names: list[str], where: str) -> list[str]:
    """Return torchvision's names of a model's arrays.

    Args:
        names: the model's, with PyTorch's names of a layer's arrays.
        where: the function, for messages.
    Raises:
        ConfigError: torchvision has no such model.
    """
    paths = {name.rpartition(".")[0] for name in names}
    for title in _KNOWN:
        known = layers_of(title)
        if set(known) == paths:
            return [f"{known[path]}.{leaf}" for path, _, leaf in (name.rpartition(".") for name in names)]
    raise ConfigError(where, "a model that torchvision has: " + ", ".join(_KNOWN), layers=len(paths))

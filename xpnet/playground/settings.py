"""The settings of the plane: what is learned, by which network, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpnet import arguments
from xpnet.errors import ConfigError
from xpnet.optim import OPTIMIZERS
from xpnet.playground.sent_settings import SentSettings

__all__ = [
    "ACTIVATIONS",
    "DATA",
    "FEATURES",
    "LOSSES",
    "MOST_CLASSES",
    "MOST_LAYERS",
    "MOST_NEURONS",
    "MOST_POINTS",
    "PENALTIES",
    "Settings",
]

DATA = ("circles", "xor", "blobs", "spirals", "moons", "points")
FEATURES = ("x", "y", "x^2", "y^2", "xy", "sin x", "sin y")
ACTIVATIONS = {
    "tanh": "Tanh",
    "relu": "ReLU",
    "sigmoid": "Sigmoid",
    "gelu": "GELU",
    "leaky relu": "LeakyReLU",
    "none": "",
}  # by name: the class in xpnet.nn
LOSSES = ("cross-entropy", "squared error", "hinge", "perceptron")
PENALTIES = ("none", "L1", "L2")
MOST_POINTS, MOST_CLASSES = 500, 6
MOST_LAYERS, MOST_NEURONS = 8, 16
_WHERE = "settings"

Point = tuple[float, float, int]


@dataclass(frozen=True)
class Settings(SentSettings):
    """What one state of the plane is made of; equal settings give equal numbers.

    Args:
        data: one of DATA; "points" are those that the user painted.
        n: points that are drawn, 20 to 1000.
        noise: the standard deviation added to each coordinate, in the units of the data set, 0 to 1.
        classes: K of blobs and spirals, 2 to 6; the other data sets have 2.
        train: the share of the points that is trained on, 0.1 to 0.9; the others are test points.
        points: (x, y, class) of "points", 2 to 500 of them: all are trained on.
        features: of FEATURES, at least one, in their order.
        layers: the neurons of each hidden layer, 1 to 16; 0 to 8 layers.
        activation: one of ACTIVATIONS, after each hidden layer.
        bias: whether neurons have one.
        loss: one of LOSSES.
        optimizer: one of optim.OPTIMIZERS. lr, earlier_rates: see SentSettings; at most 10.
        penalty: "none", "L1" (sum of |w|) or "L2" (sum of w^2) of all weights, times penalty_rate, added to the loss.
        batch: points in a step, 1 to 1000.
        seed: of the points, the first weights and the order, 0 to 2**32 - 1.
    Raises:
        ConfigError: a value is not one of these.
    """

    data: str = "circles"
    n: int = 400
    noise: float = 0.1
    classes: int = 2
    train: float = 0.5
    points: tuple[Point, ...] = ()
    features: tuple[str, ...] = ("x", "y")
    layers: tuple[int, ...] = (4, 2)
    activation: str = "tanh"
    bias: bool = True
    loss: str = "cross-entropy"
    optimizer: str = "sgd"
    penalty: str = "none"
    penalty_rate: float = 0.001
    batch: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        known = {"data": DATA, "activation": ACTIVATIONS, "loss": LOSSES, "optimizer": OPTIMIZERS, "penalty": PENALTIES}
        for name, values in known.items():
            arguments.choice(_WHERE, name, getattr(self, name), values)
        for name, (low, high) in _COUNTS.items():
            self._set(name, arguments.count(_WHERE, name, getattr(self, name), low, high))
        for name, (low, high) in _NUMBERS.items():
            self._set(name, arguments.number(_WHERE, name, getattr(self, name), low, high, closed=True))
        arguments.boolean(_WHERE, "bias", self.bias)
        chosen = arguments.items(_WHERE, "features", self.features)
        for name in chosen:
            arguments.choice(_WHERE, "feature", name, FEATURES)
        if not chosen:
            raise ConfigError(_WHERE, "at least one feature", features="[]")
        self._check_rates()
        self._set("features", tuple(name for name in FEATURES if name in chosen))
        sizes = arguments.items(_WHERE, "layers", self.layers)
        if len(sizes) > MOST_LAYERS:
            raise ConfigError(_WHERE, f"at most {MOST_LAYERS} hidden layers", layers=len(sizes))
        self._set("layers", tuple(arguments.count(_WHERE, "neurons", n, 1, MOST_NEURONS) for n in sizes))
        given = arguments.items(_WHERE, "points", self.points)
        if len(given) > MOST_POINTS or (self.data == "points" and len(given) < 2):
            raise ConfigError(_WHERE, f"2 to {MOST_POINTS} points", points=len(given))
        self._set("points", tuple(map(_read_point, given)) if self.data == "points" else ())


_COUNTS = {"n": (20, 1000), "classes": (2, MOST_CLASSES), "batch": (1, 1000), "seed": (0, 2**32 - 1)}
_NUMBERS = {"noise": (0.0, 1.0), "train": (0.1, 0.9), "penalty_rate": (0.0, 10.0)}


def _read_point(given: Any) -> Point:
    values = arguments.items(_WHERE, "point", given)
    if len(values) != 3:
        raise ConfigError(_WHERE, "points of three numbers: x, y, class", point=arguments.shown(given))
    x, y = (round(arguments.number(_WHERE, "x and y", value, -100, 100, closed=True), 2) for value in values[:2])
    return x, y, arguments.count(_WHERE, "class", values[2], 0, MOST_CLASSES - 1)

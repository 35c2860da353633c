"""Models of fully connected layers: perceptrons, softmax regression, multi-layer perceptron."""

from __future__ import annotations

import math
from collections.abc import Callable

from xpnet import arguments, nn

__all__ = ["ACTIVATIONS", "mlp", "perceptron", "softmax"]

# by name: the function of hidden neurons; None: their sums as they are
ACTIVATIONS: dict[str, Callable[[], nn.Module] | None] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "logistic": nn.Sigmoid,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "identity": None,
}


def perceptron(shape: tuple[int, ...] = (28, 28, 1), classes: int = 10) -> nn.Sequential:
    """K perceptrons side by side, one a class: the highest sum wins. Trained by Rosenblatt's rule (perceptron_loss).

    Args:
        shape: one example, of any rank; it is made a row of D numbers.
        classes: K.
    Source: Rosenblatt (1958).
    """
    return nn.Sequential(flatten=nn.Flatten(), scores=nn.Linear(_features(shape, classes), classes, init=nn.zeros))


def softmax(shape: tuple[int, ...] = (28, 28, 1), classes: int = 10) -> nn.Sequential:
    """Softmax regression: one layer of K neurons, whose sums softmax turns into probabilities.

    Args:
        shape: one example, of any rank; it is made a row of D numbers.
        classes: K.
    """
    return nn.Sequential(flatten=nn.Flatten(), scores=nn.Linear(_features(shape, classes), classes, init=nn.zeros))


def mlp(
    shape: tuple[int, ...] = (28, 28, 1),
    classes: int = 10,
    hidden: tuple[int, ...] = (128,),
    activation: str = "relu",
) -> nn.Sequential:
    """A multi-layer perceptron: hidden layers of neurons, ReLU by default, then K scores, which begin at 0.

    Args:
        shape: one example, of any rank; it is made a row of D numbers.
        classes: K.
        hidden: the neurons of each hidden layer.
        activation: a key of ACTIVATIONS.
    Source: Rumelhart, Hinton and Williams (1986), with ReLU for the sigmoid.
    """
    layers: dict[str, nn.Module] = {"flatten": nn.Flatten()}
    features = _features(shape, classes)
    make = ACTIVATIONS[arguments.choice("mlp", "activation", activation, ACTIVATIONS)]
    for i, neurons in enumerate(arguments.shape("mlp", "hidden", hidden, 1), 1):
        layers[f"hidden{i}"] = nn.Linear(features, neurons)
        if make is not None:
            layers[f"{activation}{i}"] = make()
        features = neurons
    return nn.Sequential(**layers, scores=nn.Linear(features, classes, init=nn.zeros))


def _features(shape: tuple[int, ...], classes: int) -> int:
    """D of an example that is made a row, for a model of so many classes."""
    arguments.count("model", "classes", classes)
    return math.prod(arguments.shape("model", "shape", shape, 1))

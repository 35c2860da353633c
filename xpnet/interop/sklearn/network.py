"""The network of an estimator: a multi-layer perceptron, or a model, a name or a function that the user gives."""

from __future__ import annotations

import copy
from typing import Any

from xpnet import arguments, models, nn
from xpnet.errors import ConfigError, ShapeError
from xpnet.models.dense import ACTIVATIONS
from xpnet.output import counted

__all__ = ["build", "check_outputs"]


def build(module: Any, hidden: Any, activation: Any, shape: tuple[int, ...], outputs: int, seed: int) -> nn.Module:
    """Make the network that an estimator trains.

    Args:
        module: a Module, which is copied with its values; a key of models.MODELS; a function (shape, outputs) ->
            Module; or None, a multi-layer perceptron.
        hidden, activation: of that perceptron.
        shape: of one example. outputs: how many numbers are predicted of it. seed: of the first values.
    Raises:
        ConfigError: module is none of these. ShapeError: it does not take such examples.
    """
    if isinstance(module, nn.Module):
        return copy.deepcopy(module)
    if module is None:
        model = _perceptron(hidden, activation, shape, outputs)
    elif isinstance(module, str):
        model = models.build(module, shape, outputs)
    elif callable(module):
        model = module(shape, outputs)
    else:
        rule = "module, a Module, the name of a model, or a function (shape, outputs) -> Module"
        raise ConfigError("fit", rule, module=arguments.shown(module))
    if not isinstance(model, nn.Module):
        raise ConfigError("fit", "module, a function that returns a Module", returned=arguments.shown(model))
    return model.initialize(seed)


def check_outputs(model: nn.Module, shape: tuple[int, ...], outputs: int, dtype: str) -> None:
    """Raise ShapeError unless a model gives so many numbers for an example of a shape; it is called with zeros."""
    backend = model.backend
    with backend.active():
        x = backend.xp.zeros((1, *shape), dtype=getattr(backend.xp, dtype), device=backend.device)
        found = tuple(model.predict(x).shape)
    if found != (1, outputs):
        rule = f"module, a network that gives (N, {outputs})"
        raise ShapeError("fit", rule, f"make it for {counted(outputs, 'output')}", gives=f"{found} for N 1")


def _perceptron(hidden: Any, activation: Any, shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Return fully connected layers with an activation between them."""
    sizes = [hidden] if arguments.is_number(hidden) else arguments.items("fit", "hidden_layer_sizes", hidden)
    sizes = arguments.shape("fit", "hidden_layer_sizes", sizes, 1)
    activation = arguments.choice("fit", "activation", activation, ACTIVATIONS)
    return models.mlp(shape, outputs, sizes, activation)

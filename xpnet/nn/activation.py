"""Activation layers. After a Linear or Conv2d in a Sequential, one is computed within that layer's op."""

from __future__ import annotations

from xpnet import ops
from xpnet.autograd import Tensor, apply
from xpnet.errors import ConfigError
from xpnet.nn.cost import Cost
from xpnet.nn.module import Module

__all__ = ["GELU", "LeakyReLU", "LogSoftmax", "ReLU", "Sigmoid", "Softmax", "Tanh"]


class Activation(Module):
    """What activations share: the shape stays, and x or y is kept for the backward pass."""

    fused: str | None = None  # the name that linear and conv2d know it by
    keeps = "y"

    def cost(self, shape: tuple[int, ...]) -> Cost:
        """Cost of one example of any shape."""
        return Cost.of(shape, shape, keeps=self.keeps)


class ReLU(Activation):
    """Keep what is positive: ops.relu."""

    fused = "relu"

    def forward(self, x: Tensor) -> Tensor:
        """Apply ops.relu."""
        return apply(ops.relu, x)


class LeakyReLU(Activation):
    """Keep what is positive, and slope times what is not: ops.leaky_relu."""

    keeps = "x"

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Apply ops.leaky_relu."""
        return apply(ops.leaky_relu, x, slope=self.slope)


class Sigmoid(Activation):
    """Squash to (0, 1): ops.sigmoid."""

    fused = "sigmoid"

    def forward(self, x: Tensor) -> Tensor:
        """Apply ops.sigmoid."""
        return apply(ops.sigmoid, x)


class Tanh(Activation):
    """Squash to (-1, 1): ops.tanh."""

    fused = "tanh"

    def forward(self, x: Tensor) -> Tensor:
        """Apply ops.tanh."""
        return apply(ops.tanh, x)


class GELU(Activation):
    """Weigh x by about the normal distribution function: ops.gelu."""

    fused = "gelu"
    keeps = "x"

    def forward(self, x: Tensor) -> Tensor:
        """Apply ops.gelu."""
        return apply(ops.gelu, x)


class _OverAxis(Activation):
    def __init__(self, axis: int = -1) -> None:
        if not isinstance(axis, int):
            raise ConfigError(type(self).__name__, "axis is an integer", axis=axis)
        self.axis = axis

    @property
    def across_batch(self) -> bool:  # type: ignore[override]
        """Whether the axis may be N, which the last one is not."""
        return self.axis != -1


class Softmax(_OverAxis):
    """Turn scores into probabilities along an axis: ops.softmax."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply ops.softmax."""
        return apply(ops.softmax, x, axis=self.axis)


class LogSoftmax(_OverAxis):
    """Turn scores into log-probabilities along an axis: ops.log_softmax."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply ops.log_softmax."""
        return apply(ops.log_softmax, x, axis=self.axis)

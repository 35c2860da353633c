"""Fully connected layers."""

from __future__ import annotations

import math

from xpnet import ops
from xpnet.autograd import Tensor, apply
from xpnet.errors import ConfigError, ShapeError
from xpnet.nn.initializers import Initializer, he_normal, zeros
from xpnet.nn.module import Cost, Module, Parameter

__all__ = ["Flatten", "Linear"]


class Linear(Module):
    """Many perceptrons side by side: y[..., m] = b[m] + sum over d of w[m,d] * x[..., d].

    Args:
        in_features: D, >= 1.
        out_features: M, the neurons, >= 1.
        bias: whether to add b.
        init: makes the first weights; biases begin at 0.
    Raises:
        ConfigError: a size under 1. On call, ShapeError: x is not (..., D).
    Cost: M*D multiply-adds an example.
    """

    fuses = True

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, init: Initializer = he_normal
    ) -> None:
        if min(in_features, out_features) < 1:
            raise ConfigError("Linear", "sizes are >= 1", in_features=in_features, out_features=out_features)
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter((out_features, in_features), init)
        self.bias = Parameter((out_features,), zeros) if bias else None

    def forward(self, x: Tensor, activation: str | None = None) -> Tensor:
        """Apply ops.linear to x (..., D), and an activation fused with it."""
        return apply(ops.linear, x, self.weight, self.bias, activation=activation)

    def cost(self, shape: tuple[int, ...]) -> Cost:
        """Cost of one example (..., D)."""
        if not shape or shape[-1] != self.in_features:
            raise ShapeError(self.path or "Linear", "the last axis of the input is D", D=self.in_features, shape=shape)
        rows = math.prod(shape[:-1])
        return Cost((*shape[:-1], self.out_features), rows * self.in_features * self.out_features, math.prod(shape))


class Flatten(Module):
    """Make one row of features of each example: (N, ...) to (N, D). Already flat rows pass unchanged."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply ops.flatten."""
        return apply(ops.flatten, x)

    def cost(self, shape: tuple[int, ...]) -> Cost:
        """Cost of one example."""
        return Cost((math.prod(shape),), 0, 0)

"""Activation layers. After a Linear or Conv2d in a Sequential, one is computed within that layer's op."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from xpnet import ops
from xpnet.arguments import Check, integer, number
from xpnet.autograd import Tensor, apply
from xpnet.nn.cost import Cost
from xpnet.nn.module import Module
from xpnet.nn.receptive import Field

__all__ = ["GELU", "Activation", "LeakyReLU", "LogSoftmax", "ReLU", "Sigmoid", "Softmax", "Tanh"]


class Activation(Module):
    """A layer of one op that keeps the shape of its input; ``op`` names it.

    Attributes:
        keeps: what the op keeps for the backward pass, its input "x" or its output "y".
    """

    family = "activation"
    across_batch = False
    pointwise = True
    op: ClassVar[Callable[..., Any]]
    keeps = "y"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "kind" not in vars(cls):
            cls.kind = cls.__name__.lower()
        if "torch_classes" not in vars(cls) and cls.__module__ == __name__:
            cls.torch_classes = (cls.__name__,)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the op."""
        return apply(type(self).op, x)

    def cost(self, shape: tuple[int, ...]) -> Cost:
        """Cost of one example of any shape."""
        return Cost.of(shape, shape, keeps=self.keeps)


class ReLU(Activation):
    """Keep what is positive: ops.relu."""

    op = staticmethod(ops.relu)
    fused = "relu"


class LeakyReLU(Activation):
    """Keep what is positive, and slope times what is not: ops.leaky_relu."""

    kind = "leaky relu"
    across_batch = False
    keeps = "x"
    _checks: ClassVar[dict[str, Check]] = {"slope": number}

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = slope

    def torch_settings(self) -> dict[str, Any]:
        """Return the slope."""
        return {"negative_slope": self.slope}

    def forward(self, x: Tensor) -> Tensor:
        """Apply ops.leaky_relu."""
        return apply(ops.leaky_relu, x, slope=self.slope)


class Sigmoid(Activation):
    """Squash to (0, 1): ops.sigmoid."""

    op = staticmethod(ops.sigmoid)
    fused = "sigmoid"


class Tanh(Activation):
    """Squash to (-1, 1): ops.tanh."""

    op = staticmethod(ops.tanh)
    fused = "tanh"


class GELU(Activation):
    """Multiply x by about the normal distribution function: ops.gelu."""

    op = staticmethod(ops.gelu)
    fused = "gelu"
    keeps = "x"

    def torch_settings(self) -> dict[str, Any]:
        """Return which approximation."""
        return {"approximate": "tanh"}


class _OverAxis(Activation):
    _checks: ClassVar[dict[str, Check]] = {"axis": integer}

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    @property
    def across_batch(self) -> bool:  # type: ignore[override]
        """Whether the axis may be N, which the last one is not."""
        return self.axis != -1

    def torch_settings(self) -> dict[str, Any]:
        """Return which axes of PyTorch may be the last one here: that of channels, or the last."""
        return {"dim": frozenset((1, -1, 2, -3, None))} if self.axis == -1 else {}

    def forward(self, x: Tensor) -> Tensor:
        """Apply the op along the axis."""
        return apply(type(self).op, x, axis=self.axis)

    def receptive_field(self, field: Field, output: tuple[int, ...]) -> Field:
        """Return the field of numbers that depend on all along the axis."""
        axis = self.axis if self.axis >= 0 else self.axis + len(output) + 1
        return field.whole() if field.flat else field.along(axis - 1)


class Softmax(_OverAxis):
    """Turn scores into probabilities along an axis: ops.softmax."""

    op = staticmethod(ops.softmax)


class LogSoftmax(_OverAxis):
    """Turn scores into log-probabilities along an axis: ops.log_softmax."""

    kind = "log softmax"
    op = staticmethod(ops.log_softmax)

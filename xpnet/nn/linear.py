"""Fully connected layers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

import numpy as np

from xpnet import ops
from xpnet.arguments import Check, choice, function, positive
from xpnet.autograd import Tensor, apply
from xpnet.backend import Array, namespace
from xpnet.errors import ShapeError
from xpnet.nn.affine import Filters, Form
from xpnet.nn.cost import Cost, check_last
from xpnet.nn.exchange import TorchArray
from xpnet.nn.initializers import Initializer, he_normal, zeros
from xpnet.nn.module import Module
from xpnet.nn.receptive import Field
from xpnet.nn.state import Parameter
from xpnet.random import Key

__all__ = ["Flatten", "Linear"]


class Linear(Module):
    """Many perceptrons side by side: y[..., m] = b[m] + sum over d of w[m,d] * x[..., d].

    The bias may also be one more weight, of an input that is always 1:

        y[..., m] = sum over d of w[m,d] * (x, 1)[..., d],  d = 0 .. D,  w[m,D] = b[m]

    Both are one function with one gradient, and begin with the same numbers.

    Args:
        in_features: D, >= 1.
        out_features: M, the neurons, >= 1.
        bias: whether to add b, (M,); "augmented": append a 1 to each input and make the weight (M, D+1).
        init: makes the first weights, (M, D); biases begin at 0.
    Raises:
        ConfigError: a size under 1, or another word for bias. On call, ShapeError: x is not (..., D).
    Cost: M*D multiply-adds an example, M*(D+1) where augmented, which keeps a copy of x besides.
    """

    kind = "linear"
    family = "linear"
    across_batch = False
    pointwise = True
    fuses = True
    fold_order = 1
    torch_classes = ("Linear",)
    augmented = False
    _checks: ClassVar[dict[str, Check]] = {"in_features": positive, "out_features": positive}
    _may_be_none = ("bias",)

    def __init__(
        self, in_features: int, out_features: int, bias: bool | str = True, *, init: Initializer = he_normal
    ) -> None:
        self.in_features = in_features
        self.out_features = out_features
        init = function("Linear", "init", init)
        if choice("Linear", "bias", bias, (True, False, "augmented")) == "augmented":
            self.augmented = True
            init = partial(_then_zeros, init)
        self.weight = Parameter((self.out_features, self.in_features + self.augmented), init)
        self.bias = Parameter((self.out_features,), zeros) if bias is True else None

    def forward(self, x: Tensor, activation: str | None = None) -> Tensor:
        """Apply ops.linear to x (..., D), widened by a 1 if augmented, and an activation fused with it."""
        if self.augmented:
            if not x.shape or x.shape[-1] != self.in_features:
                raise ShapeError("Linear", f"x of shape (..., D), D = {self.in_features}", x=tuple(x.shape))
            x = apply(ops.concat, x, _ones(x.data if isinstance(x, Tensor) else x), axis=-1)  # (..., D+1)
        return apply(ops.linear, x, self.weight, self.bias, activation=activation)

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().settings(), **({"bias": "augmented"} if self.augmented else {})}

    def cost(self, shape: tuple[int, ...]) -> Cost:
        """Cost of one example (..., D)."""
        check_last(self.path or "Linear", shape, "D", self.in_features)
        output = (*shape[:-1], self.out_features)
        if self.augmented:
            numbers = math.prod(shape[:-1]) * (self.in_features + 1)
            return Cost(output, numbers * self.out_features, numbers)
        return Cost.of(shape, output, math.prod(shape) * self.out_features, "x")

    def receptive_field(self, field: Field, output: tuple[int, ...]) -> Field:
        """Return the field of sums over all features."""
        return field.features()

    def conv_form(self) -> Form | None:
        """Return the form of a convolution with 1x1 filters."""
        return Form(self.in_features, self.out_features)

    def torch_arrays(self) -> Iterator[TorchArray]:
        """Go over weight (M, D) and bias (M,), which are two arrays in PyTorch where they are one here."""
        if self.augmented:
            yield TorchArray("weight", self.weight, lambda w: w[:, :-1])
            yield TorchArray("bias", self.weight, lambda w: w[:, -1])
        else:
            yield from super().torch_arrays()

    def filters(self) -> Filters:
        """Return the weights as 1x1 filters, and the bias."""
        weight, shift = self.weight.as_float64(), None if self.bias is None else self.bias.as_float64()
        if self.augmented:
            weight, shift = weight[:, :-1], weight[:, -1]
        return Filters(weight[:, None, None, :], shift)

    def folded(self, form: Form, filters: Filters) -> Linear:
        """Return a Linear that computes what 1x1 filters do."""
        layer = Linear(form.channels, form.filters, filters.shift is not None)
        layer.weight.fill(filters.weight[:, 0, 0, :], self.weight)
        if layer.bias is not None and filters.shift is not None:
            layer.bias.fill(filters.shift, self.weight)
        return layer


def _then_zeros(init: Initializer, key: Key, shape: tuple[int, ...]) -> np.ndarray:
    """Draw (M, D) as init does, from the same key, and append a column of zeros: (M, D+1)."""
    first = np.asarray(init(key, (shape[0], shape[1] - 1)))
    return np.concatenate([first, np.zeros_like(first[:, :1])], axis=1)


def _ones(x: Array) -> Array:
    """A 1 for each row of x (..., D): (..., 1)."""
    return namespace(x).ones((*x.shape[:-1], 1), dtype=x.dtype, device=x.device)


class Flatten(Module):
    """Make one row of features of each example: (N, ...) to (N, D). Already flat rows pass unchanged."""

    kind = "flatten"
    torch_classes = ("Flatten",)
    family = "reshape"
    across_batch = False
    computes = False

    def forward(self, x: Tensor) -> Tensor:
        """Apply ops.flatten."""
        return apply(ops.flatten, x)

    def cost(self, shape: tuple[int, ...]) -> Cost:
        """Cost of one example."""
        return Cost.of(shape, (math.prod(shape),), keeps="=")

    def receptive_field(self, field: Field, output: tuple[int, ...]) -> Field:
        """Return the same places, laid out as one row of features."""
        return field._replace(flat=True)

    def output_rank(self, rank: int | None) -> int:
        """Return 2."""
        return 2

"""The perceptron: a neuron with output 0 or 1 that learns from its mistakes."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from xpnet import ops
from xpnet.arguments import Check, boolean, number, positive
from xpnet.autograd import Tensor, apply
from xpnet.backend import Array, backend_of
from xpnet.errors import DataError, ShapeError
from xpnet.nn.cost import Cost, check_last
from xpnet.nn.initializers import zeros
from xpnet.nn.module import Module
from xpnet.nn.receptive import Field
from xpnet.nn.state import Parameter
from xpnet.ops.checks import shared

__all__ = ["Perceptron"]


class Perceptron(Module):
    """K perceptrons side by side: y[n,k] = 1 where b[k] + sum over d of w[k,d] * x[n,d] is above 0, else 0.

        neuron = nn.Perceptron(2)
        while neuron.learn(x, labels):
            pass

    The loop ends if a line separates the classes, and only then. One neuron separates labels 0 and 1. Each of K neurons
    decides whether the example is of its class; if several or none output 1, that is a mistake too, and predict takes
    the highest sum.

    nn.perceptron_loss, with models.perceptron, requires less: that the sum of the correct class is the highest. There a
    mistake corrects two neurons, the correct one and the one with the highest sum; here each whose output was wrong.
    With one neuron for two classes both rules are the same, except for sums of exactly 0.

    Args:
        in_features: D, >= 1.
        neurons: K, >= 1. Weights (K, D) and biases (K,) begin at 0.
        bias: whether to add b; without it each line goes through the origin.
    Raises:
        ConfigError: a size under 1. On call, ShapeError: x is not (..., D).
    Cost: K*D multiply-adds an example.
    Source: Rosenblatt (1958).
    """

    kind = "perceptron"
    family = "linear"
    across_batch = False
    pointwise = True
    _checks: ClassVar[dict[str, Check]] = {"in_features": positive, "neurons": positive}
    _may_be_none = ("bias",)

    def __init__(self, in_features: int, neurons: int = 1, bias: bool = True) -> None:
        self.in_features = in_features
        self.neurons = neurons
        self.weight = Parameter((self.neurons, self.in_features), zeros)
        self.bias = Parameter((self.neurons,), zeros) if boolean("Perceptron", "bias", bias) else None

    def forward(self, x: Tensor) -> Tensor:
        """Apply ops.linear and ops.threshold to x (..., D): zeros and ones, (..., K)."""
        return apply(ops.threshold, apply(ops.linear, x, self.weight, self.bias))

    def cost(self, shape: tuple[int, ...]) -> Cost:
        """Cost of one example (..., D)."""
        check_last(self.path or "Perceptron", shape, "D", self.in_features)
        return Cost.of(shape, (*shape[:-1], self.neurons), math.prod(shape) * self.neurons, "x")

    def receptive_field(self, field: Field, output: tuple[int, ...]) -> Field:
        """Return the field of sums over all features."""
        return field.features()

    def learn(self, x: Array, labels: Array, lr: float = 1.0) -> int:
        """Go over the examples once, in order, and correct each mistake before the next example (Rosenblatt's rule).

            w[k,d] += lr * (t[n,k] - y[n,k]) * x[n,d],  b[k] += lr * (t[n,k] - y[n,k])

        It is the gradient step of (y - t)^2 / 2 through ops.threshold. Where some (w, b) of length 1 keeps each sum at
        least g from 0 on its right side, and no (x, 1) is longer than R, a neuron that begins at 0 makes at most
        (R/g)^2 mistakes in all passes together, whatever lr (Novikoff 1962). Where none does, they never end.

        Args:
            x: (N, D), on the host or on the model's backend; host arrays are cast to the model's dtype.
            labels: (N,), integers: 0 or 1 for one neuron, 0 .. K-1 for K.
            lr: how far a mistake moves the weights, > 0.
        Returns:
            How many examples were answered wrongly, by any neuron.
        Raises:
            ShapeError: x is not (N, D) or labels are not (N,). DataError: a label is no class. ConfigError: lr.
        Cost: K*D multiply-adds an example, and as many a mistake; the host waits for each answer, since the next
            example meets the corrected weights.
        """
        lr = number("Perceptron.learn", "lr", lr, 0, above=True)
        x = self._examples("Perceptron.learn", x)
        targets = self._targets(x, labels)  # (N, K), on the host
        backend, wrong, w = self.backend, 0, self.weight.data
        b = None if self.bias is None else self.bias.data
        for n, target in enumerate(targets):
            sums, to_weights = ops.linear(x[n, ...], w, b)  # (K,)
            answers, to_sums = ops.threshold(sums)
            error = backend.to_numpy(answers) - target
            if not error.any():
                continue
            wrong += 1
            (dsums,) = to_sums(backend.from_numpy(error), (True,))
            _, dw, db = to_weights(dsums, (False, True, b is not None))
            w = w - lr * dw
            b = None if b is None else b - lr * db
        self.weight.data = w
        if self.bias is not None:
            self.bias.data = b
        return wrong

    def predict(self, x: Array) -> np.ndarray:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Predict the class of each example.

        Args:
            x: (N, D), as learn takes it.
        Returns:
            int64, (N,), on the host: 0 or 1 by one neuron; of K the number of the neuron with the highest sum, of equal
            ones the first.
        Raises:
            ShapeError: x is not (N, D).
        """
        bias = None if self.bias is None else self.bias.data
        sums, _ = ops.linear(self._examples("Perceptron.predict", x), self.weight.data, bias)
        found = self.backend.to_numpy(sums)
        return (found[:, 0] > 0).astype(np.int64) if self.neurons == 1 else np.argmax(found, axis=1)

    def _examples(self, where: str, x: Array) -> Array:
        """Check (N, D), and bring it to the model if it is on the host."""
        shared(where, x)
        if tuple(x.shape[1:]) != (self.in_features,):
            raise ShapeError(where, f"x of shape (N, D), D = {self.in_features}", x=tuple(x.shape))
        return self.backend.from_numpy(x.astype(self.weight.dtype_)) if isinstance(x, np.ndarray) else x

    def _targets(self, x: Array, labels: Array) -> np.ndarray:
        """Check the labels; return the correct output of each neuron, (N, K), on the host."""
        where = "Perceptron.learn"
        t = labels if isinstance(labels, np.ndarray) else backend_of(labels).to_numpy(labels)
        if t.shape != (x.shape[0],) or t.dtype.kind not in "iu":
            raise ShapeError(where, f"labels (N,) of integers, N = {x.shape[0]}", labels=f"{t.shape} {t.dtype}")
        classes = max(2, self.neurons)
        outside = t[(t < 0) | (t >= classes)]
        if outside.size:
            rule = "labels 0 or 1 for one neuron" if self.neurons == 1 else f"labels in 0..K-1, K = {self.neurons}"
            raise DataError(where, rule, label=int(outside[0]))
        wanted = t[:, None] if self.neurons == 1 else np.equal.outer(t, np.arange(self.neurons))
        return wanted.astype(self.weight.dtype_)

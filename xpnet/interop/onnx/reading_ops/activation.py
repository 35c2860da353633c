"""Activations, and softmax in both of its forms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpnet import ops
from xpnet.errors import ShapeError
from xpnet.interop.onnx import functions
from xpnet.interop.onnx.registry import reads
from xpnet.interop.onnx.run import axis_of
from xpnet.interop.onnx.values import Value, shape_of

__all__ = ["gelu", "relu", "softmax"]


def _activation(name: str, op: Any, since: int = 1, finishes: bool = False) -> None:
    def read(run: Any, node: Any, x: Any) -> Value:
        return run.unary(op, x)

    reads(name, since, family="activation", finishes=finishes)(read)


_activation("Sigmoid", ops.sigmoid, finishes=True)
_activation("Tanh", ops.tanh)


@reads("Relu", family="activation")
def relu(run: Any, node: Any, x: Any) -> Any:
    """Keep what is positive."""
    if isinstance(x, np.ndarray) and x.dtype.kind != "f":
        return run.compute(lambda a: np.maximum(a, 0), x)
    return run.unary(ops.relu, x)


@reads("LeakyRelu", family="activation")
def leaky_relu(run: Any, node: Any, x: Any) -> Value:
    """Keep what is positive, and alpha times what is not."""
    return run.unary(ops.leaky_relu, x, slope=node.number("alpha", 0.01))


def _below(run: Any, x: Value) -> Any:
    """The part of x below zero, min(x, 0)."""
    return run.apply(ops.minimum, x.tensor, 0.0)


@reads("PRelu", parameters={1: "slope"}, family="activation")
def prelu(run: Any, node: Any, x: Any, slope: Any) -> Value:
    """Keep what is positive, and a learned slope times what is not."""
    x = run.value(x)
    rank, own = len(shape_of(x)), len(shape_of(slope))
    if node.opset < 7 and own == 1 and rank > 2 and shape_of(slope)[0] > 1:  # one a channel
        slope = Value(run.tensor(slope).reshape(-1, *(1,) * (rank - 2)))
    below = run.binary(ops.multiply, x.like(_below(run, x)), slope)
    return run.binary(ops.add, x.like(run.apply(ops.relu, x.tensor)), below)


def _exponential(run: Any, x: Value, alpha: float, scale: float = 1.0) -> Any:
    """alpha * (exp(min(x, 0) / scale) - 1)."""
    below = _below(run, x)
    below = below if scale == 1.0 else run.apply(ops.divide, below, scale)
    return run.apply(ops.multiply, run.apply(ops.subtract, run.apply(ops.exp, below), 1.0), alpha)


@reads("Elu", family="activation")
def elu(run: Any, node: Any, x: Any) -> Value:
    """Return x where it is positive, else alpha * (exp(x) - 1)."""
    x = run.value(x)
    return x.like(run.apply(ops.add, run.apply(ops.relu, x.tensor), _exponential(run, x, node.number("alpha", 1.0))))


@reads("Celu", 12, family="activation")
def celu(run: Any, node: Any, x: Any) -> Value:
    """Return x where it is positive, else alpha * (exp(x / alpha) - 1)."""
    x, alpha = run.value(x), node.number("alpha", 1.0)
    return x.like(run.apply(ops.add, run.apply(ops.relu, x.tensor), _exponential(run, x, alpha, alpha)))


@reads("Selu", family="activation")
def selu(run: Any, node: Any, x: Any) -> Value:
    """Return gamma * x where x is positive, else gamma * alpha * (exp(x) - 1)."""
    six = node.opset >= 6
    alpha = node.number("alpha", 1.67326319217681884765625 if six else 1.6732)
    gamma = node.number("gamma", 1.05070102214813232421875 if six else 1.0507)
    x = run.value(x)
    y = run.apply(ops.add, run.apply(ops.relu, x.tensor), _exponential(run, x, alpha))
    return x.like(run.apply(ops.multiply, y, gamma))


def _line(run: Any, x: Value, slope: float, shift: float) -> Any:
    """slope * x + shift, limited to 0 .. 1."""
    y = run.apply(ops.add, run.apply(ops.multiply, x.tensor, slope), shift)
    return run.apply(ops.clip, y, 0.0, 1.0)


@reads("HardSigmoid", family="activation")
def hard_sigmoid(run: Any, node: Any, x: Any) -> Value:
    """Limit alpha * x + beta to 0 .. 1."""
    x = run.value(x)
    return x.like(_line(run, x, node.number("alpha", 0.2), node.number("beta", 0.5)))


@reads("HardSwish", 14, family="activation")
def hard_swish(run: Any, node: Any, x: Any) -> Value:
    """Return x times x / 6 + 1/2, limited to 0 .. 1."""
    x = run.value(x)
    return x.like(run.apply(ops.multiply, x.tensor, _line(run, x, 1.0 / 6.0, 0.5)))


@reads("Swish", 24, family="activation")
def swish(run: Any, node: Any, x: Any) -> Value:
    """Return x * sigmoid(alpha * x)."""
    x, alpha = run.value(x), node.number("alpha", 1.0)
    gate = x.tensor if alpha == 1.0 else run.apply(ops.multiply, x.tensor, alpha)
    return x.like(run.apply(ops.multiply, x.tensor, run.apply(ops.sigmoid, gate)))


@reads("Softplus", family="activation")
def softplus(run: Any, node: Any, x: Any) -> Value:
    """Return log(1 + exp(x))."""
    return run.unary(functions.softplus, x)


@reads("Softsign", family="activation")
def softsign(run: Any, node: Any, x: Any) -> Value:
    """Return x / (1 + |x|)."""
    x = run.value(x)
    return x.like(run.apply(ops.divide, x.tensor, run.apply(ops.add, run.apply(ops.abs, x.tensor), 1.0)))


@reads("Mish", 18, family="activation")
def mish(run: Any, node: Any, x: Any) -> Value:
    """Return x * tanh(log(1 + exp(x)))."""
    x = run.value(x)
    return x.like(run.apply(ops.multiply, x.tensor, run.apply(ops.tanh, run.apply(functions.softplus, x.tensor))))


@reads("Gelu", 20, family="activation")
def gelu(run: Any, node: Any, x: Any) -> Value:
    """Return x times the normal distribution function, exact or by tanh."""
    if node.choice("approximate", "none", ("none", "tanh")) == "tanh":
        return run.unary(ops.gelu, x)
    x = run.value(x)
    below = run.apply(functions.erf, run.apply(ops.multiply, x.tensor, math.sqrt(0.5)))
    half = run.apply(ops.multiply, x.tensor, 0.5)
    return x.like(run.apply(ops.multiply, half, run.apply(ops.add, below, 1.0)))


@reads("ThresholdedRelu", 10, family="activation")
def thresholded_relu(run: Any, node: Any, x: Any) -> Value:
    """Return x where it is above alpha, else 0."""
    x, alpha = run.value(x), node.number("alpha", 1.0)
    return x.like(run.apply(functions.hard_steps, x.tensor, low=-math.inf, high=alpha))


@reads("Shrink", 9, family="activation")
def shrink(run: Any, node: Any, x: Any) -> Any:
    """Return x nearer to 0 by bias where it is beyond lambd on either side, else 0."""
    bias, limit = node.number("bias", 0.0), node.number("lambd", 0.5)
    if isinstance(x, np.ndarray) and x.dtype.kind != "f":
        return run.compute(lambda a: np.where(a > limit, a - bias, np.where(a < -limit, a + bias, 0)), x).astype(
            x.dtype
        )
    x = run.value(x)
    above = run.apply(functions.hard_steps, x.tensor, low=-math.inf, high=limit)
    below = run.apply(functions.hard_steps, x.tensor, low=-limit, high=math.inf)
    if bias:
        signs = run.apply(functions.ROUNDED["sign"], above), run.apply(functions.ROUNDED["sign"], below)
        above = run.apply(ops.subtract, above, run.apply(ops.multiply, signs[0], bias))
        below = run.apply(ops.subtract, below, run.apply(ops.multiply, signs[1], bias))
    return x.like(run.apply(ops.add, above, below))


def _softmax(run: Any, node: Any, x: Any, op: Any) -> Value:
    x = run.value(x)
    rank = x.tensor.ndim
    if node.opset >= 13:
        return run.mapped(op, x, axis_of(node.where, node.integer("axis", -1), rank))
    axis = node.integer("axis", 1)
    axis = axis if axis == rank else axis_of(node.where, axis, rank)
    shape = x.shape
    if axis < rank and all(n == 1 for n in shape[axis + 1 :]):
        return run.mapped(op, x, axis)
    t = run.tensor(x)
    rows = t.reshape(math.prod(shape[:axis]), math.prod(shape[axis:]))
    return Value(run.apply(op, rows, axis=-1).reshape(*shape))


@reads("Softmax", family="activation", finishes=True)
def softmax(run: Any, node: Any, x: Any) -> Value:
    """Turn scores into probabilities: along an axis, or before opset 13 over it and all that follow."""
    return _softmax(run, node, x, ops.softmax)


@reads("LogSoftmax", family="activation")
def log_softmax(run: Any, node: Any, x: Any) -> Value:
    """Turn scores into log-probabilities, along the axes of Softmax."""
    return _softmax(run, node, x, ops.log_softmax)


@reads("Hardmax", family="activation")
def hardmax(run: Any, node: Any, x: Any) -> Value:
    """Return 1 at the first largest number, else 0, along the axes of Softmax; it has no gradient."""
    x = run.value(x)
    array, rank = run.host(x), x.tensor.ndim
    axis = axis_of(node.where, node.integer("axis", -1 if node.opset >= 13 else 1), rank)
    shape = array.shape
    if node.opset < 13:
        array, axis = array.reshape(math.prod(shape[:axis]), -1), 1
    if not array.shape[axis]:
        raise ShapeError(node.where, "at least one number along the axis", x=shape)
    y = np.zeros(array.shape)
    np.put_along_axis(y, np.argmax(array, axis=axis, keepdims=True), 1.0, axis)
    return Value(run.numbers(y.reshape(shape), x.tensor))

"""Arithmetic, comparisons and activations, element by element: they keep the order of what they are given."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet import ops
from xpnet.interop.graph import Value
from xpnet.interop.onnx.writer import Operand, Stored, Writer
from xpnet.interop.onnx.writing_ops.registry import writes

__all__ = ["activate", "unary"]


def unary(g: Writer, op: str, x: Operand, **attributes: Any) -> Stored:
    """Write a node of one input, stored as it is."""
    x = g.get(x)
    return g.like(g.node(op, x.name, **attributes), x)


def _binary(function: Callable[..., Any], op: str) -> None:
    @writes(function)
    def write(g: Writer, a: Operand, b: Operand) -> Stored:
        return g.broadcast(op, a, b)


def _unary(function: Callable[..., Any], op: str) -> None:
    @writes(function)
    def write(g: Writer, x: Value) -> Stored:
        return unary(g, op, x)


def _comparison(function: Callable[..., Any], op: str) -> None:
    @writes(function)
    def write(g: Writer, a: Operand, b: Operand) -> Stored:
        return g.broadcast(op, a, b, dtype="bool")


for _function, _op in ((ops.add, "Add"), (ops.subtract, "Sub"), (ops.multiply, "Mul"), (ops.divide, "Div"),
                       (ops.maximum, "Max"), (ops.minimum, "Min")):  # fmt: skip
    _binary(_function, _op)
for _function, _op in ((ops.negative, "Neg"), (ops.exp, "Exp"), (ops.log, "Log"), (ops.sqrt, "Sqrt"), (ops.abs, "Abs"),
                       (ops.relu, "Relu"), (ops.sigmoid, "Sigmoid"), (ops.tanh, "Tanh")):  # fmt: skip
    _unary(_function, _op)
for _function, _op in ((operator.gt, "Greater"), (operator.ge, "GreaterOrEqual"), (operator.lt, "Less"),
                       (operator.le, "LessOrEqual"), (operator.eq, "Equal")):  # fmt: skip
    _comparison(_function, _op)


@writes(operator.ne)
def ne(g: Writer, a: Operand, b: Operand) -> Stored:
    """a != b, as not a == b."""
    return unary(g, "Not", g.broadcast("Equal", a, b, dtype="bool"))


@writes(ops.square)
def square(g: Writer, x: Value) -> Stored:
    """x * x."""
    return g.broadcast("Mul", x, x)


@writes(ops.power)
def power(g: Writer, a: Operand, exponent: Operand) -> Stored:
    """a ^ exponent, one of which is a number."""
    return g.broadcast("Pow", *(x if isinstance(x, Value | Stored) else float(x) for x in (a, exponent)))


@writes(ops.clip)
def clip(g: Writer, x: Value, low: float | None = None, high: float | None = None) -> Stored:
    """min(max(x, low), high)."""
    stored = g.get(x)
    limits = ["" if limit is None else g.constant(float(limit), x.dtype) for limit in (low, high)]
    return g.like(g.node("Clip", stored.name, *limits), stored)


@writes(ops.cast)
def cast(g: Writer, x: Value, dtype: str) -> Stored:
    """Another dtype."""
    return _as_dtype(g, g.get(x), dtype)


def _as_dtype(g: Writer, x: Stored, dtype: str) -> Stored:
    to = g.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return Stored(g.node("Cast", x.name, to=to), x.shape, dtype, x.axes, x.columns)


@writes(ops.where)
def where(g: Writer, mask: Value, a: Operand, b: Operand) -> Stored:
    """a where mask, else b."""
    return g.broadcast("Where", mask, a, b)


@writes(ops.threshold)
def threshold(g: Writer, x: Value) -> Stored:
    """1 where x > 0, else 0."""
    return _as_dtype(g, g.broadcast("Greater", x, 0.0, dtype="bool"), x.dtype)


@writes(ops.leaky_relu)
def leaky_relu(g: Writer, x: Operand, slope: float = 0.01) -> Stored:
    """x above 0, slope * x below."""
    return unary(g, "LeakyRelu", x, alpha=float(slope))


@writes(ops.gelu)
def gelu(g: Writer, x: Operand) -> Stored:
    """The tanh form; ONNX has it from opset 20 on."""
    if g.opset >= 20:
        return unary(g, "Gelu", x, approximate="tanh")
    cube = g.broadcast("Pow", x, 3.0)
    inner = g.broadcast("Mul", g.broadcast("Add", g.broadcast("Mul", cube, 0.044715), x), math.sqrt(2 / math.pi))
    return g.broadcast("Mul", g.broadcast("Mul", g.broadcast("Add", unary(g, "Tanh", inner), 1.0), x), 0.5)


_ACTIVATIONS: dict[str, Callable[[Writer, Stored], Stored]] = {
    "relu": lambda g, x: unary(g, "Relu", x),
    "leaky_relu": leaky_relu,
    "sigmoid": lambda g, x: unary(g, "Sigmoid", x),
    "tanh": lambda g, x: unary(g, "Tanh", x),
    "gelu": gelu,
}


def activate(g: Writer, x: Stored, activation: str | None) -> Stored:
    """Write an activation that the op before computes within itself."""
    return x if activation is None else _ACTIVATIONS[activation](g, x)

"""Arithmetic element by element, with broadcasting: of floating values by xpnet's ops, of integers on the host."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from xpnet import ops
from xpnet.errors import ConfigError, DTypeError, ShapeError
from xpnet.interop.onnx import functions
from xpnet.interop.onnx.registry import reads
from xpnet.interop.onnx.run import axis_of
from xpnet.interop.onnx.values import Value, is_host, shape_of

__all__ = ["add", "clip", "divide", "multiply", "power", "subtract"]


def whole(x: Any) -> bool:
    """Whether a value holds integers or truth values, on the host."""
    return is_host(x) and x.dtype.kind != "f"


def old_axis(node: Any, a: Any, b: Any) -> Any:
    """Return b with the axes that the attributes broadcast and axis of opset 1 to 6 give it."""
    if node.opset >= 7 or not node.flag("broadcast"):
        if node.opset < 7 and shape_of(a) != shape_of(b):
            raise ShapeError(node.where, "a and b of one shape, or broadcast = 1", a=shape_of(a), b=shape_of(b))
        return b
    rank, own = len(shape_of(a)), len(shape_of(b))
    axis = node.integer("axis", rank - own)
    axis = axis_of(node.where, axis, rank) if own else 0
    if axis + own > rank:
        raise ShapeError(node.where, "b that fits into a from axis on", a=shape_of(a), b=shape_of(b), axis=axis)
    shape = (*shape_of(b), *(1,) * (rank - axis - own))
    return b.reshape(shape) if is_host(b) else Value(b.arranged(None).reshape(*shape))


def both(run: Any, node: Any, op: Any, host: Callable[..., Any], a: Any, b: Any) -> Any:
    """Combine two values."""
    b = old_axis(node, a, b)
    if whole(a) or whole(b):
        if not (whole(a) and whole(b)):
            raise DTypeError(node.where, "two values of one kind", dtypes=f"{a.dtype}, {b.dtype}")
        return run.compute(host, a, b).astype(np.result_type(a, b), copy=False)
    return run.binary(op, a, b)


@reads("Add", learned="shift")
def add(run: Any, node: Any, a: Any, b: Any) -> Any:
    """Add."""
    return both(run, node, ops.add, np.add, a, b)


@reads("Sub")
def subtract(run: Any, node: Any, a: Any, b: Any) -> Any:
    """Subtract."""
    return both(run, node, ops.subtract, np.subtract, a, b)


@reads("Mul", learned="scale")
def multiply(run: Any, node: Any, a: Any, b: Any) -> Any:
    """Multiply."""
    return both(run, node, ops.multiply, np.multiply, a, b)


@reads("Div")
def divide(run: Any, node: Any, a: Any, b: Any) -> Any:
    """Divide; integers toward zero."""
    return both(run, node, ops.divide, _quotient, a, b)


def _quotient(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if not np.all(b):
        raise ZeroDivisionError("division by zero")
    rest = np.fmod(a, b)
    return (a - rest) // b


@reads("Mod", 10)
def mod(run: Any, node: Any, a: Any, b: Any) -> Any:
    """Return the rest of a division, with the sign of b, or, with fmod, of a."""
    truncated = node.flag("fmod")
    if whole(a):
        return both(run, node, None, np.fmod if truncated else np.mod, a, b)
    return Value(*_spread(run, functions.divide_rest, a, b, truncated=truncated))


@reads("Pow")
def power(run: Any, node: Any, a: Any, b: Any) -> Any:
    """Raise to a power: by a number, or, of positive numbers, by another value."""
    b = old_axis(node, a, b)
    if whole(a):
        b = run.host(b)
        if np.any(b < 0) and b.dtype.kind != "f":
            return run.compute(np.power, a.astype(np.float64), b).astype(a.dtype)
        return run.compute(np.power, a, b).astype(a.dtype, copy=False)
    if is_host(b) and b.size == 1 and b.ndim <= len(shape_of(a)):
        return run.unary(ops.power, a, float(b.item()))
    a = run.value(a)
    b = b.astype(np.dtype(str(a.dtype).rpartition(".")[2])) if whole(b) else b
    return Value(*_spread(run, functions.power, a, b))


def _spread(run: Any, op: Any, *values: Any, **options: Any) -> tuple[Any, Any]:
    """Apply an op to values that are broadcast first; return its tensor and the order of its axes."""
    tensors, order = run.aligned(values)
    shape = np.broadcast_shapes(*(tuple(t.shape) for t in tensors))
    return run.apply(op, *(run.apply(ops.broadcast_to, t, shape=shape) for t in tensors), **options), order


def _folded(run: Any, op: Any, host: Callable[..., Any], values: tuple[Any, ...]) -> Any:
    if all(map(whole, values)):
        return reduce(lambda a, b: run.compute(host, a, b), values)
    return reduce(lambda a, b: run.binary(op, a, b), values)


@reads("Sum", 1)
def add_all(run: Any, node: Any, first: Any, *values: Any) -> Any:
    """Add several values."""
    return _folded(run, ops.add, np.add, (first, *values))


@reads("Mean", 1)
def mean(run: Any, node: Any, first: Any, *values: Any) -> Any:
    """Average several values."""
    total = _folded(run, ops.add, np.add, (first, *values))
    return run.unary(ops.multiply, total, 1.0 / (1 + len(values)))


@reads("Max", 1)
def maximum(run: Any, node: Any, first: Any, *values: Any) -> Any:
    """Take the largest of several values."""
    return _folded(run, ops.maximum, np.maximum, (first, *values))


@reads("Min", 1)
def minimum(run: Any, node: Any, first: Any, *values: Any) -> Any:
    """Take the smallest of several values."""
    return _folded(run, ops.minimum, np.minimum, (first, *values))


@reads("Clip", 11)
def clip(run: Any, node: Any, x: Any, low: Any = None, high: Any = None) -> Any:
    """Limit each number to a range."""
    return _clipped(run, x, run.scalar(low, "min"), run.scalar(high, "max"))


@reads("Clip", 1, 10)
def old_clip(run: Any, node: Any, x: Any) -> Any:
    """Limit each number to a range that attributes give."""
    return _clipped(run, x, node.number("min", None), node.number("max", None))


def _clipped(run: Any, x: Any, low: Any, high: Any) -> Any:
    if whole(x):
        kind = np.iinfo(x.dtype)
        limits = kind.min if low is None else low, kind.max if high is None else high
        return run.compute(lambda a: np.minimum(np.maximum(a, a.dtype.type(limits[0])), a.dtype.type(limits[1])), x)
    if low is not None and high is not None and low > high:
        low = high  # as min(max(x, low), high) says
    return run.unary(ops.clip, x, low, high)


def _on_integers(run: Any, node: Any, op: Any, host: Any, x: Any) -> Any:
    if whole(x):
        if host is None:
            raise DTypeError(node.where, "floating numbers", dtype=x.dtype)
        return run.compute(host, x)
    return run.unary(op, x)


@reads("Neg")
def negate(run: Any, node: Any, x: Any) -> Any:
    """Negate."""
    return _on_integers(run, node, ops.negative, np.negative, x)


@reads("Abs")
def absolute(run: Any, node: Any, x: Any) -> Any:
    """Take the magnitude."""
    return _on_integers(run, node, ops.abs, np.abs, x)


@reads("Sign", 9)
def sign(run: Any, node: Any, x: Any) -> Any:
    """Return -1, 0 or 1."""
    return _on_integers(run, node, functions.ROUNDED["sign"], np.sign, x)


@reads("Reciprocal")
def reciprocal(run: Any, node: Any, x: Any) -> Value:
    """Return 1 / x."""
    x = run.value(x)
    return x.like(run.apply(ops.divide, 1.0, x.tensor))


def _simple(name: str, op: Any, since: int = 1) -> None:
    """Read an op of floating numbers without attributes."""

    def read(run: Any, node: Any, x: Any) -> Value:
        return run.unary(op, x)

    reads(name, since)(read)


for _name, _op in (("Sqrt", ops.sqrt), ("Exp", ops.exp), ("Log", ops.log)):
    _simple(_name, _op)
for _name in ("Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh"):
    _simple(_name, functions.SMOOTH[_name.lower()], 7)
for _name, _since in (("Ceil", 1), ("Floor", 1), ("Round", 11)):
    _simple(_name, functions.ROUNDED[_name.lower()], _since)
_simple("Erf", functions.erf, 9)


@reads("Identity", passes=True)
def identity(run: Any, node: Any, x: Any) -> Any:
    """Return the value."""
    return x


@reads("BitShift", 11)
def bit_shift(run: Any, node: Any, a: Any, b: Any) -> Any:
    """Shift the bits of unsigned integers; those shifted out are lost."""
    left = node.choice("direction", "", ("LEFT", "RIGHT")) == "LEFT"
    if not (is_host(a) and is_host(b) and a.dtype.kind == b.dtype.kind == "u"):
        raise DTypeError(node.where, "unsigned integers", dtypes=f"{a.dtype}, {b.dtype}")
    if np.any(b >= 8 * a.itemsize):
        raise ConfigError(node.where, "shifts of less than the bits there are", shift=int(b.max()))
    return run.compute(np.left_shift if left else np.right_shift, a, b)

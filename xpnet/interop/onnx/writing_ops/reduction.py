"""Sums, averages and extrema over axes, and what normalizes along one."""

from __future__ import annotations

import numpy as np

from xpnet import ops
from xpnet.autograd.values import all_of, any_of, argmax_of
from xpnet.interop.graph import Value
from xpnet.interop.onnx.writer import Operand, Stored, Writer
from xpnet.interop.onnx.writing_ops.registry import writes

__all__ = ["reduced"]

Axis = int | tuple[int, ...] | None


def reduced(g: Writer, op: str, x: Operand, axes: Axis, keepdims: bool) -> Stored:
    """Write a reduction over axes of the model's value."""
    x = g.get(x)
    rank = len(x.shape)
    over = range(rank) if axes is None else axes if isinstance(axes, tuple) else (axes,)
    gone = {axis % rank for axis in over}
    if x.columns is not None and 1 not in gone:
        x = g.plain(x)
    if not gone:
        return x
    places = sorted(x.axes.index(axis) for axis in gone)
    if op == "ReduceSum" or g.opset >= 18:
        name = g.node(op, x.name, g.integers(places), keepdims=int(keepdims))
    else:
        name = g.node(op, x.name, axes=places, keepdims=int(keepdims))
    if keepdims:
        return Stored(name, tuple(1 if i in gone else n for i, n in enumerate(x.shape)), x.dtype, x.axes)
    left = [axis for axis in range(rank) if axis not in gone]
    order = tuple(left.index(axis) for axis in x.axes if axis in left)
    return Stored(name, tuple(x.shape[axis] for axis in left), x.dtype, order)


@writes(ops.sum)
def sum(g: Writer, x: Value, *, axis: Axis = None, keepdims: bool = False) -> Stored:
    """ReduceSum."""
    return reduced(g, "ReduceSum", x, axis, keepdims)


@writes(ops.mean)
def mean(g: Writer, x: Value, *, axis: Axis = None, keepdims: bool = False) -> Stored:
    """ReduceMean."""
    return reduced(g, "ReduceMean", x, axis, keepdims)


@writes(ops.max)
def max(g: Writer, x: Value, *, axis: Axis = None, keepdims: bool = False) -> Stored:
    """ReduceMax."""
    return reduced(g, "ReduceMax", x, axis, keepdims)


@writes(ops.min)
def min(g: Writer, x: Value, *, axis: Axis = None, keepdims: bool = False) -> Stored:
    """ReduceMin."""
    return reduced(g, "ReduceMin", x, axis, keepdims)


@writes(ops.softmax)
def softmax(g: Writer, x: Value, *, axis: int = -1) -> Stored:
    """Softmax along an axis."""
    stored = g.get(x)
    return g.like(g.node("Softmax", stored.name, axis=stored.at(axis)), stored)


@writes(ops.log_softmax)
def log_softmax(g: Writer, x: Value, *, axis: int = -1) -> Stored:
    """LogSoftmax along an axis."""
    stored = g.get(x)
    return g.like(g.node("LogSoftmax", stored.name, axis=stored.at(axis)), stored)


@writes(any_of)
def any(g: Writer, x: Value) -> Stored:
    """Whether any element is true: the largest of zeros and ones."""
    return _of_truth(g, x, "ReduceMax")


@writes(all_of)
def all(g: Writer, x: Value) -> Stored:
    """Whether all elements are true."""
    return _of_truth(g, x, "ReduceMin")


def _of_truth(g: Writer, x: Value, op: str) -> Stored:
    stored, types = g.get(x), g.onnx.TensorProto
    true = stored.name if x.dtype == "bool" else g.node("Cast", stored.name, to=types.BOOL)
    number = g.like(g.node("Cast", true, to=types.FLOAT), stored)
    return g.result(g.node("Cast", reduced(g, op, number, None, False).name, to=types.BOOL))


@writes(argmax_of)
def argmax(g: Writer, x: Value, axis: int | None) -> Stored:
    """ArgMax along an axis, or of the elements in the model's order."""
    stored = g.plain(x)
    if axis is None:
        name = g.node("Reshape", stored.name, g.integers([-1]))
        return g.result(g.node("ArgMax", name, axis=0, keepdims=0))
    return g.result(g.node("ArgMax", stored.name, axis=int(np.arange(len(x.shape))[axis]), keepdims=0))

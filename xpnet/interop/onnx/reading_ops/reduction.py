"""Reductions over axes, and the places of the largest and smallest numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpnet import ops
from xpnet.errors import ShapeError
from xpnet.interop.onnx import functions
from xpnet.interop.onnx.reading_ops.elementwise import whole
from xpnet.interop.onnx.registry import NEWEST, reads
from xpnet.interop.onnx.run import axis_of
from xpnet.interop.onnx.values import Value, is_host, shape_of

__all__ = ["arg_extreme", "cumulative_sum", "reduced"]


def reduced(run: Any, node: Any, x: Any, axes: Any) -> tuple[int, ...]:
    """Return the axes of a reduction, counted from 0; () for none, where the node says so."""
    rank = len(shape_of(x))
    given = node.integers("axes", None) if axes is None else run.integers(axes, "axes")
    if not given:
        return () if node.flag("noop_with_empty_axes") else tuple(range(rank))
    found = tuple(axis_of(node.where, a, rank, "axes") for a in given)
    if len(set(found)) < len(found):
        raise ShapeError(node.where, "distinct axes", axes=given)
    return found


def kept(x: Value, tensor: Any, axes: tuple[int, ...], keepdims: bool) -> Value:
    """Return what a reduction made of a value over some of its axes."""
    if keepdims or not axes:
        return x.like(tensor)
    rest = [a for a in x.axes() if a not in axes]
    return Value(tensor, tuple(sorted(rest).index(a) for a in rest))


def _log_sum_exp(run: Any, t: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    top = run.apply(ops.max, t, axis=axes, keepdims=True)
    limit = float(np.finfo(str(t.dtype).rpartition(".")[2]).max)
    top = run.apply(ops.clip, top.detach(), -limit, limit)  # an infinite one would give NaN
    small = run.apply(ops.exp, run.apply(ops.subtract, t, top))
    y = run.apply(ops.add, run.apply(ops.log, run.apply(ops.sum, small, axis=axes, keepdims=True)), top)
    return y if keepdims else y.reshape(*(n for i, n in enumerate(y.shape) if i not in axes))


def _product(run: Any, t: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    for axis in sorted(axes, reverse=True):
        parts, ahead = t.shape[axis], (slice(None),) * axis
        y = run.constant((*t.shape[:axis], 1, *t.shape[axis + 1 :]), 1.0, t)
        while parts:  # halves are multiplied until one is left
            half = parts // 2
            if parts % 2:
                y = run.apply(ops.multiply, y, t[(*ahead, slice(parts - 1, parts), ...)])
            if not half:
                break
            t = run.apply(ops.multiply, t[(*ahead, slice(0, half), ...)], t[(*ahead, slice(half, 2 * half), ...)])
            parts = half
        t = y
    return t if keepdims else t.reshape(*(n for i, n in enumerate(t.shape) if i not in axes))


def _plain(op: Any, before: Any = None, after: Any = None) -> Any:
    """Return the reduction that applies ops before and after one of xpnet's."""

    def reduce(run: Any, t: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
        t = t if before is None else run.apply(before, t)
        t = run.apply(op, t, axis=axes, keepdims=keepdims)
        return t if after is None else run.apply(after, t)

    return reduce


_REDUCTIONS = {
    "ReduceSum": (_plain(ops.sum), np.sum, 13),
    "ReduceMean": (_plain(ops.mean), None, 18),
    "ReduceMax": (_plain(ops.max), np.max, 18),
    "ReduceMin": (_plain(ops.min), np.min, 18),
    "ReduceProd": (_product, np.prod, 18),
    "ReduceL1": (_plain(ops.sum, ops.abs), None, 18),
    "ReduceL2": (_plain(ops.sum, ops.square, ops.sqrt), None, 18),
    "ReduceLogSum": (_plain(ops.sum, None, ops.log), None, 18),
    "ReduceLogSumExp": (_log_sum_exp, None, 18),
    "ReduceSumSquare": (_plain(ops.sum, ops.square), None, 18),
}
_OF_NOTHING = {"ReduceMax": -math.inf, "ReduceMin": math.inf, "ReduceLogSumExp": -math.inf, "ReduceMean": math.nan}


def _register(name: str, reduction: Any, host: Any, since: int) -> None:
    def compute(run: Any, node: Any, x: Any, axes: Any) -> Any:
        keepdims, found = node.flag("keepdims", True), reduced(run, node, x, axes)
        if whole(x):
            if host is None:
                run = run.on_host()
                y = compute(run, node, x.astype(np.float64), axes)
                return run.host(y).astype(x.dtype)
            return np.asarray(host(x, axis=found, keepdims=keepdims)).astype(x.dtype)
        x = run.value(x)
        if not found and (axes is not None or node.flag("noop_with_empty_axes")):
            return x.like(reduction(run, x.tensor, (), True))
        shape = x.shape
        if name in _OF_NOTHING and any(not shape[a] for a in found):
            sizes = tuple(1 if i in found else n for i, n in enumerate(shape))
            sizes = sizes if keepdims else tuple(n for i, n in enumerate(shape) if i not in found)
            return Value(run.constant(sizes, _OF_NOTHING[name], x.tensor))
        y = reduction(run, x.tensor, tuple(x.axis(a) for a in found), keepdims)
        return kept(x, y, found, keepdims)

    def read(run: Any, node: Any, x: Any, axes: Any = None) -> Any:
        return compute(run, node, x, axes)

    def read_old(run: Any, node: Any, x: Any) -> Any:
        return compute(run, node, x, None)

    reads(name, since, NEWEST, kind=name.lower())(read)
    reads(name, 1, since - 1, kind=name.lower())(read_old)


for _name, _entry in _REDUCTIONS.items():
    _register(_name, *_entry)


def arg_extreme(name: str, function: Any) -> None:
    """Read ArgMax or ArgMin: where the largest or smallest number is, on the host."""

    def read(run: Any, node: Any, x: Any) -> np.ndarray:
        x = run.host(x)
        axis, keepdims = axis_of(node.where, node.integer("axis", 0), x.ndim), node.flag("keepdims", True)
        if not x.shape[axis]:
            raise ShapeError(node.where, "at least one number along the axis", x=x.shape)
        if node.flag("select_last_index"):
            y = x.shape[axis] - 1 - function(np.flip(x, axis), axis=axis, keepdims=keepdims)
        else:
            y = function(x, axis=axis, keepdims=keepdims)
        return np.asarray(y, np.int64)

    reads(name)(read)


arg_extreme("ArgMax", np.argmax)
arg_extreme("ArgMin", np.argmin)


@reads("CumSum", 11)
def cumulative_sum(run: Any, node: Any, x: Any, axis: Any) -> Any:
    """Sum the numbers up to each place of an axis, without its own where exclusive."""
    rank = len(shape_of(x))
    at = axis_of(node.where, int(run.scalar(axis, "axis")), rank)
    exclusive, reverse = node.flag("exclusive"), node.flag("reverse")
    if is_host(x):
        y = np.flip(np.cumsum(np.flip(x, at), axis=at), at) if reverse else np.cumsum(x, axis=at)
        return (y - x if exclusive else y).astype(x.dtype)
    y = run.mapped(functions.cumulative_sum, x, at, reverse=reverse)
    return y.like(run.apply(ops.subtract, y.tensor, x.tensor)) if exclusive else y

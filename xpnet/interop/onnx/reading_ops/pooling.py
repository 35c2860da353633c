"""Pooling: the maximum, average or norm of windows, and of whole images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpnet import ops
from xpnet.autograd import Tensor
from xpnet.errors import ConfigError, ShapeError
from xpnet.interop.onnx.limits import MOST_TAPS
from xpnet.interop.onnx.reading_ops.windows import Window, extended, lay, spatial
from xpnet.interop.onnx.registry import reads
from xpnet.interop.onnx.values import Value

__all__ = ["average_pool", "global_average_pool", "global_max_pool", "lp_pool", "max_pool"]


def _last(x: Value) -> tuple[int, ...]:
    """The order of images (N, C, ...) with their channels last."""
    rank = x.tensor.ndim
    return (0, *range(2, rank), 1)


@reads("MaxPool", kind="max pool", family="pooling")
def max_pool(run: Any, node: Any, x: Any) -> Value:
    """Take the largest number of each window; padding is smaller than any."""
    node.only("storage_order", 0)
    if len(node.outputs) > 1 and node.outputs[1]:
        raise ConfigError(node.where, "one output: Indices are not read", outputs=len(node.outputs))
    x = run.value(x)
    windows = _laid(run, node, x)
    if len(windows) == 2 and all(w.d == 1 and _is_ours(w) for w in windows):
        options = {
            "kernel_size": tuple(w.k for w in windows),
            "stride": tuple(w.s for w in windows),
            "padding": tuple(w.before for w in windows),
        }
        return Value(run.apply(ops.max_pool2d, x.arranged(_last(x)), **options), _last(x))
    return Value(_along(run, x.arranged(_last(x)), windows, ops.maximum, -math.inf), _last(x))


def _laid(run: Any, node: Any, x: Value) -> list[Window]:
    """Return how the windows lie, once what they read is within the budget: one axis is reduced after the other."""
    windows = lay(node, spatial(node.where, x))
    count, size = 0, math.prod(x.tensor.shape)
    left = size
    for w in windows:
        left = left // max(1, w.n) * w.out
        count += left * w.k
    run.budget.taps(count, size)
    return windows


def _is_ours(w: Window) -> bool:
    """Whether xpnet's own pooling lays such windows."""
    return w.before == w.after and 2 * w.before <= w.k and w.out == (w.n + 2 * w.before - w.k) // w.s + 1


def _along(run: Any, x: Tensor, windows: list[Window], join: Any, fill: float) -> Tensor:
    """Join the taps of windows along one axis after the other."""
    for axis, w in enumerate(windows, 1):
        if w.k > MOST_TAPS:
            raise ShapeError("onnx", f"windows of at most {MOST_TAPS:,} rows and columns", kernel_shape=w.k)
        reached = (w.out - 1) * w.s + w.reach  # in ceil mode beyond the padding after
        x = extended(run, x, axis, w.before, reached - w.n - w.before, fill)
        parts = None
        for tap in range(w.k):
            part = x[(slice(None),) * axis + (slice(tap * w.d, tap * w.d + w.s * (w.out - 1) + 1, w.s), ...)]
            parts = part if parts is None else run.apply(join, parts, part)
        assert parts is not None, "a window has a tap"
        x = parts
    return x


@reads("AveragePool", kind="average pool", family="pooling")
def average_pool(run: Any, node: Any, x: Any) -> Value:
    """Average each window, over the pixels of the image, or, with count_include_pad, of the padded one."""
    x = run.value(x)
    windows = _laid(run, node, x)
    include = node.flag("count_include_pad")
    images = x.arranged(_last(x))
    if len(windows) == 2 and all(w.d == 1 and _is_ours(w) for w in windows):
        options = {
            "kernel_size": tuple(w.k for w in windows),
            "stride": tuple(w.s for w in windows),
            "padding": tuple(w.before for w in windows),
            "count_include_pad": include,
        }
        return Value(run.apply(ops.avg_pool2d, images, **options), _last(x))
    y = _along(run, images, windows, ops.add, 0.0)
    for axis, w in enumerate(windows, 1):
        low, high = (-w.before, w.n + w.after) if include else (0, w.n)
        starts = np.arange(w.out) * w.s - w.before
        first, stop = (low - starts + w.d - 1) // w.d, (high - starts + w.d - 1) // w.d  # the taps from low to high
        counts = np.clip(stop, 0, w.k) - np.clip(first, 0, w.k)
        shape = (1,) * axis + (-1,) + (1,) * (y.ndim - axis - 1)
        y = run.apply(ops.multiply, y, run.numbers(1.0 / np.maximum(1, counts), y).reshape(*shape))
    return Value(y, _last(x))


@reads("LpPool", 2, kind="norm pool", family="pooling")
def lp_pool(run: Any, node: Any, x: Any) -> Value:
    """Take the p-norm of each window."""
    p = node.integer("p", 2)
    if not 1 <= p <= 64:
        raise ConfigError(node.where, "p from 1 to 64", p=p)
    x = run.value(x)
    windows = _laid(run, node, x)
    powers = run.apply(ops.power, run.apply(ops.abs, x.arranged(_last(x))), float(p))
    y = _along(run, powers, windows, ops.add, 0.0)
    return Value(run.apply(ops.power, y, 1.0 / p), _last(x))


@reads("GlobalAveragePool", kind="global average pool", family="pooling")
def global_average_pool(run: Any, node: Any, x: Any) -> Value:
    """Average each channel over the whole image."""
    x = run.value(x)
    axes = tuple(x.axis(i) for i in range(2, 2 + len(spatial(node.where, x))))
    return x.like(run.apply(ops.mean, x.tensor, axis=axes, keepdims=True))


@reads("GlobalMaxPool", kind="global max pool", family="pooling")
def global_max_pool(run: Any, node: Any, x: Any) -> Value:
    """Take the largest number of each channel."""
    x = run.value(x)
    axes = tuple(x.axis(i) for i in range(2, 2 + len(spatial(node.where, x))))
    return x.like(run.apply(ops.max, x.tensor, axis=axes, keepdims=True))


@reads("GlobalLpPool", 2, kind="global norm pool", family="pooling")
def global_lp_pool(run: Any, node: Any, x: Any) -> Value:
    """Take the p-norm of each channel."""
    p = node.integer("p", 2)
    if not 1 <= p <= 64:
        raise ConfigError(node.where, "p from 1 to 64", p=p)
    x = run.value(x)
    axes = tuple(x.axis(i) for i in range(2, 2 + len(spatial(node.where, x))))
    powers = run.apply(ops.power, run.apply(ops.abs, x.tensor), float(p))
    return x.like(run.apply(ops.power, run.apply(ops.sum, powers, axis=axes, keepdims=True), 1.0 / p))

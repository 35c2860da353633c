"""The order of axes in a traced model: which values are images, and which are rows flattened from images.

Other libraries hold images as (N, C, H, W). Where a value here is (N, H, W, C), the same value there has its axes in
another order, and so have rows that are made of it. Values of other kinds, such as rows of features and sequences
(N, T, D), are the same on both sides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from xpnet.errors import ConfigError
from xpnet.interop.graph import Batch, Graph, Step, Value
from xpnet.nn import State

__all__ = ["rows_of_images"]


class _Order(NamedTuple):
    """How the numbers of a value lie.

    Args:
        name: "same" as elsewhere; "image", (N, H, W, C); "first", an image that was permuted to (N, C, H, W); or
            "rows", of images.
        channels: of rows, C of the images.
    """

    name: str
    channels: int = 1


_SAME, _IMAGE, _FIRST = _Order("same"), _Order("image"), _Order("first")
_OF_IMAGES = ("conv2d", "max_pool2d", "avg_pool2d", "local_response_norm")
_OVER_FEATURES = ("linear", "batch_norm", "layer_norm", "softmax", "log_softmax", "random_dropout")
_REDUCTIONS = ("sum", "mean", "max", "min")


def rows_of_images(graph: Graph, where: str) -> dict[State, int]:
    """Find the parameters and buffers whose last axis runs over rows of images, with the channels of the images.

    Args:
        graph: of a model whose inputs of rank 4 are images (N, H, W, C).
        where: the function, for messages.
    Raises:
        ConfigError: a step mixes numbers whose order is another elsewhere.
    """
    orders = {id(value): _IMAGE if len(value.shape) == 4 else _SAME for value in graph.inputs.values()}
    found: dict[State, int] = {}
    for step in graph.steps:
        given = [(value, orders[id(value)]) for value in step.values if id(value) in orders]
        others = [value for value in step.values if id(value) not in orders]
        order = _after(step, given, others)
        rows = [pair for pair in given if pair[1].name == "rows"]
        for value in others if rows else ():
            order = _marked(step, value, rows[0], order, found)
        if order is None:
            what = (
                "the order of numbers in rows of images, which is another in other libraries, is not known after this"
            )
            raise ConfigError.event(where, what, "flatten images right before a Linear", layer=step.where)
        orders[id(step.output)] = order
    return found


def _marked(
    step: Step, value: Value, row: tuple[Value, _Order], order: _Order | None, found: dict[State, int]
) -> _Order | None:
    """Record the channels of what a step takes beside rows; None where it is not a parameter or buffer over them."""
    features = row[0].shape[-1]
    if not value.shape or value.shape[-1] == 1 or (step.name == "linear" and len(value.shape) == 1):
        return order
    if value.state is None or found.get(value.state, row[1].channels) != row[1].channels:
        return None
    if value.shape[-1] == features:
        found[value.state] = row[1].channels
    return order if value.shape[-1] == features else None


def _after(step: Step, given: list[tuple[Value, _Order]], others: list[Value]) -> _Order | None:
    """Return the order of a step's output; None where it is not known and numbers were mixed."""
    value, first = next((pair for pair in given if not _is_neutral(pair[0])), given[0])
    shape, sizes = value.shape, step.output.shape
    if step.name not in _OF_IMAGES and all(order == _SAME for _, order in given):
        return _SAME
    if step.name in (*_OF_IMAGES, *_OVER_FEATURES) and (len(given) > 1 or step.values[0] is not value):
        return None
    if step.name in _OF_IMAGES:
        return _IMAGE if first == _IMAGE or _is_trivial(shape) else None
    if step.name == "global_avg_pool2d":
        return _SAME if first == _IMAGE or _is_trivial(shape) else None
    if step.name == "linear":
        return {"rows": _SAME, "image": _IMAGE}.get(first.name)
    if step.name in ("reshape", "flatten"):
        return _reshaped(first, shape, sizes)
    if step.name == "permute_dims":
        return _permuted(first, step.inputs[1])
    if step.name in _REDUCTIONS:
        return _reduced(first, shape, step.options.get("axis"))
    if step.name == "concat":
        joined = {order for _, order in given}
        if first.name == "rows":  # a 1 beside each row, as in an augmented Linear
            return first if len(given) == 1 and all(value.shape[-1] == 1 for value in others) else None
        return first if len(joined) == 1 else None
    if step.name in ("getitem", "matmul", "broadcast_to"):
        return first if first == _IMAGE and len(sizes) == 4 and step.name == "getitem" else None
    alike = all(order == first for value, order in given if not _is_neutral(value))
    return first if alike and len(sizes) == len(shape) else None


def _reshaped(order: _Order, shape: tuple[Any, ...], sizes: tuple[Any, ...]) -> _Order | None:
    one, other = _count(shape), _count(sizes)
    if order.name == "rows":
        if len(sizes) == 2 and one == other:
            return order
        return _IMAGE if len(sizes) == 4 and sizes[-1] == order.channels and sizes[0] == shape[0] else None
    if order == _FIRST:
        return _SAME if len(sizes) < 4 else None
    if order != _IMAGE:
        return None
    channels = shape[-1]
    if _is_trivial(shape) and len(sizes) < 4:
        return _SAME
    if len(sizes) == 2 and sizes[0] == shape[0]:
        return _Order("rows", channels)
    if sizes[-1] != channels:
        return None
    return _IMAGE if len(sizes) == 4 and sizes[0] == shape[0] else _SAME  # pixels one after the other


def _permuted(order: _Order, axes: Iterable[int]) -> _Order | None:
    axes = tuple(axes)
    if order == _IMAGE:
        return _IMAGE if axes == (0, 1, 2, 3) else _FIRST if axes == (0, 3, 1, 2) else None
    return _IMAGE if order == _FIRST and axes == (0, 2, 3, 1) else None


def _reduced(order: _Order, shape: tuple[Any, ...], axis: Any) -> _Order | None:
    rank = len(shape)
    axes = set(range(rank)) if axis is None else {a % rank for a in (axis if isinstance(axis, tuple) else (axis,))}
    if order.name == "rows":
        return _SAME if rank - 1 in axes else order
    if order == _IMAGE:
        return _SAME if {1, 2} <= axes or 3 in axes else None
    return _SAME if order == _FIRST and {2, 3} <= axes else None


def _is_neutral(value: Value) -> bool:
    """Whether a value is one number for all features, or one for each channel of an image, which has one order."""
    return not value.shape or value.shape[-1] == 1 or (len(value.shape) == 4 and value.shape[1:3] == (1, 1))


def _is_trivial(shape: tuple[Any, ...]) -> bool:
    """Whether the numbers of an image (N, H, W, C) lie in one order either way: one channel, or one pixel."""
    return shape[-1] == 1 or shape[1:-1] == (1,) * (len(shape) - 2)


def _count(shape: tuple[Any, ...]) -> int:
    """Count the numbers of an example."""
    return math.prod(n for n in shape if not isinstance(n, Batch))

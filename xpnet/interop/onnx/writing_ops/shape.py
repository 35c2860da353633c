"""Rearranging elements. A change of axes costs nothing in the file; a reshape needs the model's own order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpnet import ops
from xpnet.interop.graph import Batch, Size, Value
from xpnet.interop.onnx.writer import Stored, Writer
from xpnet.interop.onnx.writing_ops.registry import writes

__all__: list[str] = []

_LAST = (1 << 63) - 1


@writes(ops.flatten)
def flatten(g: Writer, x: Value) -> Stored:
    """Rows in the order of the file: a Linear after it permutes its weights instead."""
    stored = g.get(x)
    if len(x.shape) == 2:
        return stored
    if stored.axes[:1] != (0,) or any(isinstance(n, Batch) for n in x.shape[1:]):
        stored = g.plain(stored)
    name = g.node("Flatten", stored.name, axis=1)
    if stored.is_plain:
        return g.result(name)
    sizes = [int(n) for n in x.shape[1:]]  # type: ignore[arg-type]
    order = np.arange(math.prod(sizes)).reshape(sizes).transpose([axis - 1 for axis in stored.axes[1:]]).ravel()
    return g.result(name, columns=None if (np.diff(order) == 1).all() else order)


@writes(ops.reshape)
def reshape(g: Writer, x: Value, shape: tuple[Size, ...]) -> Stored:
    """Reshape; to rows as flatten."""
    new = g.step.output.shape  # type: ignore[union-attr]
    if new == x.shape:
        return g.get(x)
    if (
        len(new) == 2
        and len(x.shape) > 2
        and new[0] == x.shape[0]
        and not any(isinstance(n, Batch) for n in x.shape[1:])
    ):
        return flatten(g, x)
    return g.result(g.node("Reshape", g.plain(x).name, g.sizes(new, inferred=True)))


@writes(ops.permute_dims)
def permute_dims(g: Writer, x: Value, axes: tuple[int, ...]) -> Stored:
    """Nothing in the file: the axes have other numbers."""
    stored = g.get(x)
    stored = g.plain(stored) if stored.columns is not None else stored
    return g.result(stored.name, tuple(axes.index(axis) for axis in stored.axes))


@writes(ops.broadcast_to)
def broadcast_to(g: Writer, x: Value, shape: tuple[Size, ...]) -> Stored:
    """Expand, in which 1 keeps a size."""
    new = g.step.output.shape  # type: ignore[union-attr]
    stored, missing = g.plain(x), len(new) - len(x.shape)
    sizes = [1 if i >= missing and n == x.shape[i - missing] else n for i, n in enumerate(new)]
    return g.result(g.node("Expand", stored.name, g.sizes(sizes)))


@writes(ops.concat)
def concat(g: Writer, *arrays: Value, axis: int = 0) -> Stored:
    """Concat, or Pad where one value among equal constants is joined with them."""
    rank = len(arrays[0].shape)
    axis %= rank
    stored = {i: g.get(x) for i, x in enumerate(arrays) if x.array is None}
    axes = next((x.axes for x in stored.values() if not x.is_plain), tuple(range(rank)))
    along = rank == 2 and axis == 1  # then orders of columns are joined
    columns = None
    if along and any(x.columns is not None for x in stored.values()):
        parts, start = [], 0
        for i, x in enumerate(arrays):
            count = int(x.shape[1])  # type: ignore[arg-type]
            own = stored[i].columns if i in stored else None
            parts.append(start + (np.arange(count) if own is None else own))
            start += count
        columns = np.concatenate(parts)
    names = {i: x.name if along and x.columns is not None else g.ordered(x, axes).name for i, x in stored.items()}
    values = [x.array.flat[0] for x in arrays if x.array is not None and x.array.size]
    uniform = all((x.array == values[0]).all() for x in arrays if x.array is not None) if values else True
    if len(stored) == 1 and len(arrays) > 1 and uniform:
        (i,) = stored
        place, pads = axes.index(axis), [0] * (2 * rank)
        pads[place] = sum(int(x.shape[axis]) for x in arrays[:i])  # type: ignore[arg-type]
        pads[rank + place] = sum(int(x.shape[axis]) for x in arrays[i + 1 :])  # type: ignore[arg-type]
        value = g.constant(values[0] if values else 0, arrays[i].dtype)
        return g.result(g.node("Pad", names[i], g.integers(pads), value), axes, columns)
    for i, x in enumerate(arrays):
        if i not in names:
            names[i] = g.ordered(x, axes).name
    return g.result(g.node("Concat", *(names[i] for i in range(len(arrays))), axis=axes.index(axis)), axes, columns)


@writes(ops.getitem)
def getitem(g: Writer, x: Value, index: Any) -> Stored:
    """Slice, then Squeeze of the axes that an integer takes."""
    parts, rank = list(index) if isinstance(index, tuple) else [index], len(x.shape)
    at = next((i for i, part in enumerate(parts) if part is ...), len(parts))
    parts[at : at + 1] = [slice(None)] * (rank - len(parts) + (at < len(parts)))
    stored = g.get(x)
    stored = g.plain(stored) if stored.columns is not None else stored
    starts, stops, steps, places, gone = ([] for _ in range(5))
    for axis, (part, size) in enumerate(zip(parts, x.shape, strict=True)):
        bounds = _bounds(g, part, size)
        if not isinstance(part, slice):
            gone.append(axis)
        if bounds != (0, _LAST, 1):
            places.append(stored.axes.index(axis))
            for found, bound in zip((starts, stops, steps), bounds, strict=True):
                found.append(bound)
    name = stored.name
    if places:
        name = g.node("Slice", name, *(g.sizes(numbers) for numbers in (starts, stops, places, steps)))
    if gone:
        name = g.node("Squeeze", name, g.integers(sorted(stored.axes.index(axis) for axis in gone)))
    left = [axis for axis in range(rank) if axis not in gone]
    return g.result(name, tuple(left.index(axis) for axis in stored.axes if axis in left))


def _bounds(g: Writer, part: Any, size: Size) -> tuple[Size, Size, int]:
    """Start, stop and step of an index; to the end of the axis is _LAST."""
    if isinstance(size, Batch):
        if not isinstance(part, slice):
            if isinstance(part, Batch):
                raise g.unsupported("an index that depends on the number of examples", "export with a fixed batch")
            return part, _LAST if part == -1 else part + 1, 1
        start, stop, step = part.start or 0, part.stop, part.step or 1
        stop = _LAST if stop is None or stop == size else stop
        return start, stop, step
    if not isinstance(part, slice):
        part %= size
        return part, _LAST if part == size - 1 else part + 1, 1
    start, stop, step = part.indices(size)
    return start, _LAST if stop >= size else stop, step

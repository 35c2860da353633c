"""Taking elements by index, choosing by a mask, sorting, and setting elements."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpnet import ops
from xpnet.errors import ConfigError, DTypeError, ShapeError
from xpnet.interop.onnx import functions
from xpnet.interop.onnx.reading_ops.elementwise import whole
from xpnet.interop.onnx.registry import reads
from xpnet.interop.onnx.run import axis_of
from xpnet.interop.onnx.values import Value, is_host, shape_of

__all__ = ["gather", "one_hot", "top_k", "where"]


def _indices(run: Any, node: Any, indices: Any, n: int) -> np.ndarray:
    """Return indices of the host, counted from 0, each within an axis of n."""
    found = run.host(indices)
    if found.dtype.kind not in "iu":
        raise DTypeError(node.where, "indices that are integers", dtype=found.dtype)
    if found.size and not -n <= int(found.min()) <= int(found.max()) < n:
        raise ShapeError(node.where, f"indices within the axis of {n}", smallest=found.min(), largest=found.max())
    return np.where(found < 0, found + n, found).astype(np.int64)


@reads("Gather", parameters={0: "weight"}, kind="gather")
def gather(run: Any, node: Any, x: Any, indices: Any) -> Any:
    """Take elements along an axis, such as the rows of an embedding."""
    shape = shape_of(x)
    axis = axis_of(node.where, node.integer("axis", 0), len(shape))
    places = _indices(run, node, indices, shape[axis])
    run.claim((*shape[:axis], *places.shape, *shape[axis + 1 :]))
    if is_host(x):
        return np.take(x, places, axis)
    y = run.taken(x, places.reshape(-1), axis)
    return Value(y.arranged(None).reshape(*shape[:axis], *places.shape, *shape[axis + 1 :]))


@reads("GatherElements", 11, kind="gather")
def gather_elements(run: Any, node: Any, x: Any, indices: Any) -> Any:
    """Take an element along an axis for each index."""
    shape = shape_of(x)
    axis = axis_of(node.where, node.integer("axis", 0), len(shape))
    places = _indices(run, node, indices, shape[axis])
    others = [n for i, n in enumerate(shape) if i != axis]
    if places.ndim != len(shape) or any(n > m for n, m in zip(np.delete(places.shape, axis), others, strict=True)):
        raise ShapeError(node.where, "indices of the rank of x", x=shape, indices=places.shape)
    grid: list[Any] = list(np.indices(places.shape, sparse=True))
    grid[axis] = places
    if is_host(x):
        return x[tuple(grid)]
    run.claim(places.shape)
    flat = sum(g * math.prod(shape[i + 1 :]) for i, g in enumerate(grid)) + np.zeros(places.shape, np.int64)
    return Value(run.apply(functions.take_along, run.tensor(x), places=flat))


@reads("GatherND", 11, kind="gather")
def gather_nd(run: Any, node: Any, x: Any, indices: Any) -> Any:
    """Take parts of x whose leading axes the rows of indices name."""
    shape, rows, batch = shape_of(x), run.host(indices), node.integer("batch_dims", 0)
    if rows.dtype.kind not in "iu" or not rows.ndim:
        raise DTypeError(node.where, "indices of integers", dtype=rows.dtype)
    k = rows.shape[-1]
    if not 0 <= batch < min(len(shape), rows.ndim) or batch + k > len(shape) or rows.shape[:batch] != shape[:batch]:
        raise ShapeError(node.where, "indices that name leading axes of x", x=shape, indices=rows.shape)
    columns = [_indices(run, node, rows[..., i], shape[batch + i]) for i in range(k)]
    lead = [g.reshape(g.shape + (1,) * (rows.ndim - 1 - batch)) for g in np.indices(shape[:batch], sparse=True)]
    flat = np.zeros(rows.shape[:-1], np.int64)
    for i, part in enumerate([*lead, *columns]):
        flat = flat + part * math.prod(shape[i + 1 : batch + k])
    rest = shape[batch + k :]
    run.claim((*flat.shape, *rest))
    if is_host(x):
        return x.reshape(-1, *rest)[flat]
    table = run.tensor(x).reshape(math.prod(shape[: batch + k]), *rest)
    y = run.apply(functions.take, table, flat.reshape(-1), axis=0)
    return Value(y.reshape(*flat.shape, *rest))


@reads("OneHot", 9)
def one_hot(run: Any, node: Any, indices: Any, depth: Any, values: Any) -> np.ndarray:
    """Return values[1] at each index along a new axis, else values[0]."""
    places, n, values = run.host(indices), int(run.scalar(depth, "depth")), run.host(values)
    if values.shape != (2,) or n < 0:
        raise ShapeError(node.where, "two values, and depth >= 0", values=values.shape, depth=n)
    axis = axis_of(node.where, node.integer("axis", -1), places.ndim + 1)
    run.claim((*places.shape, n), values.itemsize)
    places = places.astype(np.int64)
    places = np.expand_dims(np.where(places < 0, places + n, places), axis)
    line = np.arange(n).reshape((1,) * axis + (n,) + (1,) * (places.ndim - axis - 1))
    return np.where(places == line, values[1], values[0]).astype(values.dtype)


@reads("Where", 9)
def where(run: Any, node: Any, mask: Any, a: Any, b: Any) -> Any:
    """Return a where the mask is true, else b."""
    mask = run.host(mask)
    if mask.dtype.kind != "b":
        raise DTypeError(node.where, "a mask of truth values", dtype=mask.dtype)
    if is_host(a) and is_host(b):
        return run.compute(np.where, mask, a, b)
    if whole(a) or whole(b):
        raise DTypeError(node.where, "two values of one kind", dtypes=f"{a.dtype}, {b.dtype}")
    tensors, order = run.aligned((a, b))
    rank = max(mask.ndim, *(t.ndim for t in tensors))
    if order is not None and rank > len(order):
        tensors, order = [run.tensor(a), run.tensor(b)], None
    if order is not None and mask.ndim:
        mask = np.transpose(mask.reshape((1,) * (rank - mask.ndim) + mask.shape), order)
    here = run.backend.from_numpy(np.ascontiguousarray(mask) if mask.ndim else mask)
    return Value(run.apply(ops.where, here, *tensors), order)


@reads("TopK", 10)
def top_k(run: Any, node: Any, x: Any, count: Any) -> tuple[Any, np.ndarray]:
    """Return the k largest or smallest numbers along an axis, and where they are."""
    return _top(run, node, x, int(run.scalar(count, "K")))


@reads("TopK", 1, 9)
def old_top_k(run: Any, node: Any, x: Any) -> tuple[Any, np.ndarray]:
    """Return the k largest numbers along an axis, k being an attribute."""
    return _top(run, node, x, node.integer("k"))


def _top(run: Any, node: Any, x: Any, k: int) -> tuple[Any, np.ndarray]:
    array = run.host(x)
    axis = axis_of(node.where, node.integer("axis", -1), array.ndim)
    n = array.shape[axis]
    if not 0 <= k <= n:
        raise ShapeError(node.where, "0 <= K <= the size of the axis", x=array.shape, K=k)
    if node.flag("largest", True):
        order = n - 1 - np.flip(np.argsort(np.flip(array, axis), axis=axis, kind="stable"), axis)
    else:
        order = np.argsort(array, axis=axis, kind="stable")
    places = np.take(order, np.arange(k), axis)
    if is_host(x):
        return np.take_along_axis(array, places, axis), places.astype(np.int64)
    grid: list[Any] = list(np.indices(places.shape, sparse=True))
    grid[axis] = places
    flat = sum(g * math.prod(array.shape[i + 1 :]) for i, g in enumerate(grid)) + np.zeros(places.shape, np.int64)
    return Value(run.apply(functions.take_along, run.tensor(x), places=flat)), places.astype(np.int64)


@reads("NonZero", 9)
def non_zero(run: Any, node: Any, x: Any) -> np.ndarray:
    """Return where elements are not 0, an axis a row."""
    x = run.host(x)
    run.claim((x.ndim, x.size))
    return np.array(np.nonzero(x) if x.ndim else np.zeros((0, int(x != 0))), np.int64)


@reads("Compress", 9)
def compress(run: Any, node: Any, x: Any, condition: Any) -> Any:
    """Take the places of an axis, or of all elements, where a condition is true."""
    axis, places = node.integer("axis", None), np.flatnonzero(run.host(condition))
    if axis is None:
        x = x.reshape(-1) if is_host(x) else Value(run.tensor(x).reshape(math.prod(shape_of(x))))
        axis = 0
    axis = axis_of(node.where, axis, len(shape_of(x)))
    if len(places) and places[-1] >= shape_of(x)[axis]:
        raise ShapeError(node.where, "conditions of the axis", x=shape_of(x), condition=run.host(condition).shape)
    return x.take(places, axis) if is_host(x) else run.taken(x, places, axis)


@reads("Trilu", 14)
def trilu(run: Any, node: Any, x: Any, k: Any = None) -> Any:
    """Keep the triangle above, or below, a diagonal of each matrix."""
    shape, at = shape_of(x), int(run.scalar(k, "k", 0))
    if len(shape) < 2:
        raise ShapeError(node.where, "matrices", x=shape)
    run.claim(shape[-2:], 1)
    columns, rows = np.arange(shape[-1])[None, :], np.arange(shape[-2])[:, None]
    mask = columns - rows >= at if node.flag("upper", True) else columns - rows <= at
    if is_host(x):
        return np.where(mask, x, 0).astype(x.dtype)
    here, t = run.backend.from_numpy(mask), run.tensor(x)
    return Value(run.apply(ops.where, here, t, 0.0))


@reads("ScatterND", 11, kind="scatter")
def scatter_nd(run: Any, node: Any, x: Any, indices: Any, updates: Any) -> Any:
    """Set parts of x whose leading axes the rows of indices name, or add to them."""
    shape, rows = shape_of(x), run.host(indices)
    if rows.dtype.kind not in "iu" or not rows.ndim or rows.shape[-1] > len(shape):
        raise ShapeError(node.where, "indices that name leading axes of x", x=shape, indices=rows.shape)
    k = rows.shape[-1]
    if shape_of(updates) != (*rows.shape[:-1], *shape[k:]):
        raise ShapeError(node.where, "updates of the parts that are named", updates=shape_of(updates), x=shape)
    columns = [_indices(run, node, rows[..., i], shape[i]) for i in range(k)]
    flat = np.zeros(rows.shape[:-1], np.int64)
    for i, part in enumerate(columns):
        flat = flat + part * math.prod(shape[i + 1 : k])
    inner = np.arange(math.prod(shape[k:])).reshape(shape[k:])
    run.claim((*flat.shape, *shape[k:]))
    flat = flat.reshape(flat.shape + (1,) * inner.ndim) * math.prod(shape[k:]) + inner
    return _scattered(run, node, x, flat, updates)


@reads("ScatterElements", 11, kind="scatter")
def scatter_elements(run: Any, node: Any, x: Any, indices: Any, updates: Any) -> Any:
    """Set an element along an axis for each index, or add to it."""
    shape = shape_of(x)
    axis = axis_of(node.where, node.integer("axis", 0), len(shape))
    places = _indices(run, node, indices, shape[axis])
    if places.ndim != len(shape) or shape_of(updates) != places.shape:
        raise ShapeError(node.where, "indices and updates of one shape", x=shape, indices=places.shape)
    grid: list[Any] = list(np.indices(places.shape, sparse=True))
    if any(n > m for i, (n, m) in enumerate(zip(places.shape, shape, strict=True)) if i != axis):
        raise ShapeError(node.where, "indices within x", x=shape, indices=places.shape)
    grid[axis] = places
    flat = sum(g * math.prod(shape[i + 1 :]) for i, g in enumerate(grid)) + np.zeros(places.shape, np.int64)
    return _scattered(run, node, x, flat, updates)


def _scattered(run: Any, node: Any, x: Any, flat: np.ndarray, updates: Any) -> Any:
    """Put updates at places of the flattened x."""
    how = node.choice("reduction", "none", ("none", "add", "mul", "min", "max"))
    joins = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}
    if is_host(x) and is_host(updates):
        y = x.reshape(-1).copy()
        if how == "none":
            y[flat] = updates
        else:
            joins[how].at(y, flat, updates)
        return y.reshape(x.shape)
    if how not in ("none", "add"):
        raise ConfigError(node.where, "reduction none or add of floating numbers", reduction=repr(how))
    t, new = run.tensor(x), run.tensor(updates)
    return Value(run.apply(functions.scatter, t, new, places=flat, add=how == "add"))

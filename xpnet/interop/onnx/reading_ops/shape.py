"""Rearranging: shapes, axes, joining and repetition. A Transpose only notes the new order of axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpnet import ops
from xpnet.errors import DTypeError, ShapeError
from xpnet.interop.onnx.registry import reads
from xpnet.interop.onnx.run import axis_of
from xpnet.interop.onnx.stored import dtype_of
from xpnet.interop.onnx.values import Value, is_host, shape_of

__all__ = ["cast", "concat", "reshape", "reshaped", "transpose"]

_NONE: Any = object()


def reshaped(run: Any, x: Any, shape: tuple[int, ...]) -> Any:
    """Return the elements of a value, in its own order of axes, in another shape."""
    if is_host(x):
        return x.reshape(shape)
    return Value(x.arranged(None).reshape(*shape))


def _integers(run: Any, node: Any, given: Any, name: str, default: Any = _NONE) -> Any:
    """Return a list of integers: an input in newer versions of an op, an attribute in older ones."""
    if given is not None:
        return run.integers(given, name)
    return node.integers(name) if default is _NONE else node.integers(name, default)


@reads("Reshape", 5, family="reshape", inputs=2)
@reads("Reshape", 1, 4, family="reshape", inputs=1)
def reshape(run: Any, node: Any, x: Any, shape: Any = None) -> Any:
    """Read the elements in another shape; 0 copies a size, and -1 follows from the others."""
    old, shape = shape_of(x), _integers(run, node, shape, "shape")
    if not node.flag("allowzero"):
        if any(n == 0 and i >= len(old) for i, n in enumerate(shape)):
            raise ShapeError(node.where, "a size to copy for each 0", x=old, shape=shape)
        shape = tuple(old[i] if n == 0 else n for i, n in enumerate(shape))
    if run.batch is not None and old and shape and (shape[0], old[0]) == run.batch:
        shape = (old[0], *shape[1:])
    known, count = math.prod(n for n in shape if n != -1), math.prod(old)
    if any(n < -1 for n in shape) or shape.count(-1) > 1:
        raise ShapeError(node.where, "sizes, of which one may be -1", shape=shape)
    if -1 in shape:
        if not known or count % known:
            raise ShapeError(node.where, "shapes of the same number of elements", x=old, shape=shape)
        shape = tuple(count // known if n == -1 else n for n in shape)
    if math.prod(shape) != count:
        raise ShapeError(node.where, "shapes of the same number of elements", x=old, shape=shape)
    return x if shape == old else reshaped(run, x, shape)


@reads("Flatten", family="reshape")
def flatten(run: Any, node: Any, x: Any) -> Any:
    """Make a matrix: the axes before one, and those from it on."""
    shape, axis = shape_of(x), node.integer("axis", 1)
    if axis != len(shape):
        axis = axis_of(node.where, axis, len(shape))
    return reshaped(run, x, (math.prod(shape[:axis]), math.prod(shape[axis:])))


@reads("Transpose", family="reshape")
def transpose(run: Any, node: Any, x: Any) -> Any:
    """Reorder the axes."""
    rank = len(shape_of(x))
    perm = node.integers("perm", tuple(range(rank))[::-1])
    if sorted(perm) != list(range(rank)):
        raise ShapeError(node.where, "perm, a permutation of the axes", x=shape_of(x), perm=perm[:32])
    return np.transpose(x, perm) if is_host(x) else Value(x.tensor, [perm.index(a) for a in x.axes()])


@reads("Squeeze", 13, family="reshape")
@reads("Squeeze", 1, 12, family="reshape", inputs=1)
def squeeze(run: Any, node: Any, x: Any, axes: Any = None) -> Any:
    """Drop axes of size 1, by default all."""
    shape, axes = shape_of(x), _integers(run, node, axes, "axes", None)
    dropped = {i for i, n in enumerate(shape) if n == 1} if axes is None else {
        axis_of(node.where, a, len(shape), "axes") for a in axes
    }  # fmt: skip
    if any(shape[a] != 1 for a in dropped):
        raise ShapeError(node.where, "axes of size 1", x=shape, axes=axes)
    rest = tuple(n for i, n in enumerate(shape) if i not in dropped)
    if is_host(x):
        return x.reshape(rest)
    order = [a for a in x.axes() if a not in dropped]
    tensor = x.tensor.reshape(*(shape[a] for a in order))
    return Value(tensor, [sorted(order).index(a) for a in order])


@reads("Unsqueeze", 13, family="reshape", inputs=2)
@reads("Unsqueeze", 1, 12, family="reshape", inputs=1)
def unsqueeze(run: Any, node: Any, x: Any, axes: Any = None) -> Any:
    """Add axes of size 1."""
    shape, axes = list(shape_of(x)), _integers(run, node, axes, "axes")
    rank = len(shape) + len(axes)
    places = sorted(axis_of(node.where, a, rank, "axes") for a in axes)
    if len(set(places)) < len(places) or rank > 32:
        raise ShapeError(node.where, "distinct axes, 32 at most", axes=axes[:32])
    for place in places:
        shape.insert(place, 1)
    return reshaped(run, x, tuple(shape))


@reads("Concat", kind="concat", family="sum")
def concat(run: Any, node: Any, *values: Any) -> Any:
    """Join values along an axis; before opset 4, by default the second."""
    axis = node.integer("axis") if node.opset >= 4 else node.integer("axis", 1)
    if not values or any(v is None for v in values):
        raise ShapeError(node.where, "values to join", values=len(values))
    rank = len(shape_of(values[0]))
    axis = axis_of(node.where, axis, rank)
    if any(len(shape_of(v)) != rank for v in values):
        raise ShapeError(node.where, "values of one rank", shapes=[shape_of(v) for v in values][:8])
    if all(map(is_host, values)):
        if len({v.dtype for v in values}) > 1:
            raise DTypeError(node.where, "values of one dtype", dtypes=", ".join(str(v.dtype) for v in values[:8]))
        run.claim((sum(v.nbytes for v in values),), 1)
        return np.concatenate(values, axis)
    tensors, order = run.aligned(values)
    return Value(run.apply(ops.concat, *tensors, axis=axis if order is None else order.index(axis)), order)


@reads("Expand", 8, family="reshape")
def expand(run: Any, node: Any, x: Any, shape: Any) -> Any:
    """Repeat a value along axes of size 1 and new ones; a size of 1 keeps that of the value."""
    wanted = run.integers(shape, "shape")
    if any(n < 0 for n in wanted):
        raise ShapeError(node.where, "sizes that are not negative", shape=wanted)
    shape = np.broadcast_shapes(shape_of(x), wanted)
    if is_host(x):
        run.claim(shape, x.itemsize)
        return np.broadcast_to(x, shape)
    return Value(run.apply(ops.broadcast_to, x.arranged(None), shape=shape))


@reads("Tile", 6, family="reshape")
def tile(run: Any, node: Any, x: Any, repeats: Any) -> Any:
    """Repeat a value along its axes."""
    shape, counts = shape_of(x), run.integers(repeats, "repeats")
    if len(counts) != len(shape) or any(k < 0 for k in counts):
        raise ShapeError(node.where, "a repeat for each axis, >= 0", x=shape, repeats=counts[:32])
    whole = tuple(n * k for n, k in zip(shape, counts, strict=True))
    run.claim(whole, 8)
    if is_host(x):
        return np.tile(x, counts)
    apart = tuple(n for pair in zip(shape, (1,) * len(shape), strict=True) for n in reversed(pair))  # 1, n, 1, m, ...
    t = x.arranged(None).reshape(*apart)
    wide = tuple(m for pair in zip(counts, shape, strict=True) for m in pair)
    return Value(run.apply(ops.broadcast_to, t, shape=wide).reshape(*whole))


@reads("Shape")
def shape_value(run: Any, node: Any, x: Any) -> np.ndarray:
    """Return the sizes from start to end."""
    return np.array(shape_of(x)[node.integer("start", None) : node.integer("end", None)], np.int64)


@reads("Size")
def size(run: Any, node: Any, x: Any) -> np.ndarray:
    """Return the number of elements."""
    return np.array(math.prod(shape_of(x)), np.int64)


@reads("Cast", 6)
def cast(run: Any, node: Any, x: Any) -> Any:
    """Convert to another dtype; floating numbers to integers toward zero."""
    node.integer("saturate", 1)
    return converted(run, x, dtype_of(node.where, node.integer("to")))


@reads("CastLike", 15)
def cast_like(run: Any, node: Any, x: Any, like: Any) -> Any:
    """Convert to the dtype of another value."""
    if is_host(like):
        return converted(run, x, like.dtype)
    name = str(like.dtype).rpartition(".")[2]
    return x.astype(name) if is_host(x) else run.unary(ops.cast, x, name)


def converted(run: Any, x: Any, dtype: np.dtype[Any]) -> Any:
    """Return a value in another dtype; that of the file stands for the model's."""
    kept, used = run.dtypes
    if is_host(x):
        return run.compute(lambda a: a.astype(dtype), x)
    if dtype.kind == "f":
        return run.unary(ops.cast, x, used if dtype.name == kept else dtype.name)
    return run.compute(lambda a: a.astype(dtype), run.host(x))


@reads("DepthToSpace", family="reshape")
def depth_to_space(run: Any, node: Any, x: Any) -> Any:
    """Turn channels into blocks of pixels."""
    shape, b = _blocks(node, x), node.integer("blocksize")
    n, c, h, w = shape
    if c % (b * b):
        raise ShapeError(node.where, "channels that blocks divide", x=shape, blocksize=b)
    first = node.choice("mode", "DCR", ("DCR", "CRD")) == "DCR"  # rows and columns of blocks before the channels
    split, order = ((b, b, c // b**2), (0, 3, 4, 1, 5, 2)) if first else ((c // b**2, b, b), (0, 1, 4, 2, 5, 3))
    return Value(run.tensor(x).reshape(n, *split, h, w).permute(*order).reshape(n, c // b**2, h * b, w * b))


@reads("SpaceToDepth", family="reshape")
def space_to_depth(run: Any, node: Any, x: Any) -> Any:
    """Turn blocks of pixels into channels."""
    shape, b = _blocks(node, x), node.integer("blocksize")
    n, c, h, w = shape
    if h % b or w % b:
        raise ShapeError(node.where, "rows and columns that blocks divide", x=shape, blocksize=b)
    first = node.choice("mode", "DCR", ("DCR", "CRD")) == "DCR"
    t = (
        run.tensor(x)
        .reshape(n, c, h // b, b, w // b, b)
        .permute(*((0, 3, 5, 1, 2, 4) if first else (0, 1, 3, 5, 2, 4)))
    )
    return Value(t.reshape(n, c * b * b, h // b, w // b))


def _blocks(node: Any, x: Any) -> tuple[int, ...]:
    if len(shape_of(x)) != 4 or not 1 <= node.integer("blocksize") <= 1 << 16:
        raise ShapeError(node.where, "images (N, C, H, W) and blocksize >= 1", x=shape_of(x))
    return shape_of(x)

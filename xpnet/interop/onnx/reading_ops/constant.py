"""Constants: given, or made of a shape or a range."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpnet.errors import ConfigError, DataError, DTypeError, ShapeError
from xpnet.interop.onnx.registry import reads
from xpnet.interop.onnx.stored import dtype_of
from xpnet.interop.onnx.values import shape_of

__all__ = ["constant", "constant_of_shape", "eye_like", "ranged"]


@reads("Constant")
def constant(run: Any, node: Any) -> np.ndarray:
    """Return the array of the node."""
    if len(node.attributes) != 1:
        raise DataError(node.where, "one attribute with the value", attributes=len(node.attributes))
    (name, value), kinds = next(iter(node.attributes.items())), {"value_float": np.float32, "value_int": np.int64}
    if name == "value" and isinstance(value, np.ndarray):
        return value
    kind = kinds.get(name.removesuffix("s"))
    if kind is None or isinstance(value, list) is not name.endswith("s"):
        raise DTypeError(node.where, "a tensor of numbers, or numbers", attribute=name)
    return np.array(value, kind)


@reads("ConstantOfShape", 9)
def constant_of_shape(run: Any, node: Any, shape: Any) -> np.ndarray:
    """Return one number in a shape."""
    value = node.attributes.get("value", np.zeros(1, np.float32))
    if not isinstance(value, np.ndarray) or value.size != 1:
        raise DataError(node.where, "value, a tensor of one number", value=getattr(value, "shape", None))
    sizes = run.claim(run.integers(shape, "shape"), value.itemsize)
    return np.broadcast_to(value.reshape(()), sizes)  # takes no memory


@reads("Range", 11)
def ranged(run: Any, node: Any, start: Any, limit: Any, delta: Any) -> np.ndarray:
    """Return start, start + delta, ... below limit."""
    values = [run.scalar(v, name) for v, name in ((start, "start"), (limit, "limit"), (delta, "delta"))]
    dtype = run.host(start).dtype
    if not values[2] or not all(map(math.isfinite, values)):
        raise ConfigError(node.where, "a finite range with a delta that is not 0", range=tuple(values))
    count = max(0, math.ceil((values[1] - values[0]) / values[2]))
    run.claim((count,), max(8, dtype.itemsize))
    return (values[0] + np.arange(count) * dtype.type(values[2])).astype(dtype)


@reads("EyeLike", 9)
def eye_like(run: Any, node: Any, x: Any) -> np.ndarray:
    """Return ones on a diagonal of a matrix of the shape of x."""
    shape, code = shape_of(x), node.integer("dtype", None)
    if len(shape) != 2:
        raise ShapeError(node.where, "x of rank 2", x=shape)
    dtype = dtype_of(node.where, code) if code is not None else run.host(x).dtype
    run.claim(shape, dtype.itemsize)
    return np.eye(*shape, k=node.integer("k", 0), dtype=dtype)

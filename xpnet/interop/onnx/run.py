"""One pass over a graph: where values live, in which dtype, and the one place where ops are applied to them.

Floating values are tensors on the model's backend, with an order of axes; integers and truth values are arrays of the
host, and so is what is computed of shapes and constants alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from xpnet.autograd import Tensor, apply
from xpnet.backend import Array, Backend, get_backend, namespace
from xpnet.errors import DTypeError, ShapeError
from xpnet.interop.onnx import functions
from xpnet.interop.onnx.limits import Budget, itemsize, macs_of, result_shape
from xpnet.interop.onnx.values import LAST, Value, is_host, shape_of

__all__ = ["Run", "axis_of", "pair"]

Op = Callable[..., tuple[Array, Any]]


class Run:
    """What a reader of an op computes with.

    Args:
        budget: bounds each result.
        backend: where floating values live.
        dtypes: the floating dtype of the file, and the one that stands for it in this pass, such as after
            model.to(dtype="float64").
        training: whether dropout drops and batch norm uses the batch.
    """

    def __init__(
        self, budget: Budget, backend: Backend, dtypes: tuple[str, str] | None = None, training: bool = False
    ) -> None:
        self.budget = budget
        self.backend = backend
        self.dtypes = dtypes or ("float32", "float32")
        self.training = training
        self.macs = 0  # multiply-adds so far
        self.layer: Any = None  # the module of the node that is computed
        self.batch: tuple[int, int] | None = None  # the number of examples that the file fixes, and the one there is

    def on_host(self) -> Run:
        """Return a pass that computes with arrays of the host alone, in their own dtypes."""
        return Run(self.budget, get_backend("numpy"), ("", ""))

    def apply(self, op: Op, *inputs: Any, **options: Any) -> Tensor:
        """Apply an op of xpnet to tensors, once its result is known to be within the budget."""
        arrays = [x for x in inputs if hasattr(x, "shape")]
        shapes = [tuple(x.shape) for x in arrays]
        self.budget.check(result_shape(op, shapes, options), _itemsize(arrays))
        self.budget.work(macs_of(op, shapes, options))
        return apply(op, *inputs, **options)

    def compute(self, function: Callable[..., Any], *arrays: np.ndarray, **options: Any) -> np.ndarray:
        """Apply a function of NumPy that computes element by element, with broadcasting."""
        shapes = [a.shape for a in arrays]
        self.budget.check(result_shape(function, shapes, {}), max((a.itemsize for a in arrays), default=8))
        return np.asarray(function(*arrays, **options))

    def claim(self, shape: Sequence[int], itemsize: int = 8) -> tuple[int, ...]:
        """Return the shape of an array that is about to be made on the host, once it is within the budget."""
        sizes = tuple(int(n) for n in shape)
        self.budget.check(sizes, itemsize)
        return sizes

    def constant(self, shape: Sequence[int], fill: float, like: Tensor) -> Tensor:
        """Return a tensor of one number throughout, of the dtype and where another is."""
        self.budget.check(shape, _itemsize([like]))
        xp = namespace(like.data)
        return Tensor(xp.full(tuple(shape), fill, dtype=like.dtype, device=like.data.device))

    def numbers(self, values: Any, like: Tensor) -> Tensor:
        """Return numbers of the host as a tensor, of the dtype and where another is."""
        array = np.asarray(values, np.float64)
        name = str(like.dtype).rpartition(".")[2]
        return Tensor(like.backend.from_numpy(np.ascontiguousarray(array.astype(name))))

    def value(self, x: Value | np.ndarray) -> Value:
        """Return a floating value; numbers of the host are brought to the backend."""
        if isinstance(x, Value):
            return x
        if x.dtype.kind != "f":
            raise DTypeError("onnx", "floating numbers", dtype=x.dtype)
        kept, used = self.dtypes
        if x.dtype.name == kept:
            x = x.astype(used, copy=False)
        return Value(Tensor(self.backend.from_numpy(np.ascontiguousarray(x) if x.ndim else x)))

    def tensor(self, x: Value | np.ndarray) -> Tensor:
        """Return a floating value as a tensor whose axes are the value's own."""
        return self.value(x).arranged(None)

    def last(self, x: Value | np.ndarray) -> Tensor:
        """Return images (N, C, H, W) as a tensor (N, H, W, C)."""
        return self.value(x).arranged(LAST)

    def host(self, x: Value | np.ndarray) -> np.ndarray:
        """Return a value as an array of the host; a pass that needs this of a floating value is not recorded."""
        return x if is_host(x) else x.arranged(None).numpy()  # pyright: ignore[reportAttributeAccessIssue, reportReturnType]

    def integers(self, x: Value | np.ndarray, what: str, rank: int | None = 1) -> tuple[int, ...]:
        """Return a value that is a list of integers."""
        array = self.host(x)
        if array.dtype.kind not in "iu":
            raise DTypeError("onnx", f"{what} of integers", dtype=array.dtype)
        if array.size > 1 << 16 or (rank is not None and array.ndim > rank):
            raise ShapeError("onnx", f"{what}, a list of integers", shape=array.shape)
        return tuple(int(n) for n in array.reshape(-1))

    def scalar(self, x: Value | np.ndarray | None, what: str, default: Any = None) -> Any:
        """Return a value that is one number, as Python's own."""
        if x is None:
            return default
        if int(np.prod(shape_of(x))) != 1:
            raise ShapeError("onnx", f"{what}, one number", shape=shape_of(x))
        return self.host(x).item()

    def unary(self, op: Op, x: Value | np.ndarray, *numbers: Any, **options: Any) -> Value:
        """Apply an op that computes each element alone."""
        x = self.value(x)
        return x.like(self.apply(op, x.tensor, *numbers, **options))

    def mapped(self, op: Op, x: Value | np.ndarray, axis: int, **options: Any) -> Value:
        """Apply an op that keeps the shape and works along one axis of the value."""
        x = self.value(x)
        return x.like(self.apply(op, x.tensor, axis=x.axis(axis), **options))

    def taken(self, x: Value, places: np.ndarray, axis: int) -> Value:
        """Take elements along an axis of a value by places of the host."""
        where = x.axis(axis)
        self.budget.check((*x.tensor.shape[:where], len(places), *x.tensor.shape[where + 1 :]), _itemsize([x.tensor]))
        return x.like(apply(functions.take, x.tensor, places, axis=where))

    def binary(self, op: Op, a: Value | np.ndarray, b: Value | np.ndarray) -> Value:
        """Apply an op that broadcasts two values; a number alone is passed as Python's own."""
        sides = [_number(x, shape_of(y)) for x, y in ((a, b), (b, a))]
        if sides[1] is not None and not is_host(a):
            x = self.value(a)
            return x.like(self.apply(op, x.tensor, sides[1]))
        if sides[0] is not None and not is_host(b):
            x = self.value(b)
            return x.like(self.apply(op, sides[0], x.tensor))
        tensors, order = self.aligned((a, b))
        return Value(self.apply(op, *tensors), order)

    def aligned(self, values: Iterable[Value | np.ndarray]) -> tuple[list[Tensor], tuple[int, ...] | None]:
        """Return values that broadcast as tensors of one order of axes, and that order."""
        found = [self.value(v) for v in values]
        rank = max(v.tensor.ndim for v in found)
        ordered = [v for v in found if v.order is not None and v.tensor.ndim == rank]
        order = max(ordered, key=lambda v: int(np.prod(v.tensor.shape))).order if ordered else None
        if order is None:
            return [v.arranged(None) for v in found], None
        tensors = []
        for v in found:
            if missing := rank - v.tensor.ndim:
                t = v.arranged(None)
                v = Value(t.reshape(*(1,) * missing, *t.shape)) if t.ndim else Value(t)
            tensors.append(v.arranged(order) if v.tensor.ndim else v.tensor)
        return tensors, order


def _itemsize(arrays: list[Any]) -> int:
    """Bytes of an element of a result."""
    return itemsize(arrays[0].dtype) if arrays else 4


def _number(x: Value | np.ndarray, other: tuple[int, ...]) -> float | None:
    """A number of the host that broadcasts to another value without adding axes, as a float."""
    if isinstance(x, np.ndarray) and x.size == 1 and x.ndim <= len(other) and x.dtype.kind == "f":
        return float(x.item())
    return None


def axis_of(where: str, axis: int, rank: int, name: str = "axis") -> int:
    """Count an axis from 0; ShapeError for one that a value of a rank does not have."""
    if not -rank <= axis < rank:
        raise ShapeError(where, f"-{rank} <= {name} < {rank}", **{name: axis})
    return axis % rank


def pair(values: Sequence[int]) -> tuple[int, int]:
    """Return the last two numbers, of an image, from one or two; one is that of columns."""
    return (values[0], values[1]) if len(values) == 2 else (1, values[0])

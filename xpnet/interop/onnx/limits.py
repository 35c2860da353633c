"""What a file may make its reader compute: bounds on bytes and work, checked from shapes before an array is made.

A file of a hundred bytes may ask for an array of any size, by ConstantOfShape, Expand or a product of two vectors. So
every result passes ``Budget.check`` before it is computed, and what is kept from loading passes ``Budget.charge``.
A small result may take hours, of windows as large as the image: what it takes passes ``Budget.work`` and ``taps``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from xpnet import ops
from xpnet.errors import DataError, ShapeError

__all__ = ["MOST_BYTES", "MOST_TAPS", "Budget", "itemsize", "macs_of", "result_shape"]

MOST_BYTES = 1 << 30  # of one value, and of all constants that are computed while a file is read
MOST_TAPS = 4096  # rows or columns of a window, each of which is a pass over the images
_MACS, _MACS_EACH = 1 << 39, 1 << 22  # multiply-adds of a pass; or for each number of its inputs, where that is more
_TAPS, _TAPS_EACH = 1 << 31, 64  # numbers that windows read; or for each number of the images
_RAISE = "raise max_bytes of load_onnx, if you trust the file"
_KEPT = 8  # times the bytes of one value: what a pass may keep at a time
_RATIO = 256  # times the bytes of the inputs, where that is more: what one value of a run may take


class Budget:
    """The bytes that one value, and all constants of a file together, may take.

    Args:
        most: of a value, and of the constants that are computed.
        stored: bytes that the file itself holds, which its constants may take too.
        macs: multiply-adds that a pass may take, where that is more than those of every pass.
    """

    def __init__(self, most: int = MOST_BYTES, stored: int = 0, macs: int = 0) -> None:
        self.most = most
        self.macs = max(_MACS * max(1, most // MOST_BYTES), macs)
        self._taps = _TAPS * max(1, most // MOST_BYTES)
        self.total = most + 2 * stored
        self.spent = 0
        self.kept = 0  # bytes of the values that a pass keeps at present

    def for_inputs(self, nbytes: int) -> Budget:
        """Return the budget of a run on inputs of so many bytes."""
        found = Budget(self.most, macs=_MACS_EACH * (nbytes // 4))
        found.most = max(self.most, _RATIO * nbytes)
        return found

    def work(self, macs: int) -> None:
        """Count the multiply-adds of a product.

        Raises:
            DataError: a pass takes more than its inputs account for.
        """
        self.macs -= macs
        if self.macs < 0:
            raise DataError.event("onnx", "more multiply-adds than inputs of this size account for", _RAISE, macs=macs)

    def taps(self, count: int, size: int) -> None:
        """Check how many numbers windows read of images of some size, both in numbers.

        Raises:
            DataError: they are too many for these images.
        """
        if count > max(self._taps, _TAPS_EACH * size):
            what = "windows that overlap more than images of this size account for"
            raise DataError.event("onnx", what, _RAISE, reads=f"{count:,}", pixels=f"{size:,}")

    def check(self, shape: Sequence[int], itemsize: int = 4) -> None:
        """Raise unless an array of a shape may be made.

        Raises:
            ShapeError: a size is negative. DataError: the array would exceed the budget.
        """
        if any(n < 0 for n in shape):
            raise ShapeError("onnx", "sizes that are not negative", shape=tuple(shape))
        size = math.prod(shape) * itemsize
        if size > self.most:
            what = f"a value of more than {self.most:,} bytes"
            raise DataError.event("onnx", what, _RAISE, shape=tuple(shape), bytes=f"{size:,}")

    def keep(self, values: Iterable[Any]) -> None:
        """Count values that a pass keeps until their last use.

        Raises:
            DataError: all that it keeps at present exceed eight times the budget of one.
        """
        self.kept += sum(map(_nbytes, values))
        if self.kept > _KEPT * self.most:
            what, do = f"values of more than {_KEPT * self.most:,} bytes at a time", "use smaller batches or inputs"
            raise DataError.event("onnx", what, do)

    def drop(self, value: Any) -> None:
        """Count that a value is not kept any more."""
        self.kept -= _nbytes(value)

    def charge(self, nbytes: int) -> None:
        """Count a constant that is kept.

        Raises:
            DataError: all constants together exceed the budget.
        """
        self.spent += nbytes
        if self.spent > self.total:
            raise DataError.event("onnx", f"constants of more than {self.total:,} bytes", _RAISE)


def _nbytes(value: Any) -> int:
    return 0 if value is None else math.prod(value.shape) * itemsize(value.dtype)


def itemsize(dtype: Any) -> int:
    """Return the bytes of an element of a dtype of any library."""
    name = str(dtype)
    return 8 if "64" in name else 2 if "16" in name else 1 if "8" in name or "bool" in name else 4


def result_shape(op: Callable[..., Any], shapes: list[tuple[int, ...]], options: dict[str, Any]) -> tuple[int, ...]:
    """Return the largest shape that an op makes of arrays of some shapes; a shape that does not fit is left to the op.

    Ops that are not listed here compute element by element, or reduce: their result is no larger than what their
    arrays broadcast to.
    """
    rule = _RULES.get(op)
    return broadcast(shapes) if rule is None else rule(shapes, options)


def broadcast(shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Return what shapes broadcast to."""
    rank = max(map(len, shapes), default=0)
    padded = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(0 if 0 in sizes else max(sizes) for sizes in zip(*padded, strict=True))


def macs_of(op: Callable[..., Any], shapes: list[tuple[int, ...]], options: dict[str, Any]) -> int:
    """Return the multiply-adds of a product of arrays of some shapes; 0 for other ops, and shapes that do not fit."""
    if op is ops.conv2d:
        (n, *sizes, _), (f, *kernel, c) = shapes[:2]
        settings = [_pair(options.get(name, first)) for name, first in (("padding", 0), ("dilation", 1), ("stride", 1))]
        outs = [(m + 2 * p - d * (k - 1) - 1) // s + 1 for m, k, p, d, s in zip(sizes, kernel, *settings, strict=True)]
        return n * math.prod([max(0, out) for out in outs]) * f * math.prod(kernel) * c
    return math.prod(_RULES[op](shapes, options)) * shapes[0][-1] if op in (ops.matmul, ops.linear) else 0


def _matmul(shapes: list[tuple[int, ...]], options: dict[str, Any]) -> tuple[int, ...]:
    a, b = shapes
    return (*broadcast([a[:-2], b[:-2]]), *a[-2:-1], *b[-1:])


def _linear(shapes: list[tuple[int, ...]], options: dict[str, Any]) -> tuple[int, ...]:
    return (*shapes[0][:-1], shapes[1][0])


def _windows(shape: tuple[int, ...], kernel: Sequence[int], options: dict[str, Any]) -> tuple[int, ...]:
    """The shape of padded images; their windows are no more than their pixels."""
    if max(kernel) > MOST_TAPS:
        raise ShapeError("onnx", f"windows of at most {MOST_TAPS:,} rows and columns", kernel_shape=tuple(kernel))
    n, h, w, c = shape
    p, q = _pair(options.get("padding", 0))
    return n, h + 2 * p, w + 2 * q, c


def _conv(shapes: list[tuple[int, ...]], options: dict[str, Any]) -> tuple[int, ...]:
    (n, h, w, c), filters = shapes[:2]
    kernel = filters[1:3]
    padded = _windows((n, h, w, c), kernel, options)
    made = (*padded[:3], filters[0])
    column = (padded[2], *kernel, filters[3])  # the windows of one row, which are always unrolled
    return max((padded, made, column), key=math.prod)


def _pool(shapes: list[tuple[int, ...]], options: dict[str, Any]) -> tuple[int, ...]:
    return _windows(shapes[0], _pair(options["kernel_size"]), options)


def _concat(shapes: list[tuple[int, ...]], options: dict[str, Any]) -> tuple[int, ...]:
    return (sum(math.prod(shape) for shape in shapes),)


def _given(shapes: list[tuple[int, ...]], options: dict[str, Any]) -> tuple[int, ...]:
    return options["shape"]


def _pair(value: Any) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


_RULES: dict[Any, Callable[[list[tuple[int, ...]], dict[str, Any]], tuple[int, ...]]] = {
    ops.matmul: _matmul,
    ops.linear: _linear,
    ops.conv2d: _conv,
    ops.max_pool2d: _pool,
    ops.avg_pool2d: _pool,
    ops.concat: _concat,
    ops.broadcast_to: _given,
}

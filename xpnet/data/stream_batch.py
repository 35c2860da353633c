"""A batch of a stream: made of examples, and compared with the first."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from xpnet.data import several
from xpnet.data.items import check_like, example_array, host_value
from xpnet.errors import DataError

__all__ = ["Batch", "check_batch", "is_example", "joined"]


class Batch(NamedTuple):
    """Arrays of examples.

    Args:
        number: of the batch in its epoch, from 0.
        x: (N, ...), or several in a tuple or a dictionary; y: (N, ...), or None where there are only inputs.
    """

    number: int
    x: Any
    y: np.ndarray | None

    @property
    def size(self) -> int:
        """The number of examples."""
        return several.count(self.x)

    @property
    def nbytes(self) -> int:
        """The bytes of x."""
        return sum(a.nbytes for a in several.each(self.x))


def is_example(x: Any, y: Any) -> bool:
    """Whether an item is one example: an image, or what has one number or word as its target."""
    is_image = isinstance(getattr(x, "mode", None), str) and hasattr(x, "convert")
    return is_image or (y is not None and (isinstance(y, str) or np.ndim(y) == 0))


def joined(where: str, pairs: list[tuple[Any, Any]], number: int) -> tuple[Any, Any, bool]:
    """Stack examples (x, y): return x, y or None, and whether channels of images were moved to the end.

    Raises:
        DataError: they differ in shape; the message gives the batch's number.
    """
    first = pairs[0][0]
    pairs = [(several.ordered(x, first), y) for x, y in pairs]
    rows = [[example_array(where, each) for each in several.each(x)] for x, _ in pairs]
    shapes = [several.like(x, [a.shape for a, _ in row]) for (x, _), row in zip(pairs, rows, strict=True)]
    for (x, _), shape in zip(pairs, shapes, strict=True):
        check_like(where, first, shapes[0], x, shape, batch=number)
    x = several.like(first, [np.stack([a for a, _ in each]) for each in zip(*rows, strict=True)])
    ys = [y if isinstance(y, str) or y is None else host_value(where, y) for _, y in pairs]
    transposed = any(moved for row in rows for _, moved in row)
    return x, None if ys[0] is None else np.asarray(ys), transposed


def check_batch(where: str, batch: Batch, first: Batch) -> None:
    """Raise DataError unless a batch has examples, as many targets, and is like the first."""
    arrays, y, known, number = several.each(batch.x), batch.y, first.y, batch.number
    counts = {len(a) if a.ndim else -1 for a in (*arrays, *([] if y is None else [y]))}
    if counts == {0}:
        raise DataError(where, "an example in each batch", "leave empty batches out", batch=number, examples=0)
    if len(counts) != 1 or -1 in counts:
        got = {"x": several.shape(batch.x), "y": None if y is None else y.shape}
        raise DataError(where, "batches of x (N, ...) and y (N, ...)", batch=number, **got)
    shape, like = (several.like(b.x, [a.shape[1:] for a in several.each(b.x)]) for b in (batch, first))
    check_like(where, first.x, like, batch.x, shape, batch=number)
    for a, b in zip(arrays, several.each(first.x), strict=True):
        if (a.dtype == np.uint8) != (b.dtype == np.uint8):
            raise DataError(where, "batches of one dtype", first=b.dtype, batch=number, dtype=a.dtype)
    if _kind(y) != _kind(known):
        got = {"first": _said(known), "batch": number, "targets": _said(y)}
        raise DataError(where, "targets of one shape and kind", **got)


def _kind(y: np.ndarray | None) -> Any:
    return None if y is None else (y.shape[1:], "i" if y.dtype.kind in "bui" else y.dtype.kind)


def _said(y: np.ndarray | None) -> str:
    return "none" if y is None else f"{y.dtype} {y.shape}"

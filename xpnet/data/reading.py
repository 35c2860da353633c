"""Data sets of other libraries: which kind they are; those that can be indexed are read into memory.

    read_set("fit", torch_dataset), read_set("fit", hugging_face_dataset) -> x, y
    stream_of("fit", data_loader), stream_of("fit", generator_function) -> a Stream

What is read into memory is read once, so random transforms are drawn once; augment= draws new ones in each epoch.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from xpnet.data import several
from xpnet.data.items import check_like, example_array, host_value, log_transposed, pair_of
from xpnet.data.stream import Stream, shuffled
from xpnet.data.stream_batch import is_example
from xpnet.errors import DataError, XpnetError

__all__ = ["is_set", "is_stream", "read_set", "stream_of"]

_MOST = 4 << 30  # bytes of examples in memory
_ARRAYS = ("dtype", "columns", "__array__", "__dlpack__", "__array_interface__", "__dataframe__")  # or frames


def is_set(data: Any) -> bool:
    """Tell whether data gives examples by number, or batches; arrays, frames, tuples and dictionaries do not."""
    if isinstance(data, list):
        pairs = bool(data) and all(isinstance(item, dict | tuple | list) and len(item) == 2 for item in data[:3])
        more = len(data) > 2 and not any(isinstance(item, list) for item in data[:3])
        return pairs and (more or all(_begins_with_array(item) for item in data[:3]))
    if isinstance(data, Sequence | Mapping | type) or any(hasattr(data, name) for name in _ARRAYS):
        return False
    return _is_by_number(data) or hasattr(data, "__iter__") or inspect.isroutine(data) or isinstance(data, partial)


def _begins_with_array(item: Any) -> bool:
    """Whether a pair is not two numbers, nor two rows of a list of rows."""
    first = next(iter(item)) if not isinstance(item, dict) else None
    return isinstance(item, dict) or bool(getattr(several.each(first)[0], "shape", hasattr(first, "convert")))


def _is_by_number(data: Any) -> bool:
    return hasattr(data, "__len__") and hasattr(data, "__getitem__")


def _gives_examples(where: str, data: Any) -> bool:
    """Whether a set gives examples by number, and not batches."""
    return _is_by_number(data) and not (isinstance(data, list) and _are_batches(where, data))


def _are_batches(where: str, data: list[Any]) -> bool:
    """Whether the pairs of a list are batches, by their shapes: x and y of each have as many rows.

    Raises:
        DataError: they may be either, such as ten pairs of x (32, 8) and y (32,): sequences or batches.
    """
    shapes = []
    for i, item in enumerate(data):
        x, y = pair_of(where, item, f"item {i}")
        if is_example(x, y):
            return False
        try:
            shapes.append([np.shape(each) for each in (*several.each(x), y)])
        except ValueError:  # rows that differ in length
            return False
    if not all(len({shape[:1] for shape in item}) == 1 and item[0] for item in shapes):
        return False
    rows = [item[0][0] for item in shapes]
    if any(len(shape) == 4 for shape in shapes[0]) or (len({*rows[:-1]}) == 1 and rows[-1] < rows[0]):
        return True
    if all(shape == (1,) for item in shapes for shape in item):  # the same either way
        return False
    do = "pass batches as lambda: iter(batches), or a data loader; pass examples as arrays (x, y)"
    *x, y = shapes[0]
    rule = "a list of examples or of batches, whose shapes tell which they are"
    raise DataError(where, rule, do, items=len(data), x=x[0] if len(x) == 1 else tuple(x), y=y)


def is_stream(where: str, data: Any) -> bool:
    """Tell whether data is a set that gives batches, or more examples than are read into memory."""
    return is_set(data) and (not _gives_examples(where, data) or _bytes(where, data) > _MOST)


def stream_of(where: str, data: Any, *, seed: int | None = None, **options: Any) -> Stream:
    """Return a Stream of a set.

    Args:
        where, data, options: as Stream takes them.
        seed: of the order in each epoch, for examples by number; None: their own order.
    """
    if not _gives_examples(where, data):
        return Stream(where, data, **options)
    order = (lambda epoch: np.arange(len(data))) if seed is None else shuffled(data, seed)
    return Stream(where, data, order=order, **options)


def read_set(where: str, data: Any) -> tuple[Any, np.ndarray]:
    """Read all examples into memory.

    Args:
        where: for messages.
        data: has a length and gives examples by number: (x, y), or a dictionary with an image (or pixel_values, x) and
            a label (or y, target); or gives batches (x, y), once. x may be a tuple or a dictionary of arrays, which are
            several inputs.
    Returns:
        x and y, (N, ...).
    Raises:
        DataError: examples differ in shape, are more than 4 GB, or are no (x, y).
    """
    try:
        return _examples(where, data) if _gives_examples(where, data) else _batches(where, data)
    except XpnetError:
        raise
    except Exception as error:  # of the set's own code
        text = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise DataError.event(where, "the data could not be read", error=text) from error


def _bytes(where: str, data: Any) -> int:
    """Return how many bytes the examples of a set have, by its first; 0 where that is not known."""
    try:
        x, _ = pair_of(where, data[0], "example 0")
        arrays = [example_array(where, each)[0] for each in several.each(x)]
        return len(data) * sum(a.size * _kept(a.dtype).itemsize for a in arrays)
    except Exception:  # read_set says what it is
        return 0


def _kept(dtype: np.dtype) -> np.dtype:
    return dtype if dtype == np.uint8 else np.dtype(np.float32)


def _examples(where: str, data: Any) -> tuple[Any, np.ndarray]:
    n, targets = len(data), []
    if not n:
        raise DataError(where, "at least one example", examples=0)
    first: Any = None
    out: list[np.ndarray] = []
    transposed = False
    for i in range(n):
        x, y = pair_of(where, data[i], f"example {i}")
        x = x if first is None else several.ordered(x, first)
        found = [example_array(where, each) for each in several.each(x)]
        transposed = transposed or any(each for _, each in found)
        if first is None:
            first = x
            out = [np.empty((n, *a.shape), _kept(a.dtype)) for a, _ in found]
        shape = several.like(x, [a.shape for a, _ in found])
        check_like(where, first, several.like(first, [a.shape[1:] for a in out]), x, shape, example=i)
        for array, (a, _) in zip(out, found, strict=True):
            array[i] = a
        targets.append(y if isinstance(y, str | int | float) else host_value(where, y))
    if transposed:
        log_transposed(where)
    return several.like(first, out), _joined(where, targets)


def _batches(where: str, data: Any) -> tuple[Any, np.ndarray]:
    xs: list[list[np.ndarray]] = []
    ys: list[Any] = []
    form, size = None, 0
    for batch in Stream(where, data).epoch():
        form, arrays = batch.x, several.each(batch.x)
        size += sum(a.nbytes for a in arrays)
        if size > _MOST:
            do = "pass a data loader or a function that makes the generator, which are read again in each epoch"
            raise DataError(where, f"at most {_MOST >> 30} GB of a generator", do, GB=round(size / (1 << 30), 1))
        xs.append(arrays)
        ys.append(batch.y)
    return several.like(form, [np.concatenate(each) for each in zip(*xs, strict=True)]), np.concatenate(ys)


def _joined(where: str, targets: list[Any]) -> np.ndarray:
    try:
        return np.asarray(targets)
    except ValueError as error:
        raise DataError(where, "targets of one shape", error=error) from error

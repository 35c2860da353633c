"""Arrays of every library, lists and tables, on the host."""

from __future__ import annotations

import contextlib
import numbers
from typing import Any

import numpy as np

from xpnet.autograd import Tensor
from xpnet.backend import backend_of
from xpnet.errors import DTypeError, XpnetError

__all__ = ["host"]


def host(where: str, values: Any) -> np.ndarray:
    """Bring an array of any library, a Tensor, a list or a table of pandas to the host.

    Raises:
        DTypeError: it is none of them, or its rows differ in length.
    """
    if isinstance(values, np.ndarray):
        return values
    if isinstance(values, Tensor):
        return values.numpy()
    if hasattr(values, "columns") and hasattr(values, "__getitem__") and getattr(values, "ndim", 2) == 2:
        return _frame(where, values)
    with contextlib.suppress(XpnetError):  # no array of a known library
        return backend_of(values).to_numpy(values)
    try:
        found = np.asarray(values)
    except Exception as error:
        found = error
    if isinstance(found, np.ndarray) and found.dtype == object and found.ndim:
        found = _of_objects(found)
    if not isinstance(found, np.ndarray) or found.dtype == object or not found.ndim:
        do = "pass an array, or a list of numbers in rows of one length"
        raise DTypeError(where, "an array", do, values=f"of type {type(values).__name__}")
    return found


def _frame(where: str, frame: Any) -> np.ndarray:
    """Return a frame of pandas or polars, (N, D): its columns must hold numbers."""
    columns = []
    for name in frame.columns:
        column = _of_objects(np.asarray(frame[name]))
        if column.ndim != 1 or column.dtype.kind not in "buif":
            kind = {"M": "dates", "m": "durations", "U": "text", "O": "text"}.get(column.dtype.kind, str(column.dtype))
            do = "leave it out or encode it; data.load reads a table with text columns as they are"
            raise DTypeError(where, "columns of numbers", do, column=repr(name), holds=kind)
        columns.append(column)
    if not columns:
        raise DTypeError(where, "a frame with columns", columns=0)
    return np.stack(columns, axis=1)


def _of_objects(array: np.ndarray) -> np.ndarray:
    """Return an array of objects as one of numbers (None is NaN) or words where all are that, else as it is."""
    if array.dtype != object or not array.size:
        return array
    values = [*array.flat]
    if all(isinstance(v, str) for v in values):
        return array.astype(str)
    if all(v is None or isinstance(v, numbers.Real) for v in values):
        return np.asarray([np.nan if v is None else v for v in values]).reshape(array.shape)
    return array

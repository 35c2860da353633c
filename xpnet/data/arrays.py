"""Arrays of every library, lists and tables, on the host."""

from __future__ import annotations

import contextlib
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
    with contextlib.suppress(XpnetError):  # no array of a known library
        return backend_of(values).to_numpy(values)
    try:
        found = np.asarray(values)
    except Exception as error:
        found = error
    if not isinstance(found, np.ndarray) or found.dtype == object or not found.ndim:
        do = "pass an array, or a list of numbers in rows of one length"
        raise DTypeError(where, "an array", do, values=f"of type {type(values).__name__}")
    return found

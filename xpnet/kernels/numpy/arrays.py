"""NumPy arrays as kernels take and return them: types, and copies of arrays that are not contiguous."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from xpnet.backend import empty, launch

__all__ = ["VJP", "Array", "Gradients", "Needs", "Result", "as_contiguous", "as_rows", "as_shape", "copied"]

Array = npt.NDArray[Any]
Needs = tuple[bool, ...]  # of which arguments the gradient is needed
Gradients = tuple[Array | None, ...]


class VJP(Protocol):
    """The backward pass of an op: from the gradient of its result to one gradient for each argument."""

    def __call__(self, dy: Array, needs: Needs, /) -> Gradients: ...


Result = tuple[Array, VJP]


def copied(x: Array) -> Array:
    """Return a copy in row-major order, made by a launch."""
    copy = empty(x.shape, x.dtype)
    launch(np.copyto, copy, x)
    return copy


def as_contiguous(x: Array) -> Array:
    """Return an array as compiled loops take it: x itself, or a copy where it is strided, misaligned or read-only."""
    return x if x.flags.carray else copied(x)


def as_shape(x: Array, shape: tuple[int, ...]) -> Array:
    """Return x in another shape: a view, or of a copy where x is not contiguous."""
    return (x if x.flags.c_contiguous else copied(x)).reshape(shape)


def as_rows(x: Array, columns: int) -> Array:
    """Return x, (..., C), as (P, C): a view where x is contiguous or has rank 2."""
    return x if x.ndim == 2 else as_shape(x, (-1, columns))

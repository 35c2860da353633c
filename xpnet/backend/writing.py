"""Writing to slices, in place where a library's arrays can be written."""

from __future__ import annotations

from typing import Any

from xpnet.backend.base import Array
from xpnet.backend.registry import family

__all__ = ["add_at", "set_at"]


def add_at(x: Array, index: Any, value: Array) -> Array:
    """Add to a slice of an array that the caller owns, and return the result: x itself where it can be written.

    Args:
        x: the array; not to be used afterwards, only what is returned.
        index: integers and slices with positive steps, one an axis.
        value: shaped like x[index].
    """
    if family(x) == "jax":
        return x.at[index].add(value)
    x[index] += value
    return x


def set_at(x: Array, index: Any, value: Array) -> Array:
    """Write a slice of an array that the caller owns, and return the result, as add_at does."""
    if family(x) == "jax":
        return x.at[index].set(value)
    x[index] = value
    return x

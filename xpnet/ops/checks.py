"""What every op checks before it computes: one library, one real floating dtype, shapes that fit."""

from __future__ import annotations

import math
import numbers
from typing import Any

from xpnet.backend import Array, namespace
from xpnet.backend.registry import CHECKED
from xpnet.errors import ConfigError, DTypeError, ShapeError, XpnetError, nearest

_REAL_FLOATING: dict[tuple[type, Any], Any] = {}  # namespace, or None, by type of array and dtype
_KINDS: dict[tuple[type, Any, str], bool] = {}  # whether dtypes of a type of array are of a kind


def is_floating(x: Array) -> bool:
    """Whether an array holds real floating numbers."""
    return _floating_namespace(x) is not None


def _floating_namespace(x: Array) -> Any:
    xp = namespace(x)
    found = _REAL_FLOATING[type(x), x.dtype] = xp if xp.isdtype(x.dtype, "real floating") else None
    return found


def shared(op: str, x: Array, *others: Array | None) -> Any:
    """Return the namespace of arrays that must share one library; None is passed over."""
    try:
        return namespace(x, *others)
    except XpnetError as error:
        error.where = op
        raise


def floating(op: str, x: Array, *others: Array | None) -> Any:
    """Return the namespace of arrays that must share one library and one real floating dtype; None is passed over."""
    kind, dtype = type(x), getattr(x, "dtype", None)
    if kind in CHECKED:
        shared(op, x, *others)
    for other in others:
        if other is None or (type(other) is kind and (other.dtype is dtype or other.dtype == dtype)):
            continue
        shared(op, x, *others)
        if other.dtype != dtype:
            dtypes = ", ".join(str(a.dtype) for a in (x, *others) if a is not None)
            raise DTypeError(op, "arrays of one real floating dtype", "cast one with astype", dtypes=dtypes)
    xp = _REAL_FLOATING.get((kind, dtype))
    if xp is None:
        shared(op, x)
        xp = _floating_namespace(x)
    if xp is None:
        raise DTypeError(op, "a real floating array", "cast it to float32", dtype=dtype)
    return xp


def integer(op: str, name: str, x: Array) -> None:
    """Raise DTypeError unless an array holds integers."""
    if not _is_kind(x, "integral"):
        raise DTypeError(op, "an integer array", **{name: x.dtype})


def boolean(op: str, name: str, x: Array) -> None:
    """Raise DTypeError unless an array holds booleans."""
    if not _is_kind(x, "bool"):
        raise DTypeError(op, "a boolean array", **{name: x.dtype})


def _is_kind(x: Array, kind: str) -> bool:
    key = type(x), x.dtype, kind
    if key not in _KINDS:
        _KINDS[key] = bool(namespace(x).isdtype(x.dtype, kind))
    return _KINDS[key]


def pair(op: str, name: str, value: int | tuple[int, int], least: int) -> tuple[int, int]:
    """Read an int, or a pair (vertical, horizontal), of numbers not under least."""
    two = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(two) != 2 or not all(isinstance(v, int) and v >= least for v in two):
        raise ConfigError(op, f"an integer >= {least}, or a pair of them", **{name: value})
    return two  # pyright: ignore[reportReturnType]


def broadcasts(op: str, a: Array, b: Array) -> None:
    """Raise ShapeError unless two arrays broadcast together."""
    if a.shape != b.shape and not fits(a.shape, b.shape):
        raise ShapeError(op, "a and b that broadcast together", a=tuple(a.shape), b=tuple(b.shape))


def fits(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether two shapes broadcast together."""
    return all(n == m or 1 in (n, m) for n, m in zip(a[::-1], b[::-1], strict=False))


def axes(op: str, x: Array, axis: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """Count axes from 0, all of them for None; ShapeError for one that x does not have, or that is given twice."""
    if axis is None:
        return tuple(range(x.ndim))
    some = axis if isinstance(axis, tuple) else (axis,)
    counted = tuple(a + x.ndim if a < 0 else a for a in some)
    if any(not 0 <= a < x.ndim for a in counted) or len(set(counted)) < len(counted):
        raise ShapeError(op, "distinct axes of x", x=tuple(x.shape), axis=axis)
    return counted


def not_empty(op: str, x: Array, axes: tuple[int, ...]) -> None:
    """Raise ShapeError unless there is a number along some axes of x, counted from 0."""
    if not all(x.shape[a] for a in axes):
        raise ShapeError(op, "at least one number along the axes", x=tuple(x.shape), axes=axes)


def channels(op: str, x: Array, **vectors: Array) -> None:
    """Raise ShapeError unless each vector has one entry a channel of x (..., C)."""
    if x.ndim < 2:
        raise ShapeError(op, "x of shape (..., C), of rank 2 or more", x=tuple(x.shape))
    for name, vector in vectors.items():
        if vector.shape != (x.shape[-1],):
            rule = f"{name} of shape (C,), C the size of x's last axis"
            raise ShapeError(op, rule, x=tuple(x.shape), **{name: tuple(vector.shape)})


def images(op: str, x: Array) -> None:
    """Raise ShapeError unless x is (N, H, W, C)."""
    if x.ndim != 4:
        raise ShapeError(op, "x of shape (N, H, W, C)", x=tuple(x.shape))


def choice(op: str, name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise ConfigError unless a value is one of those known."""
    if value not in known:
        raise ConfigError(op, f"a known {name}", nearest(str(value), known), **{name: repr(value)})


# Numbers that users give.


def number(where: str, name: str, value: object, low: float, high: float = math.inf, *, above: bool = False) -> float:
    """Return a value as a float when low <= value < high, finite.

    Args:
        where: whose argument it is, for the message.
        name: the argument's name.
        value: what the user gave: a number of Python or NumPy, but no bool.
        low: the smallest value allowed.
        high: the first value that is not.
        above: leave out low itself.
    Raises:
        ConfigError: it is not a number, NaN, or outside.
    """
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        x = float(value)
        if (x > low if above else x >= low) and x < high:
            return x
    rule = f"{low:g} {'<' if above else '<='} {name}" + (f" < {high:g}" if high < math.inf else ", finite")
    raise ConfigError(where, rule, **{name: shown(value)})


def count(where: str, name: str, value: object, low: int = 1, high: float = math.inf) -> int:
    """Return a value as an int when it is a whole number, of Python or NumPy but no bool, and low <= value <= high.

    Raises:
        ConfigError: it is not a whole number, or outside.
    """
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and low <= int(value) <= high:
        return int(value)
    rule = f"a whole number {name} >= {low}" if high == math.inf else f"a whole number {name}, {low} to {high:g}"
    raise ConfigError(where, rule, **{name: shown(value)})


def shown(value: object) -> str:
    """Describe what a user gave: numbers, short words and None as they are, other objects by their type."""
    text = repr(value) if isinstance(value, str) else str(value) if isinstance(value, numbers.Number | None) else ""
    return text if 0 < len(text) < 100 else f"of type {type(value).__name__}"

"""What every op checks before it computes: one library, one real floating dtype, shapes that fit."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from xpnet import arguments
from xpnet.arguments import MOST, as_index, count, number, shown
from xpnet.backend import Array, namespace
from xpnet.backend.registry import CHECKED
from xpnet.errors import DTypeError, ShapeError, XpnetError

__all__ = [
    "axes",
    "boolean",
    "broadcasts",
    "channels",
    "choice",
    "count",
    "fits",
    "flag",
    "floating",
    "images",
    "integer",
    "is_floating",
    "missing",
    "not_empty",
    "number",
    "pair",
    "shared",
    "shown",
]

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


def missing(op: str, name: str) -> DTypeError:
    """Return the error of an array that is None and must not be."""
    return DTypeError(op, f"{name} that is an array", **{name: None})


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


def choice(op: str, name: str, value: Any, known: Collection[str]) -> str:
    """Return one of the words that are known, as arguments.choice does."""
    return value if type(value) is str and value in known else arguments.choice(op, name, value, known)


def flag(op: str, name: str, value: Any) -> bool:
    """Return True or False, as arguments.boolean does."""
    return value if type(value) is bool else arguments.boolean(op, name, value)


def pair(op: str, name: str, value: Any, least: int) -> tuple[int, int]:
    """Read an integer or a pair, as arguments.pair does; the pair that a layer read before is returned at once."""
    if type(value) is tuple and len(value) == 2:
        first, second = value
        if type(first) is int is type(second) and least <= first <= MOST and least <= second <= MOST:
            return value
    return arguments.pair(op, name, value, least)


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
    whole = [a for a in map(as_index, some) if a is not None]
    counted = tuple(a + x.ndim if a < 0 else a for a in whole)
    if len({a for a in counted if 0 <= a < x.ndim}) < len(some):
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
        if vector is None:
            raise missing(op, name)
        if vector.shape != (x.shape[-1],):
            rule = f"{name} of shape (C,), C the size of x's last axis"
            raise ShapeError(op, rule, x=tuple(x.shape), **{name: tuple(vector.shape)})


def images(op: str, x: Array) -> None:
    """Raise ShapeError unless x is (N, H, W, C)."""
    if x.ndim != 4:
        raise ShapeError(op, "x of shape (N, H, W, C)", x=tuple(x.shape))

"""Checks of arguments where they enter: one rule and one message for each kind of argument.

    self.features = arguments.positive("BatchNorm", "features", features)

Each check takes whose argument it is, its name and its value, and returns the value as Python's own int, float, bool or
tuple; or it raises an error that names all three. NumPy's numbers and 0-d arrays count as numbers; True and False do
not.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from xpnet.errors import ConfigError, nearest

__all__ = [
    "MOST",
    "Check",
    "as_index",
    "boolean",
    "choice",
    "count",
    "function",
    "instance",
    "integer",
    "is_number",
    "items",
    "mapping",
    "natural",
    "not_negative",
    "number",
    "optional",
    "pair",
    "path",
    "positive",
    "probability",
    "shape",
    "shown",
    "span",
    "text",
]

MOST = (1 << 31) - 1  # of sizes in pixels
Check = Callable[[str, str, Any], Any]  # (whose, name, value) -> value


def shown(value: object) -> str:
    """Show a value in an error: numbers, words and short tuples and lists of them as written, others by their type."""
    if isinstance(value, int | float | str | None):
        return text if len(text := repr(value)) < 80 else text[:76] + " ..."
    if isinstance(value, tuple | list) and len(value) <= 8 and all(isinstance(v, int | float | str) for v in value):
        return repr(value)
    return str(value) if is_number(value) else f"of type {type(value).__name__}"


def is_number(value: Any) -> bool:
    """Whether a value is one number, of Python or of an array library: neither a truth value nor a list."""
    kind = str(getattr(value, "dtype", type(value).__name__))
    return "bool" not in kind and not isinstance(value, str | bytes) and getattr(value, "shape", ()) == () and (
        hasattr(type(value), "__float__") or hasattr(type(value), "__index__")
    )  # fmt: skip


def as_index(value: Any) -> int | None:
    """Return a whole number as an int; None for anything else, True and False too."""
    if type(value) is int:
        return value
    if not is_number(value):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def integer(where: str, name: str, value: Any) -> int:
    """Return an integer of either sign."""
    if (found := as_index(value)) is None:
        raise ConfigError(where, f"{name} that is an integer", **{name: shown(value)})
    return found


def count(where: str, name: str, value: Any, low: int = 1, high: float = math.inf) -> int:
    """Return a whole number, low <= value <= high."""
    found = as_index(value)
    if found is None or not low <= found <= high:
        rule = f"a whole number {name} >= {low}" if high == math.inf else f"a whole number {name}, {low} to {high:g}"
        raise ConfigError(where, rule, **{name: shown(value)})
    return found


positive: Check = count
natural: Check = partial(count, low=0)


def number(
    where: str,
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: bool = False,
    closed: bool = False,
) -> float:
    """Return a finite number, low <= value < high; ``above`` leaves out low, ``closed`` lets high in."""
    try:
        x = float(value) if type(value) is float or is_number(value) else math.nan
    except (TypeError, ValueError, OverflowError, RuntimeError):
        x = math.nan
    if math.isfinite(x) and (x > low if above else x >= low) and (x <= high if closed else x < high):
        return x
    rule = f"{low:g} {'<' if above else '<='} {name}" if low > -math.inf else f"{name} that is a number"
    rule += f" {'<=' if closed else '<'} {high:g}" if high < math.inf else ", finite"
    raise ConfigError(where, rule, **{name: shown(value)})


not_negative: Check = partial(number, low=0)
probability: Check = partial(number, low=0, high=1)  # below 1


def span(where: str, name: str, value: Any, low: float, high: float) -> tuple[float, float]:
    """Return two numbers, the smallest and the largest of a range within low..high."""
    if isinstance(value, tuple | list) and len(value) == 2:
        first, last = (number(where, name, v, low, high, closed=True) for v in value)
        if first <= last:
            return first, last
    rule = f"{name}, a pair of numbers, the smaller first, {low:g} to {high:g}"
    raise ConfigError(where, rule, **{name: shown(value)})


def boolean(where: str, name: str, value: Any) -> bool:
    """Return True or False."""
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):  # NumPy's
        return bool(value)
    raise ConfigError(where, f"{name} True or False", **{name: shown(value)})


def function(where: str, name: str, value: Any) -> Any:
    """Return what can be called."""
    if callable(value):
        return value
    raise ConfigError(where, f"{name} that can be called", **{name: shown(value)})


def text(where: str, name: str, value: Any) -> str:
    """Return a string."""
    if isinstance(value, str):
        return value
    raise ConfigError(where, f"{name} that is a string", **{name: shown(value)})


def path(where: str, name: str, value: Any) -> Path:
    """Return the path of a file or folder, given as a string or an os.PathLike."""
    found = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if isinstance(found, str) and found and "\0" not in found:
        return Path(found)
    raise ConfigError(where, f"{name} that is a path", **{name: shown(value)})


def mapping(where: str, name: str, value: Any) -> Any:
    """Return a dictionary, or another mapping."""
    return instance(where, name, value, kind=Mapping, rule="a dictionary")


def items(where: str, name: str, value: Any) -> list[Any]:
    """Return what a list, a tuple or another iterable in an order holds; a string or a dictionary is not one."""
    try:
        if not isinstance(value, str | bytes | type | Mapping | set | frozenset):
            return list(value)
    except TypeError:  # a 0-d array too
        pass
    raise ConfigError(where, f"{name} that is a list", **{name: shown(value)})


def choice(where: str, name: str, value: Any, known: Iterable[Any]) -> Any:
    """Return one of the values that are known."""
    known = tuple(known)
    if type(value) is str and value in known:
        return value
    if any(type(value) is type(k) and value == k for k in known):  # 1 is not True
        return value
    typed = value if isinstance(value, str) else shown(value)
    raise ConfigError(where, f"a known {name}", nearest(typed, map(str, known)), **{name: shown(value)})


def instance(where: str, name: str, value: Any, *, kind: type | tuple[type, ...], rule: str, do: str = "") -> Any:
    """Return an object of a class; the rule is its name with an article, such as "a Module"."""
    if isinstance(value, kind):
        return value
    raise ConfigError(where, f"{name} that is {rule}", do, **{name: shown(value)})


def pair(where: str, name: str, value: Any, least: int) -> tuple[int, int]:
    """Read an integer, or a pair (vertical, horizontal), of numbers not under least."""
    two: Sequence[Any] = value if isinstance(value, tuple | list) and len(value) == 2 else (value, value)
    first, second = as_index(two[0]), as_index(two[1])
    if first is None or second is None or not (least <= first <= MOST and least <= second <= MOST):
        raise ConfigError(where, f"an integer >= {least}, or a pair of them", **{name: shown(value)})
    return first, second


def shape(where: str, name: str, value: Any, least: int = 0) -> tuple[int, ...]:
    """Read sizes, a tuple or list of integers not under least."""
    sizes = [as_index(n) for n in value] if isinstance(value, tuple | list) else [None]
    if any(n is None or n < least for n in sizes):
        raise ConfigError(where, f"{name} that is a tuple of integers >= {least}", **{name: shown(value)})
    read = cast("list[int]", sizes)
    if any(n > MOST for n in read):
        raise ConfigError(where, f"{name} with sizes of at most {MOST:,}", **{name: shown(value)})
    return tuple(read)


def optional(check: Check) -> Check:
    """Return the check that lets None pass."""
    return lambda where, name, value: None if value is None else check(where, name, value)

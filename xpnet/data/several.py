"""One array of examples, or several of the same examples: a tuple or a dictionary of arrays, which a model takes as
arguments.

    model(*x) of a tuple, model(**x) of a dictionary, model(x) of one array
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from xpnet.backend import Array
from xpnet.errors import ConfigError

__all__ = ["call", "count", "each", "form", "is_several", "like", "ordered", "rows", "shape"]


def is_several(x: Any) -> bool:
    """Tell whether x is a tuple or a dictionary."""
    return isinstance(x, tuple | dict)


def each(x: Any) -> list[Any]:
    """Return the arrays of x in their order; of one array a list of it."""
    return list(x.values()) if isinstance(x, dict) else list(x) if isinstance(x, tuple) else [x]


def like(x: Any, arrays: Sequence[Any]) -> Any:
    """Return arrays, or what was found of each, in the form of x."""
    if isinstance(x, dict):
        return dict(zip(x, arrays, strict=True))
    return tuple(arrays) if isinstance(x, tuple) else arrays[0]


def ordered(x: Any, first: Any) -> Any:
    """Return a dictionary in the order of the first, if it has the same names; else x as it is."""
    if isinstance(x, dict) and isinstance(first, dict) and x.keys() == first.keys():
        return {name: x[name] for name in first}
    return x


def form(x: Any) -> Hashable:
    """Return what distinguishes the form of x from others: the names, or how many there are, or None of one array."""
    return tuple(x) if isinstance(x, dict) else len(x) if isinstance(x, tuple) else None


def count(x: Any) -> int:
    """Return N, the number of examples."""
    return (each(x)[0] if isinstance(x, tuple | dict) else x).shape[0]


def shape(x: Any) -> tuple[Any, ...]:
    """Return the shape of one array, or a tuple of the shapes of several."""
    return tuple([tuple(array.shape) for array in each(x)]) if isinstance(x, tuple | dict) else tuple(x.shape)


def rows(x: Any, start: int, stop: int) -> Any:
    """Return examples start .. stop - 1, views."""
    if isinstance(x, tuple | dict):
        return like(x, [array[start:stop, ...] for array in each(x)])
    return x[start:stop, ...]


def call(function: Callable[..., Any], x: Any, wrap: Callable[[Array], Any]) -> Any:
    """Call a function, such as a model, with each array wrapped, as one argument or as several."""
    if not isinstance(x, tuple | dict):
        return function(wrap(x))
    given = [wrap(array) for array in each(x)]
    arguments, options = ((), dict(zip(x, given, strict=True))) if isinstance(x, dict) else (given, {})
    try:
        return function(*arguments, **options)
    except TypeError as error:
        try:
            inspect.signature(getattr(function, "forward", function)).bind(*arguments, **options)
        except TypeError as mismatch:
            names = ", ".join(map(str, x)) if isinstance(x, dict) else len(x)
            rule = "a model whose forward takes the inputs of the data"
            raise ConfigError("forward", rule, inputs=names, error=mismatch) from error
        raise

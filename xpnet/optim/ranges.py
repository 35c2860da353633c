"""Checks of numbers given by users: one rule, one message."""

from __future__ import annotations

import math
import numbers

from xpnet.errors import ConfigError

__all__ = ["count", "number"]


def number(where: str, name: str, value: object, low: float, high: float = math.inf, *, above: bool = False) -> float:
    """Return a value as a float when low <= value < high, finite.

    Args:
        where: whose argument it is, for the message.
        name: the argument's name.
        value: what the user gave.
        low: the smallest value allowed.
        high: the first value that is not.
        above: leave out low itself.
    Raises:
        ConfigError: it is not a number, NaN, or outside.
    """
    if isinstance(value, numbers.Real):
        x = float(value)
        if (x > low if above else x >= low) and x < high:
            return x
    rule = f"{low:g} {'<' if above else '<='} {name}" + (f" < {high:g}" if high < math.inf else ", finite")
    raise ConfigError(where, rule, **{name: repr(value) if isinstance(value, str) else value})


def count(where: str, name: str, value: object, low: int = 1) -> int:
    """Return a value as an int when it is a whole number >= low.

    Raises:
        ConfigError: it is not a whole number, or too small.
    """
    if isinstance(value, numbers.Integral) and int(value) >= low:
        return int(value)
    raise ConfigError(where, f"a whole number {name} >= {low}", **{name: repr(value)})

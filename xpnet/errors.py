"""The errors xpnet raises, all of one form.

    XpnetError
    +-- ShapeError       (ValueError)    sizes or ranks that do not fit together
    +-- DTypeError       (TypeError)     the wrong kind of numbers, or no array at all
    +-- DeviceError      (RuntimeError)  a backend or device that is absent, full or mixed
    |   +-- DeviceLostError              a device that stopped working
    +-- ConfigError      (ValueError)    an argument outside its range, an unknown name
    +-- DataError        (ValueError)    data sets and files that cannot be learned from
    |   +-- DivergedError                a loss that became NaN or infinite
    +-- CheckpointError  (ValueError)    checkpoints that cannot be written or read

Every message reads ``<op or layer path>: <the rule>, got <each value by name>[; <what to do>]``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DTypeError",
    "DataError",
    "DeviceError",
    "DeviceLostError",
    "DivergedError",
    "ShapeError",
    "XpnetError",
    "nearest",
]


class XpnetError(Exception):
    """An error with a place, a rule, the values that broke it, and what to do.

    Args:
        where: the op, layer path, option or file the rule belongs to.
        rule: what must hold, in the letters of the documentation (N, H, W, C, F, ...).
        do: what to do about it; empty when the rule says it already.
        got: each offending value, by name.
    """

    def __init__(self, where: str, rule: str, do: str = "", /, **got: object) -> None:
        super().__init__(where, rule, do)
        self.where, self.rule, self.do, self.got = where, rule, do, got
        self.path = ""

    def __str__(self) -> str:
        place = f"{self.path} ({self.where})" if self.path else self.where
        got = {n: tuple(v) if isinstance(v, tuple) else v for n, v in self.got.items()}  # torch's sizes are tuples too
        values = ", ".join(f"{name} {value}" for name, value in got.items())
        return f"{place}: {self.rule}" + (f", got {values}" if values else "") + (f"; {self.do}" if self.do else "")


class ShapeError(XpnetError, ValueError):
    """Sizes or ranks that do not fit together."""


class DTypeError(XpnetError, TypeError):
    """The wrong kind of numbers, or no array at all."""


class DeviceError(XpnetError, RuntimeError):
    """A backend or device that is absent, out of memory, or mixed with another."""


class DeviceLostError(DeviceError):
    """A device that does nothing more for this process."""


class ConfigError(XpnetError, ValueError):
    """An argument outside its range, or a name that does not exist."""


class DataError(XpnetError, ValueError):
    """Data sets and files that cannot be learned from."""


class DivergedError(DataError):
    """A loss that became NaN or infinite."""


class CheckpointError(XpnetError, ValueError):
    """Checkpoints that cannot be written or read."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Say which of names comes nearest to a mistyped one: "did you mean 'lenet5'?", else the whole list."""
    known = sorted(names)
    close = difflib.get_close_matches(name.lower(), known, n=2, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "choose one of " + ", ".join(known)

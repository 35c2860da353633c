"""The errors that xpnet raises, all of two forms::

    XpnetError
    +-- ShapeError       (ValueError)    sizes or ranks that do not fit together
    +-- DTypeError       (TypeError)     the wrong kind of numbers, or no array at all
    +-- DeviceError      (RuntimeError)  a backend or device that is absent, full or mixed
    |   +-- DeviceLostError              a device that stopped working
    +-- ConfigError      (ValueError)    an argument outside its range, an unknown name
    +-- DataError        (ValueError)    data sets and files that cannot be learned from
    |   +-- DivergedError                a loss that became NaN or infinite
    +-- CheckpointError  (ValueError)    checkpoints and files of a run that cannot be written or read

A rule that was broken reads  ``<where>: expected <rule>, got <name> <value>[, ...][; <what to do>]``.
An event reads                ``<where>: <what happened>[: <name> <value>, ...][; <what to do>]``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Self

from xpnet.output import printable

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
    "near",
    "nearest",
]


_LONGEST = 500  # characters of a value in a message


class XpnetError(Exception):
    """A rule that was broken; ``XpnetError.event`` makes an error of something that happened.

    Args:
        where: the op, layer path, argument or file the error belongs to.
        rule: what was expected, in the letters of the documentation: "x of shape (N, H, W, C)".
        do: what to do about it; empty when the rule says it already.
        got: each offending value, by name.
    """

    is_event = False

    def __init__(self, where: str, rule: str, do: str = "", /, **got: object) -> None:
        super().__init__(where, rule, do)
        self.where, self.rule, self.do, self.got = where, rule, do, got
        self.path = ""

    @classmethod
    def event(cls, where: str, what: str, do: str = "", /, **values: object) -> Self:
        """Return an error of something that happened, such as "out of memory": no rule was broken.

        Args:
            where: the op, layer path, argument or file the error belongs to.
            what: what happened.
            do: what to do about it, or "".
            values: what belongs to it, by name.
        """
        error = cls(where, what, do, **values)
        error.is_event = True
        return error

    def __str__(self) -> str:
        place = f"{self.path} ({self.where})" if self.path else self.where
        got = {n: tuple(v) if isinstance(v, tuple) else v for n, v in self.got.items()}  # torch's sizes are tuples too
        values = ", ".join(f"{_cut(name)} {_cut(value)}" for name, value in got.items())
        if self.is_event:
            text = _cut(self.rule, 3) + (f": {values}" if values else "")
        else:
            text = f"expected {_cut(self.rule, 3)}" + (f", got {values}" if values else "")
        return printable((f"{place}: {text}" + (f"; {_cut(self.do, 3)}" if self.do else "")).replace("\n", " "))

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


def _cut(value: object, times: int = 1) -> str:
    """A value as text; of a long one, such as from a file, the beginning."""
    return text if len(text := str(value)) <= times * _LONGEST else text[: times * _LONGEST] + " ..."


def _restore(kind: type[XpnetError], arguments: tuple[str, ...], attributes: dict[str, Any]) -> XpnetError:
    error = kind(*arguments)
    error.__dict__.update(attributes)
    return error


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
    """Checkpoints and other files of a run that cannot be written or read."""


_MOST = 30  # names in a message
_LEAST = 0.6  # likeness of two names that are near, of at most 1
_NEAR = 0.1  # a second name is as good as the first, if their likeness differs by less


def near(name: str, names: Iterable[str]) -> list[str]:
    """Return the one or two names that a mistyped one may stand for, the nearest first; none where none is near.

    Two names are near if they share, in order, at least 0.6 of their letters. Capitals count as small letters.
    """
    typed, known = name.lower(), {n.lower(): n for n in sorted(names, reverse=True)}
    close = difflib.get_close_matches(typed, sorted(known), n=2, cutoff=_LEAST)
    like = [difflib.SequenceMatcher(None, c, typed).ratio() for c in close]
    return [known[c] for c, likeness in zip(close, like, strict=True) if likeness > like[0] - _NEAR]


def nearest(name: str, names: Iterable[str]) -> str:
    """Say which of names comes nearest to a mistyped one: "did you mean 'lenet5'?", else the whole list."""
    known = sorted(n if len(n) < 80 else n[:76] + " ..." for n in names)
    if close := near(name, known):
        return "did you mean " + " or ".join(repr(c) for c in close) + "?"
    return (
        "choose one of " + ", ".join(known[:_MOST]) + (f" and {len(known) - _MOST} more" if len(known) > _MOST else "")
    )

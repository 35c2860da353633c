"""Settings that a page sends and receives as an object of JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from xpnet import arguments
from xpnet.errors import ConfigError, nearest

__all__ = ["SentSettings"]

_WHERE = "settings"


@dataclass(frozen=True)
class SentSettings:
    """The base of the settings of a page; a subclass has the fields, and checks them."""

    @classmethod
    def read(cls, given: Any) -> Self:
        """Read what a page sends, an object of JSON; what is not in it has its default.

        Raises:
            ConfigError: a name is unknown, or a value is not one of these.
        """
        given = arguments.instance(_WHERE, "settings", given, kind=Mapping, rule="an object")
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                raise ConfigError(_WHERE, f"one of {', '.join(known)}", nearest(str(name), known), name=repr(name)[:80])
        return cls(**given)

    def to_json(self) -> dict[str, Any]:
        """Return what read takes."""
        return asdict(self)

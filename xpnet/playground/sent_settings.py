"""Settings that a page sends and receives as an object of JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Self

from xpnet import arguments
from xpnet.errors import ConfigError, nearest

__all__ = ["MOST_STEPS", "SentSettings"]

MOST_STEPS = 10_000_000  # that a link may ask for
_MOST_CHANGES = 50
_WHERE = "settings"


@dataclass(frozen=True)
class SentSettings:
    """The base of the settings of a page; a subclass has more fields, and checks them all.

    Args:
        lr: the learning rate, above 0, at most ``highest_lr``.
        earlier_rates: (step, lr) of each rate before it, which held until so many steps were made.
    """

    lr: float = 0.1
    earlier_rates: tuple[tuple[int, float], ...] = ()
    highest_lr: ClassVar[float] = 10.0

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

    def changed(self, **values: Any) -> Self:
        """Return a copy with other values."""
        return replace(self, **values)

    def rate_at(self, step: int) -> float:
        """Return the learning rate after so many steps."""
        return next((lr for until, lr in self.earlier_rates if step < until), self.lr)

    def with_rate(self, lr: Any, step: int) -> Self:
        """Return a copy whose learning rate is another one from a step on.

        Raises:
            ConfigError: it is no rate, or was changed too often.
        """
        last = self.earlier_rates[-1][0] if self.earlier_rates else 0
        earlier = (*self.earlier_rates, (step, self.lr)) if step > last else self.earlier_rates
        return self.changed(lr=lr, earlier_rates=earlier if lr != self.lr else self.earlier_rates)

    def from_start(self) -> Self:
        """Return a copy that trains with the last rate from the first step on."""
        return self.changed(earlier_rates=())

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_rates(self) -> None:
        self._set("lr", self._read_rate(self.lr))
        given = arguments.items(_WHERE, "earlier_rates", self.earlier_rates)
        if len(given) > _MOST_CHANGES:
            raise ConfigError(_WHERE, f"at most {_MOST_CHANGES} changes of lr", "reset", changes=len(given))
        found, last = [], 0
        for pair in given:
            if len(arguments.items(_WHERE, "earlier rate", pair)) != 2:
                raise ConfigError(_WHERE, "earlier_rates of two numbers: step, lr", rate=arguments.shown(pair))
            last = arguments.count(_WHERE, "step of an earlier rate", pair[0], last + 1, MOST_STEPS)
            found.append((last, self._read_rate(pair[1])))
        self._set("earlier_rates", tuple(found))

    def _read_rate(self, value: Any) -> float:
        return arguments.number(_WHERE, "lr", value, 1e-6, self.highest_lr, closed=True)

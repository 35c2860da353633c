"""One node of a graph: its op, its name, and its attributes as values of Python, read with their kinds checked."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from xpnet.errors import ConfigError
from xpnet.interop.onnx.registry import Reader, find

__all__ = ["Node"]

_NOTHING: Any = object()


@dataclass
class Node:
    """One node.

    Args:
        op: its type, such as "Conv".
        name: its own name, or one that was made of its op and place.
        opset: the version of the opset that it is of.
        inputs, outputs: names of values; "" where an optional one is left out.
        attributes: numbers, texts, lists of them and arrays, by name.
    """

    op: str
    name: str
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def reader(self) -> Reader:
        """How the op is read."""
        found = find(self.op, self.opset)
        assert found is not None, "the ops were looked up when the file was loaded"
        return found

    @property
    def where(self) -> str:
        """What the node is called in messages."""
        return f"{self.op} node {self.name!r}"

    def integer(self, name: str, default: Any = _NOTHING) -> Any:
        """Return an attribute that is an integer; its default where there is none."""
        return self._of(name, default, int, "an integer")

    def number(self, name: str, default: Any = _NOTHING) -> Any:
        """Return an attribute that is a finite number."""
        found = self._of(name, default, float, "a number")
        if isinstance(found, float) and not math.isfinite(found):
            raise ConfigError(self.where, f"{name} that is finite", **{name: found})
        return found

    def text(self, name: str, default: Any = _NOTHING) -> Any:
        """Return an attribute that is a text."""
        return self._of(name, default, str, "a text")

    def flag(self, name: str, default: bool = False) -> bool:
        """Return an attribute that is 0 or 1, as a truth value."""
        found = self.integer(name, int(default))
        if found not in (0, 1):
            raise ConfigError(self.where, f"{name} 0 or 1", **{name: found})
        return bool(found)

    def integers(self, name: str, default: Any = _NOTHING) -> Any:
        """Return an attribute that is a list of integers, as a tuple."""
        found = self._of(name, default, list, "a list of integers")
        if isinstance(found, list) and not all(type(n) is int for n in found):
            raise ConfigError(self.where, f"{name} that is a list of integers", **{name: found[:8]})
        return tuple(found) if isinstance(found, list) else found

    def choice(self, name: str, default: str, known: tuple[str, ...]) -> str:
        """Return an attribute that is one of some texts."""
        found = self.text(name, default)
        if found not in known:
            raise ConfigError(self.where, f"{name} that is one of {', '.join(known)}", **{name: repr(found)})
        return found

    def only(self, name: str, value: Any) -> None:
        """Raise unless an attribute is left out or has the one value that is read."""
        if self.attributes.get(name, value) != value:
            rule = f"{name} = {value!r}, the only value that is read"
            raise ConfigError(self.where, rule, **{name: self.attributes[name]})

    def _of(self, name: str, default: Any, kind: type, rule: str) -> Any:
        found = self.attributes.get(name, default)
        if found is _NOTHING:
            raise ConfigError(self.where, f"an attribute {name}", **{name: None})
        if found is default or type(found) is kind:
            return found
        raise ConfigError(self.where, f"{name} that is {rule}", **{name: type(found).__name__})

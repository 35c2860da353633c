"""Signatures as they are called, without annotations, and which members of a class are described."""

from __future__ import annotations

import inspect
import types
from typing import Any

__all__ = ["members_of", "overrides_of", "signature_of", "types_of"]

_CALLED = ("__call__", "__getitem__", "__len__", "__iter__")  # special methods that have a docstring of their own


def signature_of(value: Any, drop_first: bool = False) -> str:
    """Return the parentheses of a call, such as "(x, w, b=None, *, stride=1)"; "" where there are none."""
    is_error = inspect.isclass(value) and issubclass(value, BaseException) and "__init__" not in vars(value)
    if is_error or getattr(value, "_is_protocol", False):
        return ""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    found = list(signature.parameters.values())[1 if drop_first else 0 :]
    shown = [
        p.replace(annotation=p.empty, default=p.empty if p.default is p.empty else _Shown(p.default)) for p in found
    ]
    return str(inspect.Signature(shown))


class _Shown:
    """A default as a program writes it."""

    def __init__(self, value: Any) -> None:
        named = inspect.isroutine(value) or inspect.isclass(value)
        text = value.__name__ if named else repr(value)
        self.text = "..." if text.startswith("<") or len(text) > 60 else text

    def __repr__(self) -> str:
        return self.text


def types_of(value: Any) -> dict[str, str]:
    """Return the annotations of the arguments, as the code has them; empty where there are none."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {p.name: text for p in parameters if (text := _type_text(p.annotation))}


def _type_text(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__forward_arg__", None)
    if text is None:
        text = annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
    return "" if text == "Any" else text


def members_of(value: Any, public: frozenset[Any]) -> list[tuple[str, Any]]:
    """Return the methods and properties that a class's entry describes.

    They are its own and those of bases that are not public, without those that override one of a public base.
    """
    if not inspect.isclass(value):
        return []
    found: dict[str, Any] = {}
    overridden = {name for name, _ in overrides_of(value, public)}
    for owner in _own_classes(value, public):
        for name, member in vars(owner).items():
            if _is_described(name, member, owner) and name not in overridden:
                found.setdefault(name, member)
    return list(found.items())


def overrides_of(value: Any, public: frozenset[Any]) -> list[tuple[str, Any]]:
    """Return the methods of a class that its public bases describe already, each with that base."""
    if not inspect.isclass(value):
        return []
    bases = [base for base in value.__mro__[1:] if base in public]
    found: dict[str, Any] = {}
    for owner in _own_classes(value, public):
        for name, member in vars(owner).items():
            base = next(
                (b for b in bases if name in vars(b) or any(name in vars(o) for o in _own_classes(b, public))), None
            )
            if base and not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                found.setdefault(name, base)
    return list(found.items())


def _own_classes(value: Any, public: frozenset[Any]) -> list[Any]:
    """A class and the bases of xpnet that are described with it, up to those that are public themselves."""
    theirs = {base for found in value.__mro__[1:] if found in public for base in found.__mro__}
    return [owner for owner in value.__mro__ if owner.__module__.startswith("xpnet.") and owner not in theirs]


def _is_described(name: str, member: Any, owner: Any) -> bool:
    """Whether a member is public, has a docstring, and is no function of a module that is kept in the class."""
    if name.startswith("_") and name not in _CALLED:
        return False
    function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
    if isinstance(member, property):
        return bool(member.fget and member.fget.__doc__)
    is_own = isinstance(function, types.FunctionType) and function.__module__ == owner.__module__
    return is_own and bool(function.__doc__)

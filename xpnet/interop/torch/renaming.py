"""Names of PyTorch as names of the model, where a user says so."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from xpnet import arguments
from xpnet.errors import ConfigError, nearest

__all__ = ["Rename", "renamer"]

Rename = Mapping[Any, str | None] | Callable[[str], str | None]
Rule = tuple[
    re.Pattern[str], str | None, bool
]  # at the beginning of a name, what takes its place, whether it has groups


def renamer(rename: Rename, names: list[str], where: str) -> Callable[[str], tuple[str | None, bool]]:
    """Return what gives the new name of a name, None to leave it out, and whether the user says anything of it.

    Args:
        rename: a dictionary from prefix or compiled pattern to what takes its place; of several that begin a name, the
            longest. Or a function from name to name, which says nothing of those that it returns as they are.
        names: all of PyTorch's.
        where: the function, for messages.
    Raises:
        ConfigError: rename is neither, holds what begins no name, or returns no name.
    """
    if not isinstance(rename, Mapping):
        return _by_function(arguments.function(where, "rename", rename), where)
    rules = [_rule(key, value, names, where) for key, value in rename.items()]
    rules.sort(key=lambda rule: -len(rule[0].pattern))

    def renamed(name: str) -> tuple[str | None, bool]:
        for pattern, value, has_groups in rules:
            if found := pattern.match(name):
                try:
                    start = found.expand(value) if value is not None and has_groups else value
                except (re.error, IndexError) as error:
                    raise ConfigError.event(where, "rename fails", name=name, error=error) from error
                return None if start is None else start + name[found.end() :], True
        return name, False

    return renamed


def _rule(key: Any, value: Any, names: list[str], where: str) -> Rule:
    if not isinstance(key, str | re.Pattern) or not isinstance(value, str | None):
        rule = "rename from prefixes or compiled patterns to names, or None"
        raise ConfigError(where, rule, rename=f"{arguments.shown(key)}: {arguments.shown(value)}")
    is_prefix = isinstance(key, str)
    pattern = re.compile(rf"{re.escape(key.removesuffix('.'))}(?=\.|$)") if isinstance(key, str) else key
    if not any(pattern.match(name) for name in names):
        known = {".".join(name.split(".")[:i]) for name in names for i in range(1, name.count(".") + 2)}
        do = nearest(key, known) if isinstance(key, str) and known else ""
        raise ConfigError(where, "rename to begin with names of the file", do, rename=arguments.shown(key))
    return pattern, value.removesuffix(".") if is_prefix and value else value, not is_prefix


def _by_function(function: Callable[[str], Any], where: str) -> Callable[[str], tuple[str | None, bool]]:
    def renamed(name: str) -> tuple[str | None, bool]:
        try:
            new = function(name)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError.event(where, "rename fails", name=name, error=reason) from error
        return None if new is None else arguments.text(where, "what rename returns", new), new != name

    return renamed

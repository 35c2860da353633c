"""The names of classes: a rule for all sources, because they reach terminals, pages and files."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence

from xpnet.errors import DataError

__all__ = ["check_class_names", "from_path"]

_FORBIDDEN = frozenset(("Cc", "Cs", "Zl", "Zp"))  # control characters, bytes that are no UTF-8, line separators


def from_path(name: str) -> str:
    """Return the text of a file's name, which is UTF-8 whatever encoding this process gives to names."""
    return os.fsencode(name).decode("utf-8", "surrogateescape")


def check_class_names(where: str, names: Sequence[str]) -> None:
    """Refuse names that repeat, or that hold control characters or what is not UTF-8.

    Raises:
        DataError: as above; the name is quoted.
    """
    if len(set(names)) < len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))
        raise DataError(where, "names of classes that differ", "rename one", name=ascii(twice))
    for name in names:
        if not name.isprintable() and any(unicodedata.category(c) in _FORBIDDEN for c in name):
            raise DataError(where, "names of classes in printable UTF-8", "rename it", name=ascii(name))

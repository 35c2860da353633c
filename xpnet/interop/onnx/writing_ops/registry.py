"""The table of what writes each op."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["WRITERS", "writes"]

F = TypeVar("F", bound=Callable[..., Any])
WRITERS: dict[Callable[..., Any], Callable[..., Any]] = {}


def writes(*functions: Callable[..., Any]) -> Callable[[F], F]:
    """Make the decorated function write ops: ``(writer, *inputs, **options) -> Stored``, as the ops take them."""

    def register(write: F) -> F:
        for function in functions:
            WRITERS[function] = write
        return write

    return register

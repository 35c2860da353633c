"""The kinds of stages, by name."""

from __future__ import annotations

from typing import Any

from xpnet.backend import Backend
from xpnet.playground.plane import Plane
from xpnet.playground.session import Stage
from xpnet.playground.settings import Settings

__all__ = ["open_stage"]


def open_stage(kind: str, settings: Any, backend: Backend) -> Stage:
    """Make a stage from its kind, "plane" or "images", and its settings as a page sends them.

    Raises:
        ConfigError: settings that are none.
    """
    return Plane(Settings.read(settings), backend)

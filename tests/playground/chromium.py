"""The browser of the tests and of the picture of the page: chromium, where one is installed."""

from __future__ import annotations

import shutil
from typing import Any

__all__ = ["find", "launch"]

_FLAGS = ("no-sandbox", "disable-gpu", "disable-background-networking", "disable-component-update", "disable-sync")


def find() -> str | None:
    """Return the path of chromium, or None."""
    found = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    return next(filter(None, found), None)


def launch(driver: Any) -> Any:
    """Start it, by a driver of playwright."""
    return driver.chromium.launch(executable_path=find(), args=[f"--{flag}" for flag in _FLAGS])

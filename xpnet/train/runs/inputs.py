"""What `xpnet predict` is given: files, folders, patterns, a list on standard input, or a table."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from xpnet import arguments
from xpnet.data.scan import LeftOut, walk
from xpnet.data.table import TABLES
from xpnet.errors import ConfigError, DataError

__all__ = ["expanded", "is_archive", "is_table"]


def is_table(path: str) -> bool:
    """Whether a name is that of a table."""
    return Path(path).suffix.lower() in TABLES


def is_archive(path: str) -> bool:
    """Whether a name is that of an archive of arrays."""
    return Path(path).suffix.lower() == ".npz"


def expanded(given: Iterable[str]) -> list[str]:
    """Return the files that names stand for, in order.

    Args:
        given: files; folders, which stand for all images in them; patterns such as "photos/*.jpg", where no file has
            that name; and "-", which stands for the lines of standard input.
    Raises:
        DataError: a folder holds no images, or no file fits a pattern. ConfigError: there are no names.
    """
    found = [path for name in given for path in _each(name)]
    if not found:
        raise ConfigError("predict", "images, or a table, at least one", images="none")
    return found


def _each(name: str) -> Iterator[str]:
    if name == "-":
        for line in sys.stdin:
            if name := line.rstrip("\r\n"):
                yield from _each(name) if name != "-" else ()
        return
    path = arguments.path("predict", "images", name)
    if path.is_dir():
        images, _ = walk(str(path), LeftOut())
        if not images:
            raise DataError.event(name, "there are no images in this folder", "name a folder of images, or files")
        yield from images
    elif any(mark in name for mark in "*?[") and not path.exists():
        files = sorted(glob.glob(str(path.expanduser()), recursive=True))
        if not files:
            raise DataError.event(
                name, "no file fits this pattern", "quote it only where the shell should not expand it"
            )
        for file in files:
            yield from _each(file) if Path(file).is_dir() else (file,)
    else:
        yield str(path)

"""What a folder of images holds: names only, of as many files as there are; no file is opened.

    FOLDER/CLASS/.../IMAGE                        classes are the sub-folders, at any depth below them are their images
    FOLDER/train/CLASS/.../IMAGE                  beside it test or testing, and val, valid or validation
    FOLDER/ONLY/...                               a folder that holds only one other is passed through

Links to folders are followed, except to a folder that they are in.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from xpnet.data.image_format import SUFFIXES
from xpnet.errors import DataError

__all__ = ["OF_SYSTEM", "PARTS", "LeftOut", "Parts", "count_beside", "find_parts", "is_image", "listed", "walk"]

PARTS = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "validation": ("val", "valid", "validation"),
}
_SYSTEM = ("thumbs.db", "desktop.ini", "__macosx", ".ds_store")
_DEPTH = 64

OF_SYSTEM = "of the system"  # .DS_Store, __MACOSX, Thumbs.db; hidden files that are no images


class LeftOut:
    """Counts what is not read, by the reason, with an example of each."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.first: dict[str, str] = {}

    def add(self, reason: str, path: str) -> None:
        """Count a file, by its reason."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        self.first.setdefault(reason, path)

    def text(self, root: str, reasons: Iterable[str] | None = None) -> str:
        """Say what was left out, or of that what has certain reasons; nothing: an empty text."""
        found = [r for r in self.counts if reasons is None or r in reasons]
        each = [f"{self.counts[r]} {r}, such as {_below(root, self.first[r])}" for r in found]
        return f"{sum(self.counts[r] for r in found)} ({'; '.join(each)})" if each else ""


def _below(root: str, path: str) -> str:
    return path[len(root) :].lstrip(os.sep) if path.startswith(root) else path


class Parts(NamedTuple):
    """The folders of a set's parts, and what lies beside them; with one part, validation and test are None."""

    train: str
    validation: str | None
    test: str | None
    beside: list[str]


def listed(folder: str, left_out: LeftOut | None = None) -> tuple[list[str], list[str]]:
    """Return the names of the sub-folders and of the files of a folder, sorted; no hidden ones."""
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, entry.is_dir()) for entry in entries)
    except OSError as error:
        raise DataError.event(folder, "cannot read the folder", error=error.strerror or error) from error
    folders, files = [], []
    for name, is_folder in found:
        if name.startswith(".") or name.lower() in _SYSTEM:
            reason = "hidden" if is_image(name) and not name.startswith("._") else OF_SYSTEM
            if left_out is not None:
                left_out.add(reason, os.path.join(folder, name))
        elif is_folder:
            folders.append(name)
        else:
            files.append(name)
    return folders, files


def is_image(name: str) -> bool:
    """Whether a file is read: it has the suffix of an image."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def find_parts(root: str) -> Parts:
    """Find the folders whose sub-folders are the classes; a folder that holds only one folder is passed through."""
    folders, files = listed(root)
    for _ in range(_DEPTH):
        if len(folders) != 1 or any(map(is_image, files)):
            break
        inner = os.path.join(root, folders[0])
        inside, below = listed(inner)
        if not inside or any(map(is_image, below)) or folders[0].lower() in PARTS["train"]:
            break
        root, folders, files = inner, inside, below
    named = {name.lower(): name for name in folders}

    def place(part: str) -> str | None:
        name = next((named[name] for name in PARTS[part] if name in named), None)
        return None if name is None else os.path.join(root, name)

    train = place("train")
    if train is not None:
        inside, below = listed(train)
        if inside and not any(map(is_image, below)):
            parts = (train, place("validation"), place("test"))
            return Parts(*parts, [p for n in (*folders, *files) if (p := os.path.join(root, n)) not in parts])
    return Parts(root, None, None, [os.path.join(root, name) for name in files])


def walk(
    folder: str, left_out: LeftOut, reason: str = "", each: Callable[[int], None] = lambda count: None
) -> tuple[list[str], int]:
    """Return the paths of the images below a folder, those of each folder first, and how many lie in sub-folders.

    Args:
        folder: where.
        left_out: counts what is not read.
        reason: why none of it is read; by default it is.
        each: called with the number of images that a folder holds.
    """
    images: list[str] = []
    own = 0  # of them in the folder itself

    def visit(place: str, above: list[tuple[int, int]]) -> None:
        nonlocal own
        mark = _mark(place)
        if mark in above or len(above) > _DEPTH:
            left_out.add("linked in a circle", place)
            return
        folders, files = listed(place, left_out)
        before = len(images)
        for name in files:
            path = os.path.join(place, name)
            if not is_image(name):
                left_out.add("with another suffix", path) if not reason else None
            elif reason:
                left_out.add(reason, path)
            else:
                images.append(path)
        each(len(images) - before)
        if place == folder:
            own = len(images)
        for name in folders:
            visit(os.path.join(place, name), [*above, mark])

    visit(folder, [_mark(str(parent)) for parent in Path(os.path.abspath(folder)).parents])
    return images, len(images) - own


def count_beside(path: str, left_out: LeftOut) -> None:
    """Count the images at a path that belong to no class: a file, or a folder with what is in it."""
    if os.path.isdir(path):
        walk(path, left_out, "beside the classes")
    elif is_image(path):
        left_out.add("beside the classes", path)


def _mark(folder: str) -> tuple[int, int]:
    """Tell folders apart, also under several names."""
    try:
        found = os.stat(folder)
    except OSError as error:
        raise DataError.event(folder, "cannot read the folder", error=error.strerror or error) from error
    return found.st_dev, found.st_ino

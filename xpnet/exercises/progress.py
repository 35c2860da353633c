"""What was found of each file of a folder when it was last tested, kept in the folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from xpnet.errors import XpnetError
from xpnet.exercises.catalog import Exercise
from xpnet.exercises.judging import Result
from xpnet.writing import write_atomically

__all__ = ["FILE", "read_progress", "record"]

FILE = ".progress.json"


def digest(path: Path) -> str:
    """Return what tells whether a file was changed."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_progress(folder: Path) -> dict[str, tuple[str, Result]]:
    """Return, by the stem of a file, the digest that it had when it was tested, and what was found."""
    try:
        kept = json.loads((folder / FILE).read_text(encoding="utf-8"))
        found = {str(stem): (str(seen), Result(*map(str, rest))) for stem, (seen, *rest) in kept.items()}
        return {stem: pair for stem, pair in found.items() if pair[1].state in _STATES}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}  # nothing was tested yet, or the file is of no use


_STATES = ("right", "wrong", "open")  # of a file that was tested


def record(folder: Path, found: Mapping[Exercise, Result]) -> str:
    """Keep what was found by a test, if the folder was written by ``xpnet exercises start``.

    Returns:
        why it could not be kept, in one line; or "".
    """
    if not (folder / FILE).exists():
        return ""
    kept = {stem: [seen, *result] for stem, (seen, result) in read_progress(folder).items()}
    tested = {exercise: result for exercise, result in found.items() if result.state in _STATES}
    for exercise, result in tested.items():
        with contextlib.suppress(OSError):
            kept[exercise.stem] = [digest(folder / exercise.file), *result]
    try:
        if tested:
            write_atomically(folder / FILE, json.dumps(kept, indent=1).encode())
    except XpnetError as error:
        return f"this result was not kept: {error}"
    return ""

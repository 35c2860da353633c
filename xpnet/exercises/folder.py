"""The folder of a student: its files, their states, and what is written into it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from xpnet.backend import cores
from xpnet.errors import DataError
from xpnet.exercises.catalog import EXERCISES, Exercise
from xpnet.exercises.judging import Result
from xpnet.exercises.progress import FILE, digest, read_progress
from xpnet.exercises.running import check_file, end_all
from xpnet.writing import write_atomically

__all__ = ["Started", "check", "find_folder", "start", "states"]


class Started(NamedTuple):
    """What ``start`` did.

    Args:
        written: files that were written.
        kept: files that were there already, and stay.
        copies: where what stood in a file that was written anew is now.
    """

    written: list[str]
    kept: list[str]
    copies: dict[str, str]


def start(folder: str | Path, again: Collection[Exercise] = ()) -> Started:
    """Write the files that are missing; those that are there stay as they are.

    Args:
        folder: made if it is missing.
        again: exercises whose files are written anew; a changed one is kept under another name.
    Raises:
        DataError: there is something else in place of the folder or of a file: nothing is written then.
    """
    folder = Path(folder)
    if os.path.lexists(folder) and not folder.is_dir():
        raise DataError("exercises", "a folder, or a name that is free", folder=str(folder))
    for name in (*(exercise.file for exercise in EXERCISES), FILE):
        path = folder / name
        if os.path.lexists(path) and not path.is_file():
            raise DataError("exercises", "a file, or a name that is free", file=str(path))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError.event(
            "exercises", "the folder cannot be made", folder=str(folder), error=error.strerror
        ) from error
    done = Started([], [], {})
    for exercise in EXERCISES:
        path = folder / exercise.file
        if path.exists():
            if exercise not in again:
                done.kept.append(exercise.file)
                continue
            if path.is_symlink() or path.read_bytes() != exercise.text.encode():
                done.copies[exercise.file] = _set_aside(path).name
        write_atomically(path, exercise.text.encode())
        done.written.append(exercise.file)
    if not (folder / FILE).exists():
        write_atomically(folder / FILE, b"{}")
    return done


def _set_aside(path: Path) -> Path:
    """Rename a file to a name that is free, and return it."""
    number = 1
    while os.path.lexists(other := path.with_name(f"{path.stem}.old{number}.py")):
        number += 1
    return path.rename(other)


def find_folder() -> Path | None:
    """Return the folder that is worked in: this one, "exercises" in it, or the only one in it that start wrote."""
    written = [path.parent for path in Path().glob(f"*/{FILE}")]
    for folder in (Path(), Path("exercises"), *(written if len(written) == 1 else ())):
        if any((folder / exercise.file).exists() for exercise in EXERCISES):
            return folder
    return None


def states(folder: Path | None) -> dict[Exercise, Result]:
    """Return what is known of each file without a test.

    The states are those of Result and: "missing", "untouched" (as it was written), "changed" (since the last test).
    """
    kept = {} if folder is None else read_progress(folder)
    found = {}
    for exercise in EXERCISES:
        path = None if folder is None else folder / exercise.file
        if path is None or not path.is_file():
            found[exercise] = Result("missing")
        elif path.read_bytes() == exercise.text.encode():
            found[exercise] = Result("untouched")
        else:
            seen, result = kept.get(exercise.stem, ("", Result("changed")))
            found[exercise] = result if seen == digest(path) else Result("changed")
    return found


def check(
    folder: Path,
    exercises: Sequence[Exercise],
    backend: str,
    time_limit: float,
    show: Callable[[str], None] | None = None,
) -> dict[Exercise, Result]:
    """Test files, each in a process of its own, several at a time, and return what was found.

    Args:
        folder: theirs.
        exercises: which.
        backend: the name of the backend on whose arrays.
        time_limit: seconds for each file.
        show: is called with what a file prints.
    """
    found = states(folder)
    changed = [e for e in exercises if found[e].state not in ("missing", "untouched")]
    with ThreadPoolExecutor(cores()) as pool:
        tested = [pool.submit(check_file, folder / e.file, e, backend, time_limit, show) for e in changed]
        try:
            found |= {e: future.result() for e, future in zip(changed, tested, strict=True)}
        except BaseException:  # Ctrl-C
            pool.shutdown(wait=False, cancel_futures=True)
            end_all()
            raise
    return {e: found[e] for e in exercises}

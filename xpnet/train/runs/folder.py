"""The folder of a run: made once, written by one process at a time."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xpnet.errors import CheckpointError, ConfigError
from xpnet.train.runs.config import RunConfig
from xpnet.writing import FileLock

__all__ = ["FILES", "is_same_file", "locked", "log_folder", "make_log_dir"]

FILES = ("checkpoint.safetensors", "best.safetensors", "config.json", "metrics.jsonl", "result.json", "curves.png",
         "report.html")  # fmt: skip


@contextlib.contextmanager
def locked(resume: Path | None, out: str | Path | None, config: RunConfig) -> Iterator[tuple[Path, FileLock]]:
    """Make the run's folder, or take that of the run to resume, and hold the lock of its checkpoint.

    Raises:
        ConfigError: the folder already has a run. CheckpointError: another process writes it, or it cannot be written.
    """
    try:
        named = Path("runs") / config.run_name if config.run_name else None
        folder = resume or (Path(out) if out is not None else named or _numbered(config))
        if (folder / "checkpoint.safetensors").exists() and not resume:  # before anything is made in it
            raise _occupied(folder, "out" if out is not None else "run_name")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        do = "choose another with out=FOLDER"
        place = str(out or error.filename)
        raise CheckpointError.event(place, "the folder cannot be written", do, error=error.strerror) from error
    with FileLock(folder / "checkpoint.safetensors") as lock:
        if (folder / "checkpoint.safetensors").exists() and not resume:
            raise _occupied(folder, "out" if out is not None else "run_name")
        yield folder, lock


def make_log_dir(folder: str) -> None:
    """Make the folder of logs, before anything of the run is written.

    Raises:
        CheckpointError: it cannot be written to.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _no_logs(folder, error) from error


def log_folder(config: RunConfig, run: Path, origin: Mapping[str, Any]) -> Path:
    """Return the folder in log_dir where a run is logged: its own one, or a new one named after the run's.

    Args:
        origin: of the run, if it is resumed: its log_folder, and in logged_from what the run's own folder was. Where
            a run is still there, this one is a copy of it, which gets new logs; else the run was moved.
    Raises:
        CheckpointError: it cannot be made.
    """
    logs, name = Path(config.log_dir or ""), run.absolute().name
    before = origin.get("log_folder")
    if before and Path(before).parent == logs and not _is_other_run(origin.get("logged_from"), run):
        return Path(before)
    try:
        return _new_folder(logs / (f"{name}-{n}" if n > 1 else name) for n in itertools.count(1))
    except OSError as error:
        raise _no_logs(str(logs / name), error) from error


def _is_other_run(folder: str | None, run: Path) -> bool:
    """Whether there is a run in a folder, and it is another than this."""
    try:
        return bool(folder) and (Path(folder) / "checkpoint.safetensors").exists() and not run.samefile(folder)
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return False


def _no_logs(folder: str, error: OSError) -> CheckpointError:
    do = "choose another with log_dir=FOLDER"
    return CheckpointError.event(folder, "the folder cannot be written", do, error=error.strerror)


def _occupied(folder: Path, name: str) -> ConfigError:
    rule = "a folder without a run" if name == "out" else "a name that no run has"
    return ConfigError(name, rule, f"continue it with resume={folder}", **{name: folder})


def _numbered(config: RunConfig) -> Path:
    """Make a folder in ``runs`` that did not exist."""
    Path("runs").mkdir(exist_ok=True)
    return _new_folder(Path("runs") / f"{config.model}-{Path(config.data).stem}-{n}" for n in itertools.count(1))


def _new_folder(names: Iterator[Path]) -> Path:
    """Make the first folder that did not exist, also where other processes do so at once."""
    while True:
        folder = next(names)
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder


def is_same_file(a: os.stat_result, b: os.stat_result) -> bool:
    """Tell whether a file is the one that it was, unchanged."""
    return (a.st_ino, a.st_size, a.st_mtime_ns) == (b.st_ino, b.st_size, b.st_mtime_ns)

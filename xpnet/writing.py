"""Files that are written whole or not at all, and locks of files: what two processes may not write at once.

A new file is written beside the old one under a name that cannot be foreseen, flushed and renamed, so that a complete
file exists at any time. A symbolic link in its place is replaced, never followed.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import secrets
import time
from collections.abc import Iterator
from io import BufferedWriter
from pathlib import Path
from typing import Any

from xpnet.errors import CheckpointError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["FileLock", "append", "remove_parts", "replaced", "write_atomically"]

_log = logging.getLogger("xpnet")

_BINARY = getattr(os, "O_BINARY", 0)
_NEW = os.O_CREAT | os.O_EXCL | _BINARY  # a link in its place exists
_PART = re.compile(r"\.(.+)\.[0-9a-f]{16}\.part|(.+)\.\d+\.part")  # the second: up to version 0.6


@contextlib.contextmanager
def replaced(path: str | Path) -> Iterator[BufferedWriter]:
    """Open a file to write that takes the place of another at the end of the block; after an error there is none.

    Raises:
        OSError: it cannot be written.
    """
    path = Path(path)
    if not path.name:  # such as "."
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    part = path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}.part")
    try:
        with open(os.open(part, os.O_WRONLY | _NEW, 0o666), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:  # a second Ctrl-C too
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file so that a reader finds the complete old or new one, also after a crash.

    Raises:
        CheckpointError: the folder cannot be written to.
    """
    try:
        with replaced(path) as file:
            file.write(data)
    except OSError as error:
        raise CheckpointError.event(str(path), "the file cannot be written", error=error.strerror) from error


def append(path: str | Path, data: bytes) -> None:
    """Add bytes to a file; a symbolic link in its place is an error.

    Raises:
        CheckpointError: the file cannot be written to.
    """
    try:
        with open(_opened(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab") as file:
            file.write(data)
    except OSError as error:
        raise CheckpointError.event(str(path), "the file cannot be written", error=error.strerror) from error


def remove_parts(folder: Path, names: tuple[str, ...], age: float = 0) -> None:
    """Remove the temporary files that killed processes left of the named files.

    Args:
        folder, names: where, and of which files.
        age: seconds since they were last written; 0 only while holding the lock of the files.
    """
    for part in folder.iterdir():
        match = _PART.fullmatch(part.name)
        if match and (match[1] or match[2]) in names:
            with contextlib.suppress(OSError):
                if not age or time.time() - part.stat(follow_symlinks=False).st_mtime > age:
                    part.unlink()


class FileLock:
    """Held by one writer of a file at a time, until it is released or its process ends, however that ends.

    The lock is of ``.NAME.lock`` beside the file: the system's (flock), which a killed process gives up.

    Args:
        path: the file to write, in a folder that exists.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._beside = self.path.with_name(f".{self.path.name[:200]}.lock")
        self._file: Any = None

    def acquire(self) -> None:
        """Take the lock at once.

        Raises:
            CheckpointError: another writer holds it, or the folder cannot be written to.
        """
        if not self.try_acquire():
            do = "wait for it to end, or use another folder"
            raise CheckpointError.event(str(self.path), "another process or trainer is writing this file", do)

    def try_acquire(self) -> bool:
        """Take the lock, or return False where another writer holds it.

        Raises:
            CheckpointError: the folder cannot be written to.
        """
        while self._file is None:
            try:
                file = open(_opened(self._beside, os.O_RDWR | os.O_CREAT), "r+b", buffering=0)  # noqa: SIM115
            except OSError as error:
                what = "the folder cannot be written"
                raise CheckpointError.event(str(self.path.parent), what, error=error.strerror) from error
            try:
                _lock(file.fileno())
            except (BlockingIOError, PermissionError):
                file.close()
                return False
            with contextlib.suppress(FileNotFoundError):  # removed by the writer before, between open and lock
                if os.path.samestat(os.fstat(file.fileno()), os.stat(self._beside, follow_symlinks=False)):
                    self._file = file
                    return True
            file.close()
        return True

    def release(self) -> None:
        """Give the lock up, if it is held."""
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):
                self._beside.unlink()
            file.close()

    def __enter__(self) -> FileLock:
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def _opened(path: str | Path, flags: int) -> int:
    """Open a file, but never what a symbolic link in its place points to.

    Raises:
        OSError: there is a link, or it cannot be opened.
    """
    none = getattr(os, "O_NOFOLLOW", 0)
    if not none and os.path.islink(path):  # Windows
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return os.open(path, flags | none | _BINARY, 0o666)


def _lock(descriptor: int) -> None:
    """Lock an open file, or raise BlockingIOError or PermissionError where another holds it."""
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if isinstance(error, BlockingIOError | PermissionError):
                raise
            _log.warning("this file system has no locks (%s): let no other process write the same run", error)
    else:
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]

"""numba's cache of compiled loops on disk, which costs a compilation at worst: never an error, never foreign code.

The files are pickles and machine code, so they are read from folders only that the user alone can write, and machine
code only if its checksum is right. What cannot be read is compiled and written anew; what cannot be written stays in
memory.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import logging
import os
import pickle
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from numba.core import caching

from xpnet.errors import CheckpointError
from xpnet.writing import FileLock

__all__ = ["keep_on_disk"]

_DIGEST = hashlib.sha256().digest_size
_PATIENCE = 60.0  # seconds to wait for another process that compiles the same
_log = logging.getLogger("xpnet")
_logged: set[str] = set()


def keep_on_disk(loop: Any, function: Callable[..., Any]) -> None:
    """Let a loop be read from disk and written there; one line in the log where no folder allows that."""
    try:
        loop._cache = _Cache(function)
    except Exception as error:  # numba finds no folder, or other names in another version of numba
        _warn("compiled loops cannot be kept on disk", error)


def _warn(what: str, error: object) -> None:
    if what not in _logged:
        _logged.add(what)
        _log.warning("%s: %s", what, str(error).partition("\n")[0] or type(error).__name__)


def refusal(folder: Path) -> str:
    """Say why pickles in a folder cannot be trusted; "" where nobody but the user and the administrator writes it."""
    if not hasattr(os, "getuid"):
        return ""
    found = folder.stat()
    if found.st_uid not in (os.getuid(), 0):
        return f"{folder} belongs to another user"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{folder} can be written by other users (chmod 700 makes it yours alone)"
    for parent in folder.resolve().parents:
        mode = parent.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return f"{parent}, which {folder.name} is in, can be written by other users"
    return ""


def _private(locator: type) -> type:
    """A locator of numba's that passes over folders which others can write; one that it makes is the user's alone."""

    class Private(locator):
        def ensure_cache_path(self) -> None:
            folder = Path(self.get_cache_path())
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if reason := refusal(folder):
                if not isinstance(self, caching.InTreeCacheLocator):  # Python made that one
                    _warn("a folder of compiled loops is not used", reason)
                raise PermissionError(reason)
            super().ensure_cache_path()

    return Private


class _Implementation(caching.CompileResultCacheImpl):
    _locator_classes: ClassVar[list[type]] = [
        _private(caching.UserProvidedCacheLocator),
        _private(caching.InTreeCacheLocator),
        _private(caching.UserWideCacheLocator),
    ]


class _Files(caching.IndexDataCacheFile):
    """A file for each compiled form of a loop, named after what it was compiled from, that ends with a checksum.

    There is no index, so processes share no file that they change. Forms of another version have other names: they are
    not read, and are removed when a form is written. ``pickle`` ignores the checksum.
    """

    def __init__(self, cache_path: str, filename_base: str, source_stamp: Any) -> None:
        super().__init__(cache_path, filename_base, source_stamp)
        self._base = f"{filename_base}.x"  # numba's own files, and those of xpnet 0.7, are indexed
        self._forms = f"{self._base}{_hash((self._version, source_stamp))}"

    def _name(self, key: Any) -> str:
        return f"{self._forms}-{_hash(key)}.nbc"

    def lock(self, key: Any) -> FileLock:
        """Return the lock that a process holds while it compiles a form."""
        return FileLock(self._data_path(self._name(key)))

    def save(self, key: Any, data: Any) -> None:
        for old in Path(self._cache_path).glob(f"{glob.escape(self._base)}*.nbc"):
            if not old.name.startswith(self._forms):
                with contextlib.suppress(OSError):
                    old.unlink()
        self._save_data(self._name(key), data)

    def load(self, key: Any) -> Any:
        path = Path(self._data_path(self._name(key)))
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(data[:-_DIGEST]).digest() != data[-_DIGEST:]:
            raise ValueError(f"{path.name} is damaged")
        return pickle.loads(data)

    def _dump(self, obj: Any) -> bytes:
        data = super()._dump(obj)
        return data + hashlib.sha256(data).digest()


def _hash(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


class _Cache(caching.FunctionCache):
    _impl_class = _Implementation

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        file = self._cache_file
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, file._source_stamp)
        self._lock: FileLock | None = None

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Read a compiled loop; None where there is none that can be read. One that is being compiled is waited for."""
        found = self._read(sig, target_context)
        if found is None and self._waited(self._index_key(sig, target_context.codegen())):
            found = self._read(sig, target_context)
            if found is not None:
                self._release()
        return found

    def _read(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # damaged files raise every kind
            _warn(f"a compiled loop in {self._cache_path} cannot be read and is compiled anew", error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write a compiled loop, if that is possible."""
        self._try(lambda: super(_Cache, self).save_overload(sig, data))
        self._release()

    def _waited(self, key: Any) -> bool:
        """Take the lock of a form, which is held until the form is written; return whether another process held it."""
        self._release()
        self._lock, start = self._cache_file.lock(key), time.monotonic()
        waited = False
        with contextlib.suppress(CheckpointError):  # the folder cannot be written: what is compiled stays in memory
            while not self._lock.try_acquire() and time.monotonic() - start < _PATIENCE:
                waited = True
                time.sleep(0.01)
        return waited

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except Exception as error:
            self.disable()
            _warn(f"compiled loops cannot be kept in {self._cache_path}", error)

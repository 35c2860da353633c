"""The decoded images of a folder in a file, which is read instead of them as far as it holds what was written.

    KEY.images      N images of H*W*C bytes, then a checksum of each, 4 bytes

KEY is a checksum of the names, sizes and dates of the images, and of what they are resized to. Images whose checksum
does not fit, as after damage, are decoded anew.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import threading
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from xpnet.data.download import Progress
from xpnet.errors import DataError
from xpnet.writing import remove_parts, replaced

__all__ = ["Stored"]

_CHUNK = 64  # images
_ABANDONED = 3600.0  # seconds after which a temporary file is of a process that was killed
_FLAGS = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))

_log = logging.getLogger("xpnet")


class Stored:
    """Reads images from a file in a folder, which is written first unless it is there.

    Args:
        decode: (rows, out) -> None: fills out with the images of files, by their numbers.
        files: the paths of the images.
        rows: the numbers of those to store.
        shape: (H, W, C) of each.
        kind: what else their values depend on.
        folder: where the file is.
        progress: called as (done, total).
    Raises:
        DataError: an image cannot be read, or the file cannot be written.
    """

    def __init__(
        self,
        decode: Callable[[np.ndarray, np.ndarray], None],
        files: Sequence[str],
        rows: np.ndarray,
        shape: tuple[int, ...],
        kind: str,
        folder: Path,
        progress: Progress,
    ) -> None:
        self._decode, self._shape, self._size = decode, shape, int(np.prod(shape))
        self._place = np.full(len(files), -1)
        self._place[rows] = np.arange(len(rows))
        self._key = _key(f"{shape} {kind}", [str(files[row]) for row in rows.tolist()])
        self._path = folder / f"{self._key}.images"
        self._lock, self._warned = threading.Lock(), False
        try:
            if not self._open(len(rows)):
                folder.mkdir(parents=True, exist_ok=True)
                remove_parts(folder, (self._path.name,), _ABANDONED)
                self._write(rows, progress)
                if not self._open(len(rows)):
                    raise OSError(None, "it was removed at once", str(self._path))
        except OSError as error:
            where = str(error.filename or folder)
            raise DataError.event(where, "the cache of images cannot be written", error=error.strerror) from error

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Fill out, (M, H, W, C), with the images of files, by their numbers (M,)."""
        bad = [i for i, row in enumerate(rows.tolist()) if not self._fill(int(self._place[row]), out[i])]
        if bad:
            if not self._warned:
                self._warned = True
                _log.warning("%s is damaged: some images are decoded anew; remove it", self._path)
            images = np.empty((len(bad), *self._shape), np.uint8)
            self._decode(rows[bad], images)
            out[bad] = images

    def _fill(self, place: int, out: np.ndarray) -> bool:
        """Read one image; False if it is not what was written."""
        try:
            data = self._bytes(place * self._size, self._size)
        except OSError:
            return False
        if len(data) < self._size or self._sum(place, data) != self._sums[place]:
            return False
        out[...] = np.frombuffer(data, np.uint8).reshape(self._shape)
        return True

    def _bytes(self, start: int, count: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), count, start)
        with self._lock:
            self._file.seek(start)
            return self._file.read(count)

    def _sum(self, place: int, data: bytes | memoryview) -> int:
        return zlib.crc32(data, zlib.crc32(b"%s %d" % (self._key.encode(), place)))

    def _open(self, count: int) -> bool:
        """Open the file; False if there is none of the size, which is a regular file."""
        try:
            found = os.stat(self._path, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode) or found.st_size != count * (self._size + 4):
                return False
            self._file = open(self._path, "rb", 0, opener=lambda name, flags: os.open(name, flags | _FLAGS))  # noqa: SIM115
            sums = self._bytes(count * self._size, 4 * count)
        except OSError:
            return False
        self._sums = np.frombuffer(sums, "<u4")
        return len(self._sums) == count

    def _write(self, rows: np.ndarray, progress: Progress) -> None:
        sums = np.empty(len(rows), "<u4")
        with replaced(self._path) as file:
            for start in range(0, len(rows), _CHUNK):
                part = rows[start : start + _CHUNK]
                images = np.empty((len(part), *self._shape), np.uint8)
                self._decode(part, images)
                for place, image in enumerate(images, start):
                    sums[place] = self._sum(place, image.data)
                file.write(images.data)
                progress(start + len(part), len(rows))
            file.write(sums.tobytes())


def _key(kind: str, files: Sequence[str]) -> str:
    found = hashlib.sha256(kind.encode())
    for name in files:
        try:
            entry = os.stat(name)
        except OSError as error:
            raise DataError.event(name, "cannot read the image", error=error.strerror) from error
        found.update(f"{name}\0{entry.st_size}\0{entry.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    return found.hexdigest()[:32]

"""Files that users name: opened without blocking, and decompressed no further than their own size supports."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from itertools import islice
from pathlib import Path

from xpnet.errors import DataError, XpnetError, near

__all__ = ["Gunzip", "beside", "check_expansion", "disk_size", "is_gzip", "nearest_path", "open_file"]

_FLAGS = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY"))
_KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}
_FREE = 64 << 20  # bytes that any file may hold, however small it is
_RATIO = 250  # times its size, where that is more
_CHUNK = 1 << 14
_ENTRIES = 10_000  # of a folder that are compared with a mistyped name


@contextmanager
def open_file(
    path: str | os.PathLike[str], kind: str = "file", error: type[XpnetError] = DataError, do: str = ""
) -> Iterator[BufferedReader]:
    """Open a regular file to read its bytes; a FIFO, device, socket or folder is refused at once.

    Args:
        path: the file.
        kind: what is expected, in messages.
        error: the kind of error.
        do: what to do where there is no such file; "": a file of the folder with a similar name is named.
    Raises:
        error: there is no such file, it is not a regular one, or reading it fails, also inside the block.
    """
    where = os.fspath(path)
    try:
        _require_regular(where, os.stat(path).st_mode, error)  # to open a device may already have an effect
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _FLAGS)) as file:
            _require_regular(where, os.fstat(file.fileno()).st_mode, error)
            yield file
    except XpnetError:
        raise
    except (FileNotFoundError, NotADirectoryError) as cause:
        raise error.event(where, f"no such {kind}", do or nearest_path(where, _of_its_kind(where))) from cause
    except (OSError, ValueError) as cause:  # ValueError: a NUL in the path
        reason = getattr(cause, "strerror", None) or cause
        raise error.event(where, f"cannot read the {kind}", error=reason) from cause


def beside(path: str | os.PathLike[str]) -> list[Path]:
    """Return the entries of the folder of a path, without hidden files; none where there is no such folder."""
    try:
        with os.scandir(Path(path).parent) as entries:
            return [Path(path).parent / e.name for e in islice(entries, _ENTRIES) if not e.name.startswith(".")]
    except (OSError, ValueError):
        return []


def nearest_path(path: str | os.PathLike[str], places: Iterable[Path], otherwise: str = "") -> str:
    """Suggest the path with the name most similar to that of a mistyped one; return otherwise if none is similar."""
    names = {place.name: str(place) for place in places}
    close = near(Path(path).name, names)
    return f"did you mean {names[close[0]]!r}?" if close else otherwise


def _of_its_kind(path: str) -> list[Path]:
    """Return the entries of the folder of a file whose suffix is the file's, or a mistyped form of it."""
    suffix = Path(path).suffix
    return [place for place in beside(path) if not suffix or near(suffix, [place.suffix])]


def _require_regular(where: str, mode: int, error: type[XpnetError]) -> None:
    if not stat.S_ISREG(mode):
        raise error(where, "a regular file", kind=_KINDS.get(stat.S_IFMT(mode), "special file"))


def disk_size(file: BufferedReader) -> int:
    """Return the bytes of an open file that are stored: those of holes in a sparse file do not count."""
    found = os.fstat(file.fileno())
    blocks = 512 * getattr(found, "st_blocks", 0)  # 0 where the file system does not say
    return min(found.st_size, blocks) if blocks else found.st_size


def check_expansion(where: str, size: int, stored: int, do: str = "", error: type[XpnetError] = DataError) -> None:
    """Refuse content that is far larger than the file that holds it, before memory is allocated for it.

    Args:
        where: the file's name in messages.
        size: the bytes that it declares.
        stored: the bytes that it has on disk.
        do: what to do about it.
        error: the kind of error.
    Raises:
        error: size exceeds 64 MiB, and 250 times the stored bytes.
    """
    limit = max(_FREE, _RATIO * stored)
    if size > limit:
        raise error(where, f"at most {limit:,} bytes of content in a file of {stored:,}", do, bytes=f"{size:,}")


def is_gzip(file: BufferedReader) -> bool:
    """Whether an open file begins as gzip files do; its position is kept."""
    return file.peek(2)[:2] == b"\x1f\x8b"


class Gunzip:
    """The content of a gzip file, as far as it is asked for; at its end the file's checksum has been compared.

    Args:
        file: at its beginning.
        where: the file's name in messages.
        most: bytes of content; by default only check_expansion limits them.
    """

    def __init__(self, file: BufferedReader, where: str, most: int | None = None) -> None:
        self._file, self._where, self._most = file, where, most
        self._inflate = zlib.decompressobj(31)  # a gzip file: header, CRC-32 and length are checked
        self._stored, self._done = disk_size(file), 0

    def read(self, count: int) -> bytearray:
        """Return the next count bytes, or fewer if the content ends there.

        Raises:
            DataError: the file is truncated or damaged, bytes follow its end, or it holds more than check_expansion
                allows.
        """
        out = bytearray()
        try:
            while len(out) < count and not self._inflate.eof:
                data = self._inflate.unconsumed_tail or self._file.read(_CHUNK)
                part = self._inflate.decompress(data, min(count - len(out), 64 * _CHUNK))
                if not data and not part:
                    raise EOFError("the file ends early")
                out += part
            if self._inflate.eof and (self._inflate.unused_data or self._file.read(1)):
                raise EOFError("bytes follow the end")
        except (EOFError, zlib.error) as error:
            what, do = "the gzip file is truncated or damaged", "copy or download it again"
            raise DataError.event(self._where, what, do, error=error) from error
        self._done += len(out)
        check_expansion(self._where, self._done, self._stored, "decompress it first")
        if self._most is not None and self._done > self._most:
            raise DataError(self._where, f"at most {self._most:,} bytes of content", bytes=f"more than {self._done:,}")
        return out

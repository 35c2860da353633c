"""Files and examples that occur more than once, byte for byte."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from xpnet.data.download import Progress
from xpnet.data.opening import open_file
from xpnet.errors import DataError

__all__ = ["Duplicates", "same_examples", "same_files"]

_FIRST = 1 << 16  # bytes by which files of one size are compared first
_CHUNK = 1 << 20
_MOST = 4 << 30  # bytes that are read


class Duplicates(NamedTuple):
    """Groups of what is the same.

    Args:
        groups: the numbers of the files or examples in each group of at least two, the first occurrence first.
        complete: whether all that might be the same was compared.
    """

    groups: tuple[tuple[int, ...], ...]
    complete: bool = True

    @property
    def extra(self) -> int:
        """How many could be left out so that each occurs once."""
        return sum(len(group) - 1 for group in self.groups)


def same_files(files: Sequence[str], progress: Progress = lambda done, total: None) -> Duplicates:
    """Find files of the same bytes, by SHA-256; only files of the same size are opened, at most 4 GB are read.

    Args:
        files: their paths; one that cannot be read is like no other.
        progress: called with (files compared, files to compare).
    """
    sizes: dict[int, list[int]] = {}
    for i, path in enumerate(files):
        try:
            sizes.setdefault(os.stat(path).st_size, []).append(i)
        except OSError:
            continue
    wanted = [i for group in sizes.values() if len(group) > 1 for i in group]
    left, complete = _MOST, True
    first: dict[Any, list[int]] = {}
    for done, i in enumerate(wanted, 1):
        first.setdefault(_checksum(files[i], _FIRST) or i, []).append(i)
        progress(done, len(wanted))
    whole: dict[Any, list[int]] = {}
    for group in first.values():
        for i in group if len(group) > 1 else ():
            size = os.stat(files[i]).st_size
            left -= size
            complete = complete and left >= 0
            if left >= 0:
                whole.setdefault(_checksum(files[i], size) or i, []).append(i)
    return Duplicates(_groups(whole.values()), complete)


def same_examples(parts: Iterable[np.ndarray]) -> Duplicates:
    """Find examples of the same bytes in arrays (N, ...), numbered on through the parts."""
    found: dict[Any, list[int]] = {}
    i = 0
    for part in parts:
        for row in part:
            key = hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=16).digest()
            found.setdefault(key, []).append(i)
            i += 1
    return Duplicates(_groups(found.values()))


def _groups(found: Iterable[list[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(sorted(tuple(group) for group in found if len(group) > 1))


def _checksum(path: str, most: int) -> bytes | None:
    """Return the SHA-256 of the first bytes of a file, with the size; None where it cannot be read."""
    found, left = hashlib.sha256(), most
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            while left > 0 and (part := file.read(min(_CHUNK, left))):
                found.update(part)
                left -= len(part)
    except DataError:
        return None
    return size.to_bytes(8, "little") + found.digest()

"""The photos of a folder as examples: decoded by worker threads when they are asked for, and kept as far as allowed.

Memory holds the decoded images of a set up to a number of bytes, in the order of their first use; the others are
decoded anew each time. A cache folder keeps all of them on disk.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.backend import cores
from xpnet.data.download import Progress
from xpnet.data.image import decode
from xpnet.data.lazy import Lazy
from xpnet.data.splits import LoadOptions
from xpnet.data.stored import Stored
from xpnet.errors import DataError

__all__ = ["Photos", "advised", "in_threads"]

_HELD = 768 << 20  # bytes of decoded images that are kept by default; with the batches under way less than 1 GB

_log = logging.getLogger("xpnet")


class Photos:
    """Decodes the images of files to one shape.

    Args:
        files: their paths.
        shape: (H, W, C) of each image.
        options: how they are resized, by how many threads, and how much is kept.
    """

    def __init__(self, files: Sequence[str], shape: tuple[int, int, int], options: LoadOptions) -> None:
        self.files, self.shape, self._options = files, shape, options
        self._threads = options.workers or cores()
        allowed = _HELD if options.cache_images is None else options.cache_images
        self._most = min(len(files), allowed // math.prod(shape))
        self._kept = np.empty((self._most, *shape), np.uint8)  # its pages take memory when they are written
        self._place = np.full(len(files), -1)  # of each file's image in it
        self._count = 0
        self._lock = threading.Lock()
        self._warned = False
        self._stored: Stored | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.files, self.shape, replace(self._options, share=None))  # another process decodes anew

    def __deepcopy__(self, memo: Any) -> Photos:
        return self  # what is kept may be shared

    def lazy(self) -> Lazy:
        """Return the images as examples."""
        return Lazy((len(self.files), *self.shape), self.read)

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Fill out, (M, H, W, C), with the images of files, by their numbers (M,).

        Raises:
            DataError: an image cannot be read; the message names it.
        """
        (self._decoded if self._stored is None else self._stored.read)(rows, out)

    def _decoded(self, rows: np.ndarray, out: np.ndarray) -> None:
        place = self._place[rows]
        kept = np.flatnonzero(place >= 0)
        if len(kept) == len(rows):
            np.take(self._kept, place, axis=0, out=out, mode="clip")
            return
        out[kept] = self._kept[place[kept]]
        for _ in in_threads(lambda i: self._decode(int(rows[i]), out[i]), np.flatnonzero(place < 0), self._threads):
            pass

    def all(self, rows: Iterable[int], progress: Callable[[], None] = lambda: None) -> np.ndarray:
        """Return images in memory, and keep no other copy of them."""
        rows = list(rows)
        out = np.empty((len(rows), *self.shape), np.uint8)

        def fill(i: int) -> None:
            if (place := self._place[rows[i]]) >= 0:
                out[i] = self._kept[place]
            else:
                out[i] = self._image(rows[i])

        done = 0

        def fill_rows(start: int, stop: int) -> None:
            nonlocal done
            for _ in in_threads(fill, range(start, stop), self._threads):
                done += 1
                progress()

        (self._options.share or _fill_all)(fill_rows, out)
        for _ in range(len(rows) - done):  # which other processes have decoded
            progress()
        return out

    def damaged(self, progress: Progress) -> dict[int, DataError]:
        """Decode every image once, and return the errors of those that cannot be, by the numbers of their files."""
        found: dict[int, DataError] = {}

        def look(row: int) -> None:
            try:
                self._decode(row, np.empty(self.shape, np.uint8))
            except DataError as error:
                found[row] = error

        for done, _ in enumerate(in_threads(look, range(len(self.files)), self._threads), 1):
            progress(done, len(self.files))
        return found

    def store(self, rows: np.ndarray, folder: Path, progress: Progress) -> None:
        """Decode images into a file of a folder, unless it is there from before, and read them from it.

        Raises:
            DataError: an image cannot be read, or the file cannot be written.
        """
        stored = Stored(self._decoded, self.files, rows, self.shape, self._options.fit, folder.expanduser(), progress)
        self.forget()
        self._stored = stored

    def forget(self) -> None:
        """Keep none of the images any more."""
        with self._lock:
            self._most, self._count = 0, 0
            self._place[:] = -1
            self._kept = np.empty((0, *self.shape), np.uint8)

    def _decode(self, row: int, out: np.ndarray) -> None:
        out[...] = self._image(row)
        if self._count >= self._most:
            return
        with self._lock:
            if self._count >= self._most or self._place[row] >= 0:
                return
            place, self._count = self._count, self._count + 1
        self._kept[place] = out
        self._place[row] = place

    def _image(self, row: int) -> np.ndarray:
        o = self._options
        try:
            return decode(Path(self.files[row]), self.shape, o.max_pixels, o.fit, self._warn_of_colour)
        except DataError as error:
            raise advised(error) from error.__cause__

    def _warn_of_colour(self, path: Path) -> None:
        if not self._warned and self._options.channels != 1:
            self._warned = True
            _log.warning(
                "%s is in colour, those looked at first were gray: it becomes gray (channels=3: all colour)", path
            )


def _fill_all(fill: Callable[[int, int], None], out: np.ndarray) -> None:
    fill(0, len(out))


def advised(error: DataError) -> DataError:
    """Add to the error of an image of a folder that it can be left out."""
    error.do += "; " * bool(error.do) + "skip_damaged leaves such images out"
    return error


def in_threads(work: Callable[[Any], Any], items: Any, threads: int) -> Iterator[Any]:
    """Yield the results in order, computed a few items ahead; an error cancels the rest."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(threads, max(1, len(items)))) as pool:
        pending = [pool.submit(work, item) for item in items[: 4 * threads]]
        for i in range(len(items)):
            try:
                result = pending[i].result()
                pending[i] = None  # type: ignore[call-overload]
                if len(pending) < len(items):
                    pending.append(pool.submit(work, items[len(pending)]))
                yield result
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

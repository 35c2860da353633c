"""The files of the published data sets: in the user's folder, or downloaded and verified by SHA-256."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xpnet.errors import DataError

__all__ = ["Progress", "fetch", "is_cached", "search_folders"]

Progress = Callable[[int, int], None]  # (done, total), in bytes or in images; total is 0 while it is unknown


def search_folders(name: str, data_dir: str | None = None) -> list[Path]:
    """List the folders that may hold a data set's files: the sub-folder of its name, then the folder itself.

    Args:
        name: of the data set, such as "mnist".
        data_dir: the folder; by default the environment variable XPNET_DATA_DIR; if that is not set, no folder.
    Raises:
        DataError: the folder does not exist.
    """
    given = data_dir or os.environ.get("XPNET_DATA_DIR")
    if not given:
        return []
    root = Path(os.path.expanduser(given))
    if not os.path.isdir(root):
        source = "data_dir" if data_dir else "XPNET_DATA_DIR"
        raise DataError.event(source, "no such folder", "create it, or omit it to download the files", folder=root)
    return [folder for folder in (root / name, root) if os.path.isdir(folder)]


def is_cached(name: str, sha256: str) -> bool:
    """Whether fetch finds a file of that name and checksum in the user's cache folder."""
    import pooch

    return (Path(pooch.os_cache("xpnet")) / f"{sha256[:8]}-{name}").is_file()


def fetch(url: str, sha256: str, progress: Progress | None = None) -> Path:
    """Download a file into the user's cache folder, unless it is there already, and verify its SHA-256.

    Args:
        url: the file's address; its last part names the file in the cache.
        sha256: the published checksum, in hexadecimal.
        progress: called with (bytes done, bytes in total); by default a bar on standard error, if that is a terminal.
    Returns:
        The path of the file in the cache.
    Raises:
        DataError: the download failed, or its checksum differs; nothing is left in the cache. It is written to a file
            of a random name, which takes its place when the checksum has been compared.
    """
    import pooch

    name = url.rpartition("/")[2]
    do = f"or put {name} in a folder and set data_dir or XPNET_DATA_DIR to it"
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        cache = Path(pooch.os_cache("xpnet"))
        kept = cache / f"{sha256[:8]}-{name}"
        if os.path.lexists(kept) and (kept.is_symlink() or not kept.is_file()):  # to hash a FIFO would block
            raise DataError.event(str(kept), "this is no regular file of the cache", "remove it")
        with _bar(name, progress) as bar:
            file = pooch.retrieve(url, f"sha256:{sha256}", kept.name, cache, progressbar=bar)
    except OSError as error:  # the errors of requests are OSErrors
        problem = type(error).__name__ + (f" ({error})" if len(str(error)) < 120 else "")
        raise DataError.event(name, "the download failed", f"try again, {do}", error=problem, url=url) from error
    except DataError:
        raise
    except ValueError as error:
        found = re.search(r"got ([0-9a-f]{64})", str(error))
        if found is None:
            raise
        what = "the checksum of the download differs from the published SHA-256"
        raise DataError.event(name, what, f"try again, {do}", published=sha256, found=found[1], url=url) from error
    finally:
        logger.setLevel(level)
    return Path(file)


class _Bar:
    """The progress bar interface of pooch, reporting to a Progress."""

    def __init__(self, report: Progress) -> None:
        self.total = 0
        self.done = 0
        self.report = report

    def update(self, n: int) -> None:
        self.done += n  # pooch counts whole chunks: the last may pass the end
        self.report(min(self.done, self.total) if self.total else self.done, self.total)

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        pass


@contextmanager
def _bar(name: str, progress: Progress | None) -> Iterator[Any]:
    if progress is not None:
        yield _Bar(progress)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with RichProgress(*columns, console=console, disable=not console.is_terminal) as screen:
        task = screen.add_task(name, total=None, start=True)
        yield _Bar(lambda done, total: screen.update(task, completed=done, total=total or None))

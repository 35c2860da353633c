"""Where the files of a known data set come from: the user's folder, else a checked download."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xpnet.errors import DataError

__all__ = ["Progress", "fetch", "search_folders"]

Progress = Callable[[int, int], None]  # (done, total), in bytes or in images; total is 0 while it is not known


def search_folders(name: str, data_dir: str | None = None) -> list[Path]:
    """List the folders in which a data set's files may lie: the sub-folder of its name, then the folder itself.

    Args:
        name: of the data set, such as "mnist".
        data_dir: the folder; by default the environment variable XPNET_DATA_DIR, and no folder where that is not set.
    Raises:
        DataError: the folder does not exist.
    """
    given = data_dir or os.environ.get("XPNET_DATA_DIR")
    if not given:
        return []
    root = Path(given).expanduser()
    if not root.is_dir():
        what = "--data-dir" if data_dir else "XPNET_DATA_DIR"
        raise DataError(what, "the data folder exists", "create it, or leave it out to download", folder=root)
    return [folder for folder in (root / name, root) if folder.is_dir()]


def fetch(url: str, sha256: str, progress: Progress | None = None) -> Path:
    """Download a file into the cache of the operating system, or find it there, and check its SHA-256.

    Args:
        url: the file's address; its last part names the file in the cache.
        sha256: the published checksum, in hexadecimal.
        progress: called with (bytes done, bytes in all); by default a bar on standard error where that is a terminal.
    Returns:
        The path of the file in the cache.
    Raises:
        DataError: the download fails, or its checksum is another. Nothing is left in the cache then.
    """
    import pooch

    name = url.rpartition("/")[2]
    way_out = f"put {name} in a folder and name that with --data-dir or XPNET_DATA_DIR"
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        cache = Path(pooch.os_cache("xpnet"))
        with _bar(name, progress) as bar:
            file = pooch.retrieve(url, f"sha256:{sha256}", f"{sha256[:8]}-{name}", cache, progressbar=bar)
    except OSError as error:  # the errors of requests are OSErrors
        problem = type(error).__name__ + (f" ({error})" if len(str(error)) < 120 else "")
        raise DataError(name, "the file can be downloaded", way_out, problem=problem, url=url) from error
    except ValueError as error:
        found = re.search(r"got ([0-9a-f]{64})", str(error))
        if found is None:
            raise
        raise DataError(
            name, "the checksum of the download matches the published SHA-256", f"try again later, or {way_out}",
            expected=sha256, found=found[1], url=url,
        ) from error  # fmt: skip
    finally:
        logger.setLevel(level)
    return Path(file)


class _Bar:
    """What pooch asks of a progress bar, passed on to a Progress."""

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

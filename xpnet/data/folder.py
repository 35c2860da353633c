"""A folder of images with one sub-folder per class, decoded by Pillow on one thread per core."""

from __future__ import annotations

import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.backend import cores
from xpnet.data.classes import check_class_names
from xpnet.data.dataset import Dataset
from xpnet.data.download import Progress
from xpnet.data.image import SUFFIXES, Header, decode, inspect
from xpnet.data.opening import check_expansion
from xpnet.errors import DataError

__all__ = ["load_folder"]

_LAYOUT = "one sub-folder of images per class"
_TRAIN = ("train", "training")
_TEST = ("test", "testing", "val", "valid", "validation")
_SYSTEM_FILES = ("thumbs.db", "desktop.ini")
_MOST_VISITED = 20_000  # entries of folders that are not read


def load_folder(path: Path, progress: Progress | None = None, max_pixels: int | None = None) -> tuple[Dataset, Dataset]:
    """Load a folder of images by class: path/CLASS/IMAGE, or path/train/CLASS/IMAGE and path/test/CLASS/IMAGE.

    Classes are the names of the sub-folders, sorted. training, testing, val, valid and validation are other names of
    train and test. Without a test folder, a random fifth of each class, always the same, is the test set. Images are
    resized to the most frequent size; a warning says how many. If all are grayscale the result has 1 channel, else 3.
    Transparent images are placed on white, 16-bit ones keep their upper 8 bits, and the EXIF orientation is applied. A
    warning counts the files that are left out: hidden ones, those in sub-folders of a class or beside the classes, and
    those without the suffix of an image.

    Args:
        path: the folder.
        progress: called with (images decoded, images in total).
        max_pixels: as for load_image, for each image.
    Returns:
        train, test: (N, H, W, C) uint8, C 1 or 3.
    Raises:
        DataError: the folder, or that of a class, is missing or empty; there is only one class, or a class of the test
            folder is not in train; or an image is refused, see load_image.
    Cost: each image is opened three times, for its header, its checksums and its pixels. Memory: the result, one image
        a thread, and a second copy of the result during the split.
    """
    roots, beside = _layout(path)
    left_out = _LeftOut()
    for place in beside:
        left_out.add_all("beside the classes", place)
    files: list[Path] = []
    labels: list[int] = []
    starts: list[int] = []
    classes: dict[str, int] = {}
    for root in roots:
        starts.append(len(files))
        folders, others = _listed(root)
        if not folders:
            raise DataError(str(root), _LAYOUT, files=len(others), sub_folders=0)
        if not classes:
            classes = {folder.name: k for k, folder in enumerate(folders)}
            check_class_names(str(root), list(classes))
            if len(classes) < 2:
                raise DataError(str(root), "at least 2 classes, one sub-folder each", classes=list(classes))
        if root is not path:
            for place in others:
                left_out.add_all("beside the classes", place)
        for folder in folders:
            if folder.name not in classes:
                do = "rename or remove it"
                raise DataError(str(folder), "a class of the train folder", do, test=folder.name, train=_few(classes))
            inside, found = _listed(folder)
            images = [file for file in found if _is_image(file)]
            if not images:
                do = f"add files that end in {', '.join(sorted(SUFFIXES))}, or remove the folder"
                found_there = {"files": len(found), "sub_folders": len(inside)}
                raise DataError.event(str(folder), "the folder of a class holds no images", do, **found_there)
            left_out.add_class(folder, inside, found)
            files += images
            labels += [classes[folder.name]] * len(images)
    left_out.warn(path)
    x, y = _decode_all(path, files, progress, max_pixels), np.asarray(labels, dtype=np.int64)
    name, names = path.name or str(path), tuple(classes)
    if len(roots) == 1:
        return Dataset(x, y, names, name).hold_out_fifth("folder/test", stratified=True)
    n = starts[1]
    return Dataset(x[:n], y[:n], names, f"{name}/train"), Dataset(x[n:], y[n:], names, f"{name}/test")


def _few(classes: Iterable[str]) -> str:
    names = list(classes)
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _layout(path: Path) -> tuple[list[Path], list[Path]]:
    """Find the folder or folders whose sub-folders are the classes, train first, and what else lies beside those."""
    folders, files = _listed(path)
    named = {folder.name.lower(): folder for folder in folders}
    train = next((named[name] for name in _TRAIN if name in named), None)
    if train is not None:
        inside, pictures = _listed(train)
        if inside and not any(map(_is_image, pictures)):
            test = next((named[name] for name in _TEST if name in named), None)
            roots = [train] if test is None else [train, test]
            return roots, [p for p in folders if p not in roots] + files
    return [path], files


def _listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the sub-folders and the other entries of a folder, sorted; of hidden entries only files."""
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, entry.is_dir()) for entry in entries)
    except OSError as error:
        raise DataError.event(str(folder), "cannot read the folder", error=error.strerror or error) from error
    folders = [folder / name for name, is_folder in found if is_folder and not name.startswith(".")]
    return folders, [folder / name for name, is_folder in found if not is_folder]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


class _LeftOut:
    """Counts what a folder holds and is not read, for one warning."""

    def __init__(self) -> None:
        self.found: dict[str, list[Path]] = {}
        self.visited = 0

    def add(self, reason: str, path: Path) -> None:
        self.found.setdefault(reason, []).append(path)

    def add_class(self, folder: Path, folders: list[Path], files: list[Path]) -> None:
        """Count the files of a class that are not read, and those in its sub-folders."""
        for path in files:
            if path.name.startswith("."):
                if path.suffix.lower() in SUFFIXES and not path.name.startswith("._"):  # ._NAME: macOS's own
                    self.add("hidden", path)
            elif not _is_image(path) and path.name.lower() not in _SYSTEM_FILES:
                self.add("with another suffix", path)
        for sub in folders:
            self.add_all("in sub-folders of a class", sub)

    def add_all(self, reason: str, path: Path) -> None:
        """Count the images at a path that is not read: those of a folder at any depth."""
        if not path.is_dir():
            if path.suffix.lower() in SUFFIXES:
                self.add(reason, path)
            return
        for place, folders, names in os.walk(path):
            folders.sort()
            self.visited += len(names) + 1
            if self.visited > _MOST_VISITED:
                return
            for name in sorted(names):
                if Path(name).suffix.lower() in SUFFIXES:
                    self.add(reason, Path(place, name))

    def warn(self, path: Path) -> None:
        """Warn of all that was counted."""
        if self.found:
            each = "; ".join(f"{len(paths)} {reason}, such as {paths[0]}" for reason, paths in self.found.items())
            more = " or more" if self.visited > _MOST_VISITED else ""
            total = sum(map(len, self.found.values()))
            warnings.warn(f"{path}: files left out: {total}{more} ({each})", stacklevel=4)


def _decode_all(path: Path, files: list[Path], progress: Progress | None, max_pixels: int | None) -> np.ndarray:
    headers: list[Header] = list(_in_threads(lambda file: inspect(file, max_pixels), files))
    sizes = Counter((header.height, header.width) for header in headers)
    height, width = max(sizes, key=lambda size: (sizes[size], size))  # of several equally frequent sizes, the largest
    other = len(files) - sizes[height, width]
    if other:
        warnings.warn(
            f"{path}: {other} of {len(files)} images are resized to {height} x {width}, the most frequent size",
            stacklevel=4,
        )
    frames = [file for file, header in zip(files, headers, strict=True) if header.frames]
    if frames:
        what = f"{len(frames)} of {len(files)} images have several frames, such as {frames[0]}: the first is used"
        warnings.warn(f"{path}: {what}", stacklevel=4)
    shape = (height, width, 1 if all(header.gray for header in headers) else 3)
    if max_pixels is None and "XPNET_MAX_PIXELS" not in os.environ:
        do = "make the images smaller, or set max_pixels or XPNET_MAX_PIXELS"
        check_expansion(str(path), len(files) * math.prod(shape), sum(header.stored for header in headers), do)
    x = np.empty((len(files), *shape), dtype=np.uint8)
    for i, image in enumerate(_in_threads(lambda file: decode(file, shape, max_pixels), files)):
        x[i] = image
        if progress is not None:
            progress(i + 1, len(files))
    return x


def _in_threads(work: Callable[[Path], Any], files: list[Path]) -> Iterator[Any]:
    """Yield the results in order, computed a few files ahead; an error cancels the rest."""
    from concurrent.futures import ThreadPoolExecutor

    threads = cores()
    with ThreadPoolExecutor(threads) as pool:
        pending = [pool.submit(work, file) for file in files[: 4 * threads]]
        for i in range(len(files)):
            try:
                result = pending[i].result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
            pending[i] = None  # type: ignore[call-overload]
            if len(pending) < len(files):
                pending.append(pool.submit(work, files[len(pending)]))
            yield result

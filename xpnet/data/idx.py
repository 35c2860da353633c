"""MNIST and Fashion-MNIST, which are published as IDX files.

An IDX file is a magic number (0, 0, the type of the elements, the number of axes), the length of each axis as a
big-endian 32-bit integer, then the elements, last axis fastest.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpnet.data.dataset import Dataset
from xpnet.data.download import Progress, fetch, is_cached, search_folders
from xpnet.data.lazy import Lazy, is_resident
from xpnet.data.opening import Gunzip, check_expansion, disk_size, is_gzip, open_file
from xpnet.data.stored_rows import LARGE, StoredRows
from xpnet.errors import DataError

__all__ = ["has_mnist", "load_fashion_mnist", "load_mnist", "parse_idx", "read_idx"]

_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_UBYTE = 0x08
_PUBLISHED_COUNTS = (60_000, 10_000)

_log = logging.getLogger("xpnet")


class _Source(NamedTuple):
    """A published set: its address, SHA-256 and size of each of the four .gz files, the names of the classes."""

    name: str
    url: str
    sha256: tuple[str, str, str, str]
    sizes: tuple[int, int, int, int]
    classes: tuple[str, ...]


_MNIST = _Source(
    "mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    (9_912_422, 28_881, 1_648_877, 4_542),
    tuple("0123456789"),
)
_FASHION_MNIST = _Source(
    "fashion-mnist",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
    (26_421_880, 29_515, 4_422_102, 5_148),
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)

# SHA-256 of MNIST's decompressed files: copies are compressed in many ways.
_MNIST_CONTENT = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)


def load_mnist(data_dir: str | None = None, progress: Progress | None = None) -> tuple[Dataset, Dataset]:
    """Load MNIST: 60,000 handwritten digits for training, 10,000 for testing.

    The four files are read from the folder or its sub-folder mnist, gzipped or not; if none is there, they are
    downloaded. Other sets in this format are accepted too, with a warning in the log, but a file with 60,000 or 10,000
    samples must be MNIST's. Images that take more than 768 MB, not gzipped, stay in their file: x is then a Lazy.

    Args:
        data_dir: the folder; the environment variable XPNET_DATA_DIR by default.
        progress: called with (bytes done, bytes in total) of each download.
    Returns:
        train, test: (N, 28, 28, 1) uint8, labels 0..9.
    Raises:
        DataError: a file is missing, damaged, of another format or with another checksum, or the download failed.
    Source: LeCun, Bottou, Bengio and Haffner (1998).
    """
    return _load(_MNIST, data_dir, progress)


def has_mnist(data_dir: str | None = None) -> bool:
    """Whether load_mnist would find its files on this machine, in a folder or in the cache of downloads."""
    files = zip(_FILES, _MNIST.sha256, strict=True)
    return _in_folder(_MNIST, data_dir) is not None or all(is_cached(f"{file}.gz", sha) for file, sha in files)


def load_fashion_mnist(data_dir: str | None = None, progress: Progress | None = None) -> tuple[Dataset, Dataset]:
    """Load Fashion-MNIST: 60,000 images of clothes in 10 classes for training, 10,000 for testing.

    Arguments, results and errors are those of load_mnist; the sub-folder is fashion-mnist. A file of the size of the
    published .gz must be that file; files of other sizes are rejected if they are MNIST's, which have the same names.

    Source: Xiao, Rasul and Vollgraf (2017).
    """
    return _load(_FASHION_MNIST, data_dir, progress)


def read_idx(path: Path, axes: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes, gzipped or not.

    Args:
        path: the file; whether it is gzipped is read from its first bytes, not from its name.
        axes: the expected number of axes: 3 for images, 1 for labels.
    Returns:
        uint8, of the shape in the header, read-only.
    Raises:
        DataError: the file cannot be read, or as for parse_idx.
    """
    return parse_idx(_read(path, axes), axes, str(path))


def parse_idx(raw: bytes | bytearray, axes: int, where: str) -> np.ndarray:
    """Decode the bytes of an IDX file of unsigned bytes.

    Args:
        raw: the whole file, not compressed.
        axes: the expected number of axes, >= 1.
        where: the file's name in messages.
    Returns:
        uint8, a view of raw.
    Raises:
        DataError: the magic number differs, the file is truncated, or bytes follow the last element.
    """
    shape = _shape(raw, axes, where)
    start = 4 + 4 * axes
    _check_length(len(raw), start + math.prod(shape), shape, where)
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _shape(raw: bytes | bytearray, axes: int, where: str) -> tuple[int, ...]:
    """Read the lengths of the axes from a file's first 4 + 4 * axes bytes."""
    magic = bytes([0, 0, _UBYTE, axes])
    if raw[:4] != magic[: len(raw)]:
        rule = f"the magic number 0x{magic.hex()} of an IDX file of {axes}-D unsigned bytes"
        raise DataError(where, rule, "check that it is the right file", magic=f"0x{raw[:4].hex()}")
    if len(raw) < 4 + 4 * axes:
        _check_length(len(raw), 4 + 4 * axes, (), where)
    return tuple(int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(axes))


def _check_length(length: int, size: int, shape: tuple[int, ...], where: str) -> None:
    if length != size:
        do = "copy or download it again" if length < size else ""
        raise DataError(where, f"a file of {size} bytes", do, bytes=length, shape=shape)


def _read(path: Path, axes: int) -> bytes | bytearray:
    """Read a whole file, after the size that its header declares was compared with its own."""
    where = str(path)
    with open_file(path) as file:
        zipped = is_gzip(file)
        source = Gunzip(file, where) if zipped else file
        raw = bytearray(source.read(4 + 4 * axes))
        shape = _shape(raw, axes, where)
        size = len(raw) + math.prod(shape)
        if not zipped:
            _check_length(os.fstat(file.fileno()).st_size, size, shape, where)
        check_expansion(where, size, disk_size(file), "decompress it first")
        raw += source.read(size - len(raw) + 1)  # the byte after the last, where a gzip file's checksum is compared
        return raw


def _large(path: Path, axes: int) -> Lazy | None:
    """Return the images of a file of more than LARGE bytes, not gzipped, as examples in the file; None of others."""
    where = str(path)
    with open_file(path) as file:
        length = os.fstat(file.fileno()).st_size
        if length <= LARGE or is_gzip(file):
            return None
        shape = _shape(file.read(start := 4 + 4 * axes), axes, where)
        _check_length(length, start + math.prod(shape), shape, where)
    return StoredRows(path, start, shape, np.uint8).lazy().converted((*shape, 1), np.uint8)


def _load(source: _Source, data_dir: str | None, progress: Progress | None) -> tuple[Dataset, Dataset]:
    paths = _in_folder(source, data_dir)
    downloaded = paths is None
    if paths is None:
        paths = [
            fetch(f"{source.url}{file}.gz", sha, progress) for file, sha in zip(_FILES, source.sha256, strict=True)
        ]
    arrays, others = [], []
    for i, path in enumerate(paths):
        axes = 1 if i % 2 else 3
        if axes == 3 and (images := _large(path, axes)) is not None:  # far larger than what is published
            arrays.append(images)
            others.append(path.name)
            continue
        raw = _read(path, axes)
        arrays.append(parse_idx(raw, axes, str(path)))
        if not downloaded and not _is_published(source, i, path, raw, len(arrays[-1])):
            others.append(path.name)
    if others:
        folder = paths[0].parent
        _log.warning("%s: not the published files of %s, used unverified: %s", folder, source.name, ", ".join(others))
    train = _pair(source, arrays[0], arrays[1], paths[0], paths[1])
    test = _pair(source, arrays[2], arrays[3], paths[2], paths[3])
    if train.shape != test.shape:
        raise DataError(str(paths[2]), "images of the training images' size", test=test.shape, train=train.shape)
    return train, test


def _in_folder(source: _Source, data_dir: str | None) -> list[Path] | None:
    """Return the four files in the first folder that has any of them, or None."""
    for folder in search_folders(source.name, data_dir):
        found = {file: path for file in _FILES if (path := _spelled(folder, file)) is not None}
        missing = [file for file in _FILES if file not in found]
        if found and missing:
            do = f"add {', '.join(missing)}, gzipped or not"
            names = ", ".join(path.name for path in found.values())
            raise DataError(str(folder), f"the four files of {source.name}", do, files=names)
        if found:
            return list(found.values())
    return None


def _spelled(folder: Path, file: str) -> Path | None:
    """Find the file under one of its usual names: some programs unpack train-images-idx3 as train-images.idx3."""
    for stem in (file, file.replace("-idx", ".idx")):
        for path in (folder / f"{stem}.gz", folder / stem):
            if os.path.lexists(path):  # what is no regular file is refused when it is opened
                return path
    return None


def _is_published(source: _Source, i: int, path: Path, raw: bytes | bytearray, count: int) -> bool:
    """Whether file i is the published one; one of its size that differs is an error."""
    do = "the file is damaged or of another data set: download it again"
    if source is not _MNIST and path.stat().st_size == source.sizes[i]:
        with open_file(path) as file:
            found = hashlib.sha256(file.read()).hexdigest()
        if found != source.sha256[i]:
            raise DataError(str(path), f"the published file, SHA-256 {source.sha256[i]}", do, SHA256=found)
        return True
    if count not in _PUBLISHED_COUNTS:
        return False
    found, mnist = hashlib.sha256(raw).hexdigest(), _MNIST_CONTENT[i]
    if source is _MNIST and found != mnist:
        raise DataError(str(path), f"MNIST's decompressed content, SHA-256 {mnist}", do, SHA256=found)
    if source is not _MNIST and found == mnist:
        do = f"put the files of {source.name} in a sub-folder named {source.name}"
        raise DataError(str(path), f"a file of {source.name}", do, file="one of mnist")
    return source is _MNIST


def _pair(source: _Source, images: Any, labels: np.ndarray, at: Path, labels_at: Path) -> Dataset:
    if len(images) != len(labels):
        raise DataError(str(labels_at), f"a label for each of {at.name}", images=len(images), labels=len(labels))
    images = images[..., np.newaxis] if is_resident(images) else images
    return Dataset(images, labels.astype(np.int64), source.classes, source.name)  # (N, 28, 28, 1)

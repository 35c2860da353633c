"""MNIST and Fashion-MNIST, in the IDX files they are published in.

An IDX file is a magic number (0, 0, the type of the elements, the number of axes), the length of each axis as a
big-endian 32-bit integer, then the elements, last axis fastest.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xpnet.data.dataset import Dataset
from xpnet.data.download import Progress, fetch, search_folders
from xpnet.errors import DataError

__all__ = ["load_fashion_mnist", "load_mnist", "parse_idx", "read_idx"]

_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_UBYTE = 0x08
_PUBLISHED_COUNTS = (60_000, 10_000)


class _Source(NamedTuple):
    """Where a set is published: address, SHA-256 of each of the four .gz files, names of the classes."""

    name: str
    url: str
    sha256: tuple[str, str, str, str]
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
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)

# SHA-256 of MNIST's files as they are inside the .gz: copies are compressed in many ways.
_MNIST_INSIDE = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)


def load_mnist(data_dir: str | None = None, progress: Progress | None = None) -> tuple[Dataset, Dataset]:
    """Load MNIST: 60,000 handwritten digits to train with, 10,000 to test with.

    The four files are read from the folder (gzipped or not, in it or in its sub-folder mnist), else downloaded. A
    folder may hold other sets in the same format; a file with MNIST's own number of samples must hold MNIST's bytes.

    Args:
        data_dir: the folder; the environment variable XPNET_DATA_DIR by default.
        progress: called with (bytes done, bytes in all) of each download.
    Returns:
        train, test: (N, 28, 28, 1) uint8, labels 0..9.
    Raises:
        DataError: a file is missing, damaged, of another format or with another checksum; the download fails.
    Source: LeCun, Bottou, Bengio and Haffner (1998).
    """
    return _load(_MNIST, data_dir, progress)


def load_fashion_mnist(data_dir: str | None = None, progress: Progress | None = None) -> tuple[Dataset, Dataset]:
    """Load Fashion-MNIST: 60,000 pictures of clothes in 10 classes to train with, 10,000 to test with.

    Arguments, results and errors are those of load_mnist; the sub-folder is fashion-mnist. Files of a folder are not
    compared with the published ones, only refused where they are MNIST's, which bear the same names.

    Source: Xiao, Rasul and Vollgraf (2017).
    """
    return _load(_FASHION_MNIST, data_dir, progress)


def read_idx(path: Path, axes: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes, gzipped or not.

    Args:
        path: the file; its first bytes, not its name, tell whether it is gzipped.
        axes: how many it must have: 3 for images, 1 for labels.
    Returns:
        uint8, of the shape the file gives; not to be written.
    Raises:
        DataError: the file cannot be read, or parse_idx refuses it.
    """
    return parse_idx(_read(path), axes, str(path))


def parse_idx(raw: bytes, axes: int, where: str) -> np.ndarray:
    """Decode the bytes of an IDX file of unsigned bytes.

    Args:
        raw: the whole file, not compressed.
        axes: how many it must have, >= 1.
        where: what messages call it.
    Returns:
        uint8, a view of raw.
    Raises:
        DataError: the magic number is another, the file is cut short, or bytes follow the last element.
    """
    magic = bytes([0, 0, _UBYTE, axes])
    if raw[:4] != magic[: len(raw)]:
        raise DataError(
            where, f"an IDX file of {axes}-D unsigned bytes has the magic number 0x{magic.hex()}",
            "is it the right file?", magic=f"0x{raw[:4].hex()}",
        )  # fmt: skip
    start = 4 + 4 * axes
    if len(raw) < start:
        raise _cut_short(where, start, len(raw))
    shape = tuple(int(n) for n in np.frombuffer(raw, ">u4", axes, offset=4))
    size = start + math.prod(shape)
    if len(raw) < size:
        raise _cut_short(where, size, len(raw))
    if len(raw) > size:
        raise DataError(where, f"the file ends after the {size} bytes its header gives", bytes=len(raw), shape=shape)
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _cut_short(where: str, expected: int, found: int) -> DataError:
    return DataError(
        where, f"the file has the {expected} bytes its header gives", "it is cut short: copy or download it again",
        bytes=found,
    )  # fmt: skip


def _read(path: Path) -> bytes:
    import gzip
    import zlib

    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except EOFError as error:
        raise DataError(
            str(path), "the gzip file is whole", "it is cut short: copy or download it again", bytes=path.stat().st_size
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            str(path), "the gzip file is not damaged", "copy or download it again", problem=error
        ) from error
    except OSError as error:
        raise DataError(str(path), "the file can be read", problem=error.strerror or error) from error


def _load(source: _Source, data_dir: str | None, progress: Progress | None) -> tuple[Dataset, Dataset]:
    paths = _in_folder(source, data_dir)
    downloaded = paths is None
    if paths is None:
        paths = [
            fetch(f"{source.url}{file}.gz", sha, progress) for file, sha in zip(_FILES, source.sha256, strict=True)
        ]
    arrays = []
    for path, axes, inside in zip(paths, (3, 1, 3, 1), _MNIST_INSIDE, strict=True):
        raw = _read(path)
        arrays.append(parse_idx(raw, axes, str(path)))
        if not downloaded and len(arrays[-1]) in _PUBLISHED_COUNTS:
            _check_origin(source, path, raw, inside)
    train = _pair(source, arrays[0], arrays[1], paths[0], paths[1])
    test = _pair(source, arrays[2], arrays[3], paths[2], paths[3])
    if train.shape != test.shape:
        raise DataError(
            str(paths[2]),
            "images to test with have the size of those to train with",
            test=test.shape,
            train=train.shape,
        )
    return train, test


def _in_folder(source: _Source, data_dir: str | None) -> list[Path] | None:
    """The four files in the first folder that has any of them; None where no folder has."""
    for folder in search_folders(source.name, data_dir):
        found = {file: path for file in _FILES if (path := _spelled(folder, file)) is not None}
        missing = [file for file in _FILES if file not in found]
        if found and missing:
            raise DataError(
                str(folder), f"{source.name} is four files", f"add {', '.join(missing)} (or with .gz)",
                found=", ".join(path.name for path in found.values()),
            )  # fmt: skip
        if found:
            return list(found.values())
    return None


def _spelled(folder: Path, file: str) -> Path | None:
    """The file under one of the names it goes by: some programs unpack train-images-idx3 as train-images.idx3."""
    for stem in (file, file.replace("-idx", ".idx")):
        for path in (folder / f"{stem}.gz", folder / stem):
            if path.is_file():
                return path
    return None


def _check_origin(source: _Source, path: Path, raw: bytes, mnist: str) -> None:
    found = hashlib.sha256(raw).hexdigest()
    if source is _MNIST and found != mnist:
        raise DataError(
            str(path), "a file of MNIST's own size has MNIST's SHA-256 (inside the gzip)",
            "it is damaged or another data set: download it again", expected=mnist, found=found,
        )  # fmt: skip
    if source is not _MNIST and found == mnist:
        raise DataError(
            str(path),
            f"the files are {source.name}'s",
            f"put those in a sub-folder named {source.name}",
            found="mnist's",
        )


def _pair(source: _Source, images: np.ndarray, labels: np.ndarray, at: Path, labels_at: Path) -> Dataset:
    if len(images) != len(labels):
        raise DataError(
            str(labels_at), f"there is a label for each image of {at.name}", images=len(images), labels=len(labels)
        )
    return Dataset(images[..., np.newaxis], labels.astype(np.int64), source.classes, source.name)  # (N, 28, 28, 1)

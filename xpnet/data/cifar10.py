"""CIFAR-10, from its binary version: records of one label byte and 3072 bytes of image, one channel after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from xpnet.data.dataset import Dataset
from xpnet.data.download import Progress, fetch, search_folders
from xpnet.errors import DataError

__all__ = ["load_cifar10"]

_ARCHIVE = "cifar-10-binary.tar.gz"
_URL = f"https://www.cs.toronto.edu/~kriz/{_ARCHIVE}"
_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
_FOLDER = "cifar-10-batches-bin"
_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
_TEST = "test_batch.bin"
_RECORD = 1 + 3 * 32 * 32
_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def load_cifar10(data_dir: str | None = None, progress: Progress | None = None) -> tuple[Dataset, Dataset]:
    """Load CIFAR-10: 50,000 colour images of 10 classes for training, 10,000 for testing.

    The files are read from the folder or its sub-folder cifar10, as cifar-10-binary.tar.gz, as cifar-10-batches-bin, or
    as the .bin files alone; if none of them is there, the archive is downloaded. It is read in memory, not unpacked.

    Args:
        data_dir: the folder; the environment variable XPNET_DATA_DIR by default.
        progress: called with (bytes done, bytes in total) of the download.
    Returns:
        train, test: (N, 32, 32, 3) uint8, labels 0..9.
    Raises:
        DataError: a file is missing, damaged or of another format, or the download failed.
    Source: Krizhevsky (2009), Learning multiple layers of features from tiny images.
    """
    for folder in search_folders("cifar10", data_dir):
        for files in (folder / _FOLDER, folder):
            if (files / _TRAIN[0]).is_file() or (files / _TEST).is_file():
                return _load(lambda name, files=files: _read_file(files / name), str(files))
        if (folder / _ARCHIVE).is_file():
            return _load_archive(folder / _ARCHIVE)
    return _load_archive(fetch(_URL, _SHA256, progress))


def _load(read: Callable[[str], bytes], where: str) -> tuple[Dataset, Dataset]:
    parts = [_parse(read(name), f"{where}/{name}") for name in _TRAIN]
    images = np.concatenate([images for images, _ in parts])
    labels = np.concatenate([labels for _, labels in parts])
    test_images, test_labels = _parse(read(_TEST), f"{where}/{_TEST}")
    test = Dataset(test_images, test_labels, _CLASSES, "cifar10")
    return Dataset(images, labels, _CLASSES, "cifar10"), test


def _parse(raw: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 32, 32, 3) uint8 and labels (n,) int64 of one file."""
    if not raw or len(raw) % _RECORD:
        raise DataError(where, f"whole records of {_RECORD} bytes", "download the file again", bytes=len(raw))
    records = np.frombuffer(raw, np.uint8).reshape(-1, _RECORD)
    labels = records[:, 0].astype(np.int64)
    if labels.max() >= len(_CLASSES):
        record = int(np.argmax(labels))
        do = "use the binary version of CIFAR-10"
        raise DataError(where, "labels in 0..9", do, label=labels[record], record=record)
    planes = records[:, 1:].reshape(-1, 3, 32, 32)  # (n, C, H, W)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels  # (n, H, W, C)


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        do = "CIFAR-10 consists of data_batch_1.bin to data_batch_5.bin and test_batch.bin"
        raise DataError.event(str(path), "cannot read the file", do, error=error.strerror) from error


def _load_archive(path: Path) -> tuple[Dataset, Dataset]:
    import tarfile
    import zlib

    try:
        # One pass in the order of the archive: seeking backwards in a gzip file decompresses it from the start.
        wanted = {f"{_FOLDER}/{name}": name for name in (*_TRAIN, _TEST)}
        found: dict[str, bytes] = {}
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.name in wanted and member.isfile() else None
                if file is not None:
                    found[wanted[member.name]] = file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError.event(
            str(path), "the archive is truncated or damaged", "download it again", error=error
        ) from error
    missing = [name for name in (*_TRAIN, _TEST) if name not in found]
    if missing:
        do = "use the binary version of CIFAR-10"
        raise DataError.event(str(path), f"files of {_FOLDER} are missing", do, missing=", ".join(missing))
    return _load(found.__getitem__, str(path))

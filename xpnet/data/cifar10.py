"""CIFAR-10, from its binary version: records of one label byte and 3072 bytes of image, one channel after the other."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from xpnet.data.dataset import Dataset
from xpnet.data.download import Progress, fetch, search_folders
from xpnet.data.opening import Gunzip, check_expansion, disk_size, is_gzip, open_file
from xpnet.errors import DataError

__all__ = ["load_cifar10"]

_ARCHIVE = "cifar-10-binary.tar.gz"
_URL = f"https://www.cs.toronto.edu/~kriz/{_ARCHIVE}"
_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
_SIZE = 170_052_171
_FOLDER = "cifar-10-batches-bin"
_BATCHES = {  # the SHA-1 of each file, the test set last
    "data_batch_1.bin": "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
    "data_batch_2.bin": "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
    "data_batch_3.bin": "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
    "data_batch_4.bin": "aab85764eb3584312d3c7f65fd2fd016e36a258e",
    "data_batch_5.bin": "26e2849e66a845b7f1e4614ae70f4889ae604628",
    "test_batch.bin": "67eb016db431130d61cd03c7ad570b013799c88c",
}
_RECORD = 1 + 3 * 32 * 32
_LARGEST = 10_000 * _RECORD  # bytes of a file in the archive
_MOST = 192 << 20  # bytes of the archive's content, of which the published one has 184 million
_CHUNK = 1 << 20
_DAMAGED = ("the archive is truncated or damaged", "download it again")
_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_log = logging.getLogger("xpnet")


def load_cifar10(data_dir: str | None = None, progress: Progress | None = None) -> tuple[Dataset, Dataset]:
    """Load CIFAR-10: 50,000 colour images of 10 classes for training, 10,000 for testing.

    The files are read from the folder or its sub-folder cifar10, as cifar-10-binary.tar.gz, as cifar-10-batches-bin, or
    as the .bin files alone; if none of them is there, the archive is downloaded. It is read in memory, not unpacked. An
    archive of the published size must have the published SHA-256; that other files differ is a warning in the log.

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
            if any(os.path.lexists(files / name) for name in _BATCHES):
                return _load(lambda name, files=files: _read_file(files / name), str(files), False)
        if os.path.lexists(folder / _ARCHIVE):
            return _load_archive(folder / _ARCHIVE)
    return _load_archive(fetch(_URL, _SHA256, progress), verified=True)


def _load(read: Callable[[str], bytes | bytearray], where: str, verified: bool) -> tuple[Dataset, Dataset]:
    parts, others = [], []
    for name, sha1 in _BATCHES.items():
        raw = read(name)
        if not verified and hashlib.sha1(raw, usedforsecurity=False).hexdigest() != sha1:
            others.append(name)
        parts.append(_parse(raw, f"{where}/{name}"))
    if others:
        _log.warning("%s: not the published files of cifar10, used unverified: %s", where, ", ".join(others))
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts[:-1], strict=True))
    test = Dataset(parts[-1][0], parts[-1][1], _CLASSES, "cifar10")
    return Dataset(images, labels, _CLASSES, "cifar10"), test


def _parse(raw: bytes | bytearray, where: str) -> tuple[np.ndarray, np.ndarray]:
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
    if not os.path.lexists(path):
        do = "CIFAR-10 consists of data_batch_1.bin to data_batch_5.bin and test_batch.bin"
        raise DataError.event(str(path), "No such file", do)
    with open_file(path) as file:
        check_expansion(str(path), os.fstat(file.fileno()).st_size, disk_size(file))
        return file.read()


def _load_archive(path: Path, verified: bool = False) -> tuple[Dataset, Dataset]:
    where = str(path)
    with open_file(path) as file:
        if not is_gzip(file):
            raise DataError.event(where, "the archive is not a gzip file", "download it again")
        if not verified and os.fstat(file.fileno()).st_size == _SIZE:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != _SHA256:
                do = "the archive is damaged: download it again"
                raise DataError(where, f"the published file, SHA-256 {_SHA256}", do, SHA256=found)
            verified = True
            file.seek(0)
        content = Gunzip(file, where, _MOST)
        found = dict(_members(content, where))
        while content.read(_CHUNK):  # to the end, where the archive's checksum is compared
            pass
    missing = [name for name in _BATCHES if name not in found]
    if missing:
        do = "use the binary version of CIFAR-10"
        raise DataError.event(where, f"files of {_FOLDER} are missing", do, missing=", ".join(missing))
    return _load(found.__getitem__, where, verified)


def _members(content: Gunzip, where: str) -> Iterator[tuple[str, bytearray]]:
    """Yield name and bytes of the batches in a tar archive, one pass in its order; of all else, read the lengths.

    Only plain files under their plain names are looked for: links, sparse files and long names are passed over.
    """
    names = {f"{_FOLDER}/{name}".encode(): name for name in _BATCHES}
    while any(header := content.read(512)):
        total = sum(header) - sum(header[148:156]) + 8 * 0x20  # the checksum is taken with spaces in its place
        try:
            size, checksum = (int(header[i:j].strip(b" \0") or b"0", 8) for i, j in ((124, 136), (148, 156)))
        except ValueError as error:
            raise DataError.event(where, *_DAMAGED, error=error) from error
        if len(header) < 512 or checksum != total or size < 0:
            raise DataError.event(where, *_DAMAGED, error="the checksum of a header differs")
        name = names.get(bytes(header[:100]).rstrip(b"\0")) if header[156:157] in (b"0", b"\0") else None
        skip = -size % 512
        if name is None:
            skip += size
        elif size > _LARGEST:
            raise DataError(f"{where}/{name}", f"at most {_LARGEST:,} bytes", bytes=size)
        else:
            del names[f"{_FOLDER}/{name}".encode()]  # of two with one name, the first
            yield name, content.read(size)
        while skip > 0:
            read = len(content.read(min(skip, _CHUNK)))
            if not read:
                raise DataError.event(where, *_DAMAGED)
            skip -= read

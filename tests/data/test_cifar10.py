from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from tests.harness import raises
from xpnet.data import load
from xpnet.errors import DataError

NAMES = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
ARCHIVE = "cifar-10-binary.tar.gz"


def record(label: int, r: int, g: int, b: int) -> bytes:
    planes = [bytearray([value] * 1024) for value in (r, g, b)]
    planes[0][32 * 2 + 5] = 99  # red, row 2, column 5
    return bytes([label]) + b"".join(map(bytes, planes))


@pytest.fixture
def batches() -> dict[str, bytes]:
    return {name: record(i, 10 + i, 20, 30) + record(9 - i, 1, 2, 3) for i, name in enumerate(NAMES)}


def write_archive(path: Path, files: dict[str, bytes], folder: str = "cifar-10-batches-bin") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def write_folder(path: Path, files: dict[str, bytes]) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (path / name).write_bytes(data)


def check(train, test):
    assert train.x.shape == (10, 32, 32, 3)
    assert test.x.shape == (2, 32, 32, 3)
    assert train.y.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert test.y.tolist() == [5, 4]
    assert train.x[2, 0, 0].tolist() == [11, 20, 30]
    assert train.x[2, 2, 5].tolist() == [99, 20, 30]
    assert train.x[2, 5, 2].tolist() == [11, 20, 30]
    assert (train.classes[3], len(train.classes)) == ("cat", 10)


@pytest.mark.parametrize("sub", ["", "cifar10"])
def test_the_archive_is_read_in_place(tmp_path, batches, sub):
    (tmp_path / sub).mkdir(exist_ok=True)
    write_archive(tmp_path / sub / ARCHIVE, batches)
    check(*load("cifar10", str(tmp_path)))
    assert [p.name for p in (tmp_path / sub).iterdir()] == [ARCHIVE]  # nothing is unpacked


@pytest.mark.parametrize("sub", [".", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin", "cifar10"])
def test_unpacked_batches_are_read(tmp_path, batches, sub):
    write_folder(tmp_path / sub, batches)
    check(*load("cifar10", str(tmp_path)))


BAD_BATCHES = {
    "truncated": ("data_batch_3.bin", lambda raw: raw[:-1], ["bytes 6145", 3073]),
    "empty": ("test_batch.bin", lambda raw: b"", ["bytes 0"]),
    "label above nine": ("data_batch_2.bin", lambda raw: raw + record(10, 0, 0, 0), ["label 10", "record 2"]),
    "missing": ("data_batch_4.bin", lambda raw: None, ["No such file", "test_batch.bin"]),
}


@pytest.mark.parametrize(("name", "change", "values"), BAD_BATCHES.values(), ids=BAD_BATCHES.keys())
def test_an_invalid_batch_is_an_error_that_names_the_file(tmp_path, batches, name, change, values):
    changed = change(batches.pop(name))
    write_folder(tmp_path, batches if changed is None else {**batches, name: changed})
    with raises(DataError, f"{tmp_path}/{name}", *values):
        load("cifar10", str(tmp_path))


def test_an_archive_without_the_batches_is_an_error_that_names_them(tmp_path, batches):
    path = write_archive(tmp_path / ARCHIVE, batches, folder="cifar-10-batches-py")
    with raises(DataError, str(path), "cifar-10-batches-bin", "missing data_batch_1.bin, "):
        load("cifar10", str(tmp_path))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_archive_is_an_error(tmp_path, batches, share):
    path = write_archive(tmp_path / ARCHIVE, batches)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with raises(DataError, str(path), "truncated or damaged" if share else "not a gzip file"):
        load("cifar10", str(tmp_path))


def test_a_file_that_is_no_archive_is_an_error(tmp_path):
    (tmp_path / ARCHIVE).write_bytes(b"<html>not found</html>")
    with raises(DataError, str(tmp_path / ARCHIVE), "not a gzip file"):
        load("cifar10", str(tmp_path))

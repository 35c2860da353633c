from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path

import pytest

from xpnet.data import load
from xpnet.errors import DataError

NAMES = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]


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
    assert train.classes[3] == "cat"
    assert len(train.classes) == 10


@pytest.mark.parametrize("sub", ["", "cifar10"])
def test_the_archive_is_read_where_it_lies(tmp_path, batches, sub):
    (tmp_path / sub).mkdir(exist_ok=True)
    write_archive(tmp_path / sub / "cifar-10-binary.tar.gz", batches)
    check(*load("cifar10", str(tmp_path)))
    assert [p.name for p in (tmp_path / sub).iterdir()] == ["cifar-10-binary.tar.gz"]  # nothing is unpacked


@pytest.mark.parametrize("sub", [".", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin", "cifar10"])
def test_unpacked_batches_are_read(tmp_path, batches, sub):
    write_folder(tmp_path / sub, batches)
    check(*load("cifar10", str(tmp_path)))


def test_a_batch_that_is_cut_short_is_refused(tmp_path, batches):
    batches["data_batch_3.bin"] = batches["data_batch_3.bin"][:-1]
    write_folder(tmp_path, batches)
    with pytest.raises(DataError, match=r"data_batch_3\.bin: the file is whole records of 3073 bytes, got bytes 6145"):
        load("cifar10", str(tmp_path))


def test_an_empty_batch_is_refused(tmp_path, batches):
    write_folder(tmp_path, {**batches, "test_batch.bin": b""})
    with pytest.raises(DataError, match=r"test_batch\.bin: .*, got bytes 0"):
        load("cifar10", str(tmp_path))


def test_a_label_above_nine_is_refused(tmp_path, batches):
    batches["data_batch_2.bin"] += record(10, 0, 0, 0)
    write_folder(tmp_path, batches)
    with pytest.raises(DataError, match=r"data_batch_2\.bin: labels are in 0\.\.9, got label 10, record 2"):
        load("cifar10", str(tmp_path))


def test_a_missing_batch_is_named(tmp_path, batches):
    del batches["data_batch_4.bin"]
    write_folder(tmp_path, batches)
    with pytest.raises(DataError, match=r"data_batch_4\.bin: cifar10 is data_batch_1\.bin to .*, got problem No such"):
        load("cifar10", str(tmp_path))


def test_an_archive_without_the_batches_says_what_is_missing(tmp_path, batches):
    write_archive(tmp_path / "cifar-10-binary.tar.gz", batches, folder="cifar-10-batches-py")
    with pytest.raises(DataError, match=r"the archive holds cifar-10-batches-bin, got missing data_batch_1\.bin, "):
        load("cifar10", str(tmp_path))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_an_archive_that_is_cut_short_is_refused(tmp_path, batches, share):
    path = write_archive(tmp_path / "cifar-10-binary.tar.gz", batches)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match=re.escape(f"{path}: the archive is whole, got problem ")):
        load("cifar10", str(tmp_path))


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match="the archive is whole, got problem not a gzip file"):
        load("cifar10", str(tmp_path))

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from tests.harness import raises
from xpnet.data import cifar10, load
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


def flipped(path: Path, bit: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[bit // 8] ^= 1 << bit % 8
    path.write_bytes(raw)


def test_an_archive_with_a_flipped_bit_changes_nothing_or_is_an_error(tmp_path, batches, caplog):
    path = write_archive(tmp_path / ARCHIVE, batches)
    whole, refused = path.read_bytes(), 0
    for bit in range(5, 8 * len(whole), 8 * len(whole) // 75):
        path.write_bytes(whole)
        flipped(path, bit)
        try:
            check(*load("cifar10", str(tmp_path)))
        except DataError:
            refused += 1
    assert refused >= 70


def test_an_archive_of_the_published_size_must_have_its_checksum(tmp_path, batches, monkeypatch, caplog):
    path = write_archive(tmp_path / ARCHIVE, batches)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(cifar10, "_SIZE", path.stat().st_size)
    with raises(DataError, str(path), cifar10._SHA256, found):
        load("cifar10", str(tmp_path))
    monkeypatch.setattr(cifar10, "_SHA256", found)
    check(*load("cifar10", str(tmp_path)))
    assert not caplog.text


def test_batches_other_than_the_published_ones_are_said_to_be(tmp_path, batches, monkeypatch, caplog):
    write_folder(tmp_path, batches)
    known = {name: hashlib.sha1(raw).hexdigest() for name, raw in batches.items()}
    monkeypatch.setattr(cifar10, "_BATCHES", known)
    check(*load("cifar10", str(tmp_path)))
    assert not caplog.text
    flipped(tmp_path / "data_batch_2.bin", 9999)
    load("cifar10", str(tmp_path))
    assert "not the published files of cifar10, used unverified: data_batch_2.bin" in caplog.text


class Zeros(io.RawIOBase):
    def read(self, size: int = -1) -> bytes:
        return bytes(size)


HOSTILE = {
    "a batch of 31 MB": ("cifar-10-batches-bin/data_batch_1.bin", b"0", 31_000_000, "at most 30,730,000 bytes"),
    "another file of 4 MB": ("other", b"0", 4_000_000, "bytes of content in a file of"),
    "a long name of 4 MB": ("././@LongLink", b"L", 4_000_000, "bytes of content in a file of"),
    "a sparse file": ("cifar-10-batches-bin/data_batch_1.bin", b"S", 512, "missing data_batch_1.bin"),
    "a link": ("cifar-10-batches-bin/data_batch_1.bin", b"1", 0, "missing data_batch_1.bin"),
}


@pytest.mark.parametrize(("name", "kind", "size", "problem"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_archive_is_refused(tmp_path, batches, monkeypatch, name, kind, size, problem):
    monkeypatch.setattr("xpnet.data.opening._FREE", 1 << 20)
    with tarfile.open(tmp_path / ARCHIVE, "w:gz", compresslevel=6) as archive:
        member = tarfile.TarInfo(name)
        member.size, member.type = size, kind
        archive.addfile(member, Zeros())
        for other in NAMES[1:]:
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{other}")
            member.size = len(batches[other])
            archive.addfile(member, io.BytesIO(batches[other]))
    place = f"{tmp_path / ARCHIVE}" + ("/data_batch_1.bin" if "30,730,000" in problem else "")
    with raises(DataError, place, problem):
        load("cifar10", str(tmp_path))


@pytest.mark.parametrize(
    "size", [b"\x80" + (7 << 40).to_bytes(11, "big"), b"-0000000001\0", b"99999999999\0", bytes(12)]
)
def test_a_size_that_is_not_the_members_is_an_error(tmp_path, batches, size):
    path = write_archive(tmp_path / ARCHIVE, batches)
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[124:136] = size
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    path.write_bytes(gzip.compress(raw))
    with raises(DataError, str(path)) if any(size) else pytest.raises(DataError):
        load("cifar10", str(tmp_path))

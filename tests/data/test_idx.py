from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness import raises
from xpnet.data import idx, load
from xpnet.data.idx import parse_idx, read_idx
from xpnet.errors import DataError


def idx_bytes(array: np.ndarray) -> bytes:
    """An IDX file, written as its format is specified."""
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + b"".join(struct.pack(">I", n) for n in array.shape)
    return head + array.tobytes()


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    """Four IDX files: 7 training images of 5 x 4, 3 test images; image i has value i everywhere, label i % 10."""
    for part, n in (("train", 7), ("t10k", 3)):
        images = np.repeat(np.arange(n, dtype=np.uint8), 20).reshape(n, 5, 4)
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(n, dtype=np.uint8) % 10))
    return tmp_path


@pytest.fixture(scope="module")
def real_data() -> Path:
    """The folder of the real data sets."""
    folder = os.environ.get("XPNET_DATA_DIR", "")
    if not (Path(folder) / "mnist").is_dir() or not folder:
        pytest.skip("needs the real MNIST files: set XPNET_DATA_DIR to a folder with mnist/ in it")
    return Path(folder)


def test_images_and_labels_come_out_as_written(idx_folder):
    train, test = load("mnist", str(idx_folder))
    assert train.x.shape == (7, 5, 4, 1)
    assert train.x[:, 0, 0, 0].tolist() == train.y.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert len(test) == 3
    assert (train.name, train.classes, train.white) == ("mnist", tuple("0123456789"), 255.0)


def test_an_image_is_stored_row_by_row():
    image = np.arange(20, dtype=np.uint8).reshape(1, 5, 4)
    assert parse_idx(idx_bytes(image), 3, "here").tolist() == image.tolist()


@pytest.mark.parametrize("name", ["{}.gz", "{}"])
def test_gzip_is_recognized_by_the_content_not_the_name(idx_folder, name):
    for path in list(idx_folder.iterdir()):
        data = path.read_bytes()
        path.unlink()
        path.with_name(name.format(path.name)).write_bytes(gzip.compress(data))
    assert len(load("mnist", str(idx_folder))[0]) == 7


def test_the_environment_gives_the_folder_unless_the_argument_does(idx_folder, monkeypatch):
    monkeypatch.setenv("XPNET_DATA_DIR", str(idx_folder))
    assert len(load("fashion-mnist")[0]) == 7
    monkeypatch.setenv("XPNET_DATA_DIR", "nowhere at all")
    assert len(load("mnist", str(idx_folder))[0]) == 7


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_sub_folder_of_the_set_is_preferred_to_the_folder_itself(idx_folder, name):
    sub = idx_folder / name
    sub.mkdir()
    for path in [p for p in idx_folder.iterdir() if p.is_file()]:
        shutil.copy(path, sub)
    (idx_folder / "train-images-idx3-ubyte").write_bytes(b"wrong")
    train, _ = load(name, str(idx_folder))
    assert len(train) == 7


def test_files_whose_name_has_a_dot_for_the_dash_are_found(idx_folder):
    for path in list(idx_folder.iterdir()):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    assert len(load("mnist", str(idx_folder))[0]) == 7


def test_fashion_mnist_has_its_own_classes(idx_folder):
    classes = load("fashion-mnist", str(idx_folder))[0].classes
    assert (classes[0], classes[9], len(classes)) == ("T-shirt/top", "Ankle boot", 10)


def test_a_data_folder_that_does_not_exist_is_an_error(tmp_path, monkeypatch):
    missing = tmp_path / "gone"
    with raises(DataError, "data_dir", f"folder {missing}"):
        load("mnist", str(missing))
    monkeypatch.setenv("XPNET_DATA_DIR", str(missing))
    with raises(DataError, "XPNET_DATA_DIR", f"folder {missing}"):
        load("mnist")


def test_a_folder_that_lacks_a_file_is_an_error_that_names_it(idx_folder):
    (idx_folder / "t10k-labels-idx1-ubyte").unlink()
    with raises(DataError, str(idx_folder), "files train-images-idx3-ubyte, ", "add t10k-labels-idx1-ubyte"):
        load("mnist", str(idx_folder))


@pytest.mark.parametrize(
    ("magic", "found"),
    [(b"\x00\x00\x08\x01", "0x00000801"), (b"\x00\x00\x0d\x03", "0x00000d03"), (b"<htm", "0x3c68746d")],
)
def test_a_wrong_magic_number_is_an_error(idx_folder, magic, found):
    path = idx_folder / "train-images-idx3-ubyte"
    path.write_bytes(magic + path.read_bytes()[4:])
    with raises(DataError, str(path), "0x00000803", f"magic {found}"):
        load("mnist", str(idx_folder))


WHOLE = idx_bytes(np.arange(60, dtype=np.uint8).reshape(3, 5, 4))  # a header of 16 bytes, 60 of pixels


@given(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=9))
def test_a_file_of_another_length_is_an_error_that_gives_both(length, tail):
    with raises(DataError, "here", f"{16 if length < 16 else 76} bytes", f"bytes {length}", "download it again"):
        parse_idx(WHOLE[:length], 3, "here")
    with raises(DataError, "here", "76 bytes", f"bytes {76 + len(tail)}", "shape (3, 5, 4)"):
        parse_idx(WHOLE + tail, 3, "here")


@given(st.binary(max_size=40))
def test_any_bytes_are_either_read_or_a_data_error(raw):
    for axes in (1, 3):
        try:
            array = parse_idx(raw, axes, "here")
        except DataError:
            continue
        assert idx_bytes(array) == raw


def test_a_header_with_a_huge_shape_allocates_no_memory():
    huge = WHOLE[:4] + b"\xff" * 12 + WHOLE[16:]
    with raises(DataError, "here", f"{16 + (2**32 - 1) ** 3} bytes", "bytes 76"):
        parse_idx(huge, 3, "here")


@given(st.integers(2, len(gzip.compress(WHOLE, mtime=0)) - 1))
def test_a_truncated_gzip_file_is_an_error(tmp_path_factory, length):
    path = tmp_path_factory.mktemp("cut") / "images.gz"
    path.write_bytes(gzip.compress(WHOLE, mtime=0)[:length])
    with raises(DataError, str(path), "truncated or damaged"):
        read_idx(path, 3)


@pytest.mark.parametrize("place", [-8, 10], ids=["checksum", "compressed data"])
def test_a_damaged_gzip_file_is_an_error(tmp_path, place):
    raw = bytearray(gzip.compress(idx_bytes(np.zeros((20, 5, 5), np.uint8))))
    raw[place] = 0xFF  # as the first byte of the data: a block type that does not exist
    path = tmp_path / "images.gz"
    path.write_bytes(raw)
    with raises(DataError, str(path), "truncated or damaged", "error "):
        read_idx(path, 3)


HEAD = idx_bytes(np.zeros((0, 5, 4), np.uint8))


def holes(path: Path) -> None:
    """A file that declares 1 TB and has it, as a hole."""
    path.write_bytes(HEAD[:4] + struct.pack(">III", 2**20, 2**10, 2**10))
    os.truncate(path, 16 + 2**40)


HOSTILE = {
    "a hole of 1 TB": (holes, "at most 67,108,864 bytes of content in a file of "),
    "a shape of 1 TB": (
        lambda path: path.write_bytes(HEAD[:4] + b"\0\x10\0\0\0\0\4\0\0\0\4\0"),
        "a file of 1099511627792 bytes",
    ),
    "a zipped shape of 1 TB": (
        lambda path: path.write_bytes(gzip.compress(HEAD[:4] + b"\0\x10\0\0\0\0\4\0\0\0\4\0")),
        "at most 67,108,864 bytes",
    ),
    "more than its shape": (lambda path: path.write_bytes(gzip.compress(WHOLE + bytes(10**7))), "a file of 76 bytes"),
    "a second gzip file": (lambda path: path.write_bytes(gzip.compress(WHOLE) * 2), "truncated or damaged"),
}


@pytest.mark.parametrize(("make", "problem"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_is_refused_without_reading_it_all(tmp_path, make, problem):
    make(tmp_path / "images")
    with raises(DataError, str(tmp_path / "images"), problem):
        read_idx(tmp_path / "images", 3)


def test_a_flipped_bit_of_a_gzip_file_changes_nothing_or_is_an_error(tmp_path):
    raw = gzip.compress(WHOLE, mtime=0)
    for bit in range(0, 8 * len(raw), 7):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        (tmp_path / "images").write_bytes(changed)
        try:
            found = read_idx(tmp_path / "images", 3)
        except DataError:
            continue
        assert found.tobytes() == WHOLE[16:]


def test_a_file_that_does_not_exist_is_a_data_error(tmp_path):
    with raises(DataError, str(tmp_path / "none"), "no such file"):
        read_idx(tmp_path / "none", 3)


WRONG_ARRAYS = {
    "other count": ("t10k-labels-idx1-ubyte", np.arange(4, dtype=np.uint8), ["images 3", "labels 4"]),
    "other size": ("t10k-images-idx3-ubyte", np.zeros((3, 4, 5), np.uint8), ["test (4, 5, 1)", "train (5, 4, 1)"]),
}


@pytest.mark.parametrize(("name", "array", "values"), WRONG_ARRAYS.values(), ids=WRONG_ARRAYS.keys())
def test_files_that_do_not_match_are_an_error(idx_folder, name, array, values):
    (idx_folder / name).write_bytes(idx_bytes(array))
    with raises(DataError, str(idx_folder / name), *values):
        load("mnist", str(idx_folder))


def test_a_label_above_nine_is_an_error(idx_folder):
    (idx_folder / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.array([0, 10, 1], dtype=np.uint8)))
    with raises(DataError, "mnist", "label 10", "sample 1", "K 10"):
        load("mnist", str(idx_folder))


def write_published_size(folder: Path) -> str:
    """Write 10,000 test images to the folder; return the SHA-256 of their file."""
    images = idx_bytes(np.zeros((10_000, 5, 4), np.uint8))
    (folder / "t10k-images-idx3-ubyte").write_bytes(images)
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(10_000, np.uint8)))
    return hashlib.sha256(images).hexdigest()


def test_a_file_of_the_size_of_mnist_must_have_its_checksum(idx_folder):
    found = write_published_size(idx_folder)
    published = "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    with raises(DataError, str(idx_folder / "t10k-images-idx3-ubyte"), published, found):
        load("mnist", str(idx_folder))


def test_the_files_of_mnist_are_not_accepted_as_fashion_mnist(idx_folder, monkeypatch):
    assert len(load("fashion-mnist", str(idx_folder))[1]) == 3
    found = write_published_size(idx_folder)
    monkeypatch.setattr(idx, "_MNIST_CONTENT", (*idx._MNIST_CONTENT[:2], found, idx._MNIST_CONTENT[3]))
    with raises(
        DataError, str(idx_folder / "t10k-images-idx3-ubyte"), "one of mnist", "sub-folder named fashion-mnist"
    ):
        load("fashion-mnist", str(idx_folder))


def test_files_other_than_the_published_ones_are_said_to_be(idx_folder, caplog):
    load("mnist", str(idx_folder))
    assert "not the published files of mnist, used unverified: train-images-idx3-ubyte, train-labels" in caplog.text


def test_a_file_of_the_size_of_fashion_mnist_must_have_its_checksum(idx_folder, monkeypatch, caplog):
    path = idx_folder / "train-images-idx3-ubyte"
    source = idx._FASHION_MNIST
    size, found = path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(idx, "_FASHION_MNIST", source._replace(sizes=(size, *source.sizes[1:])))
    with raises(DataError, str(path), source.sha256[0], found):
        load("fashion-mnist", str(idx_folder))
    same = source._replace(sizes=(size, *source.sizes[1:]), sha256=(found, *source.sha256[1:]))
    monkeypatch.setattr(idx, "_FASHION_MNIST", same)
    load("fashion-mnist", str(idx_folder))
    assert "train-images" not in caplog.text


def test_the_real_mnist_is_read_and_verified(real_data, caplog):
    train, test = load("mnist", str(real_data))
    assert train.x.shape == (60_000, 28, 28, 1)
    assert test.x.shape == (10_000, 28, 28, 1)
    assert train.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert not caplog.text
    assert np.bincount(test.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_a_changed_byte_of_the_real_mnist_is_an_error(real_data, tmp_path):
    for path in (real_data / "mnist").glob("*.gz"):
        (tmp_path / path.name).symlink_to(path)
    labels = bytearray(gzip.decompress((real_data / "mnist" / "train-labels-idx1-ubyte.gz").read_bytes()))
    labels[12345] ^= 1
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(labels)
    with raises(DataError, str(tmp_path / "train-labels-idx1-ubyte"), "65a50cbbf4e906d7"):
        load("mnist", str(tmp_path))


def test_the_real_mnist_is_not_accepted_as_fashion_mnist(real_data):
    with pytest.raises(DataError, match="one of mnist"):
        load("fashion-mnist", str(real_data / "mnist"))

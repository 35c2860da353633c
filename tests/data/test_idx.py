from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpnet.data import idx, load
from xpnet.data.idx import parse_idx, read_idx
from xpnet.errors import DataError


def idx_bytes(array: np.ndarray) -> bytes:
    """An IDX file as its description says."""
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + b"".join(struct.pack(">I", n) for n in array.shape)
    return head + array.tobytes()


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    """Four IDX files: 7 images of 5 x 4 to train with, 3 to test with; image i is all i, label i % 10."""
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


def test_the_elements_of_an_image_lie_row_by_row():
    image = np.arange(20, dtype=np.uint8).reshape(1, 5, 4)
    assert parse_idx(idx_bytes(image), 3, "here").tolist() == image.tolist()


@pytest.mark.parametrize("name", ["{}.gz", "{}"])
def test_gzip_is_told_by_the_bytes_not_by_the_name(idx_folder, name):
    for path in list(idx_folder.iterdir()):
        data = path.read_bytes()
        path.unlink()
        path.with_name(name.format(path.name)).write_bytes(gzip.compress(data))
    assert len(load("mnist", str(idx_folder))[0]) == 7


def test_the_environment_names_the_folder(idx_folder, monkeypatch):
    monkeypatch.setenv("XPNET_DATA_DIR", str(idx_folder))
    assert len(load("fashion-mnist")[0]) == 7


def test_the_argument_goes_before_the_environment(idx_folder, monkeypatch):
    monkeypatch.setenv("XPNET_DATA_DIR", "nowhere at all")
    assert len(load("mnist", str(idx_folder))[0]) == 7


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_sub_folder_of_the_set_goes_before_the_folder_itself(idx_folder, name):
    sub = idx_folder / name
    sub.mkdir()
    for path in [p for p in idx_folder.iterdir() if p.is_file()]:
        shutil.copy(path, sub)
    (idx_folder / "train-images-idx3-ubyte").write_bytes(b"wrong")
    train, _ = load(name, str(idx_folder))
    assert len(train) == 7


def test_files_spelled_with_a_dot_are_found(idx_folder):
    for path in list(idx_folder.iterdir()):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    assert len(load("mnist", str(idx_folder))[0]) == 7


def test_fashion_mnist_has_its_own_classes(idx_folder):
    train, _ = load("fashion-mnist", str(idx_folder))
    assert train.classes[0] == "T-shirt/top"
    assert train.classes[9] == "Ankle boot"
    assert len(train.classes) == 10


def test_a_data_folder_that_does_not_exist_is_an_error(tmp_path, monkeypatch):
    missing = tmp_path / "gone"
    with pytest.raises(DataError, match=rf"--data-dir: the data folder exists, got folder {re.escape(str(missing))}; "):
        load("mnist", str(missing))
    monkeypatch.setenv("XPNET_DATA_DIR", str(missing))
    with pytest.raises(DataError, match="XPNET_DATA_DIR: the data folder exists"):
        load("mnist")


def test_a_folder_that_lacks_a_file_is_told_which(idx_folder):
    (idx_folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"mnist is four files, got found train-images.*; add t10k-labels-idx1-ubyte"):
        load("mnist", str(idx_folder))


@pytest.mark.parametrize(
    ("magic", "found"),
    [(b"\x00\x00\x08\x01", "0x00000801"), (b"\x00\x00\x0d\x03", "0x00000d03"), (b"<htm", "0x3c68746d")],
)
def test_a_wrong_magic_number_is_refused(idx_folder, magic, found):
    path = idx_folder / "train-images-idx3-ubyte"
    path.write_bytes(magic + path.read_bytes()[4:])
    message = f"{path}: an IDX file of 3-D unsigned bytes has the magic number 0x00000803, got magic {found}; is it"
    with pytest.raises(DataError, match=re.escape(message)):
        load("mnist", str(idx_folder))


WHOLE = idx_bytes(np.arange(60, dtype=np.uint8).reshape(3, 5, 4))  # a header of 16 bytes, 60 of pixels


@given(st.integers(0, len(WHOLE) - 1))
def test_a_file_cut_anywhere_is_refused_with_its_length(length):
    expected = 16 if length < 16 else 76
    message = f"here: the file has the {expected} bytes its header gives, got bytes {length}; it is cut short"
    with pytest.raises(DataError, match=re.escape(message)):
        parse_idx(WHOLE[:length], 3, "here")


@given(st.binary(min_size=1, max_size=9))
def test_bytes_after_the_last_element_are_refused(tail):
    message = f"here: the file ends after the 76 bytes its header gives, got bytes {76 + len(tail)}, shape (3, 5, 4)"
    with pytest.raises(DataError, match=re.escape(message)):
        parse_idx(WHOLE + tail, 3, "here")


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused_by_a_data_error(raw):
    for axes in (1, 3):
        try:
            array = parse_idx(raw, axes, "here")
        except DataError:
            continue
        assert idx_bytes(array) == raw


def test_a_header_that_promises_the_world_takes_no_memory():
    huge = WHOLE[:4] + b"\xff" * 12 + WHOLE[16:]
    with pytest.raises(DataError, match=rf"the {16 + (2**32 - 1) ** 3} bytes its header gives, got bytes 76"):
        parse_idx(huge, 3, "here")


@given(st.integers(2, len(gzip.compress(WHOLE, mtime=0)) - 1))
def test_a_gzip_file_cut_anywhere_is_refused(tmp_path_factory, length):
    path = tmp_path_factory.mktemp("cut") / "images.gz"
    path.write_bytes(gzip.compress(WHOLE, mtime=0)[:length])
    with pytest.raises(DataError, match=rf"images\.gz: the gzip file is whole, got bytes {length}; it is cut short"):
        read_idx(path, 3)


@pytest.mark.parametrize("place", [-8, 10], ids=["checksum", "compressed data"])
def test_a_damaged_gzip_file_is_refused(tmp_path, place):
    raw = bytearray(gzip.compress(bytes(500)))
    raw[place] = 0xFF  # as the first byte of the data: a kind of block that does not exist
    path = tmp_path / "images.gz"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"images\.gz: the gzip file is not damaged, got problem .+; copy or download"):
        read_idx(path, 3)


def test_a_file_that_is_not_there_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"none: the file can be read, got problem No such file"):
        read_idx(tmp_path / "none", 3)


def test_other_counts_of_labels_than_images_are_refused(idx_folder):
    path = idx_folder / "t10k-labels-idx1-ubyte"
    path.write_bytes(idx_bytes(np.arange(4, dtype=np.uint8)))
    message = f"{path}: there is a label for each image of t10k-images-idx3-ubyte, got images 3, labels 4"
    with pytest.raises(DataError, match=re.escape(message)):
        load("mnist", str(idx_folder))


def test_a_label_above_nine_is_refused(idx_folder):
    (idx_folder / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.array([0, 10, 1], dtype=np.uint8)))
    with pytest.raises(DataError, match=r"mnist: labels are in 0\.\.K-1, got label 10, sample 1, K 10"):
        load("mnist", str(idx_folder))


def test_test_images_of_another_size_are_refused(idx_folder):
    (idx_folder / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((3, 4, 5), np.uint8)))
    with pytest.raises(DataError, match=r"got test \(4, 5, 1\), train \(5, 4, 1\)"):
        load("mnist", str(idx_folder))


def of_published_size(folder: Path) -> str:
    """Give the folder 10,000 test images; return the SHA-256 of their file."""
    images = idx_bytes(np.zeros((10_000, 5, 4), np.uint8))
    (folder / "t10k-images-idx3-ubyte").write_bytes(images)
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(10_000, np.uint8)))
    return hashlib.sha256(images).hexdigest()


def test_a_file_of_mnists_size_with_another_checksum_is_refused(idx_folder):
    found = of_published_size(idx_folder)
    expected = "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    with pytest.raises(DataError, match=rf"t10k-images-idx3-ubyte: .*, got expected {expected}, found {found}; "):
        load("mnist", str(idx_folder))


def test_mnists_own_files_are_not_taken_for_fashion_mnist(idx_folder, monkeypatch):
    assert len(load("fashion-mnist", str(idx_folder))[1]) == 3
    found = of_published_size(idx_folder)
    monkeypatch.setattr(idx, "_MNIST_INSIDE", (*idx._MNIST_INSIDE[:2], found, idx._MNIST_INSIDE[3]))
    with pytest.raises(DataError, match=r"the files are fashion-mnist's, got found mnist's; put those in a sub-folder"):
        load("fashion-mnist", str(idx_folder))


def test_the_real_mnist_is_read_whole_and_verified(real_data):
    train, test = load("mnist", str(real_data))
    assert train.x.shape == (60_000, 28, 28, 1)
    assert test.x.shape == (10_000, 28, 28, 1)
    assert train.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(test.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_a_changed_byte_of_the_real_mnist_is_noticed(real_data, tmp_path):
    for path in (real_data / "mnist").glob("*.gz"):
        (tmp_path / path.name).symlink_to(path)
    labels = bytearray(gzip.decompress((real_data / "mnist" / "train-labels-idx1-ubyte.gz").read_bytes()))
    labels[12345] ^= 1
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(labels)
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte: .* got expected 65a50cbbf4e906d7"):
        load("mnist", str(tmp_path))


def test_the_real_mnist_is_refused_as_fashion_mnist(real_data):
    with pytest.raises(DataError, match="the files are fashion-mnist's, got found mnist's"):
        load("fashion-mnist", str(real_data / "mnist"))

from __future__ import annotations

import re

import numpy as np
import pytest

from xpnet.data import load
from xpnet.errors import DataError

X = np.arange(10 * 5 * 4, dtype=np.uint8).reshape(10, 5, 4)
Y = np.arange(10) % 3


def save(tmp_path, **arrays):
    np.savez(tmp_path / "set.npz", **arrays)
    return str(tmp_path / "set.npz")


def test_a_divided_file_stays_divided(tmp_path):
    train, test = load(save(tmp_path, x_train=X[:7], y_train=Y[:7], x_test=X[7:], y_test=Y[7:]))
    assert np.array_equal(train.x[..., 0], X[:7])
    assert np.array_equal(train.y, Y[:7])
    assert np.array_equal(test.x[..., 0], X[7:])
    assert np.array_equal(test.y, Y[7:])
    assert train.classes == test.classes == ("0", "1", "2")
    assert train.name.endswith("set.npz")


@pytest.mark.parametrize(("x", "y"), [("x", "y"), ("images", "labels")])
def test_of_a_whole_file_a_fifth_is_held_out(tmp_path, x, y):
    path = save(tmp_path, **{x: X, y: Y})
    train, test = load(path)
    assert (len(train), len(test)) == (8, 2)
    assert np.array_equal(test.x, load(path)[1].x)


def test_the_file_may_name_its_classes(tmp_path):
    train, test = load(save(tmp_path, x=X, y=Y, classes=np.array(["ant", "bee", "cow", "dog"])))
    assert train.classes == test.classes == ("ant", "bee", "cow", "dog")


def test_a_class_that_only_the_test_set_has_is_known_to_both(tmp_path):
    train, test = load(save(tmp_path, x_train=X, y_train=Y, x_test=X, y_test=Y + 1))
    assert train.classes == test.classes == ("0", "1", "2", "3")


def test_missing_arrays_are_told_with_those_found(tmp_path):
    with pytest.raises(DataError, match=r"the file holds x_train, .*, got found x_train, y_train, pictures"):
        load(save(tmp_path, x_train=X, y_train=Y, pictures=X))
    with pytest.raises(DataError, match=r"got found nothing"):
        load(save(tmp_path))


def test_objects_are_not_unpickled(tmp_path):
    path = save(tmp_path, y=Y, x=np.array([{}, []], dtype=object))
    with pytest.raises(DataError, match=r"set\.npz: arrays hold numbers, not Python objects, got array x; convert it"):
        load(path)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95])
def test_a_file_that_is_cut_short_is_refused(tmp_path, share):
    path = tmp_path / "set.npz"
    np.savez_compressed(path, x=X, y=Y)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match=re.escape(f"{path}: the .npz file can be read, got problem ")):
        load(str(path))


def test_a_damaged_array_is_refused(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, x=X, y=Y)
    raw = bytearray(path.read_bytes())
    raw[250] ^= 0xFF  # within the pixels: the archive's checksum tells
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"the \.npz file can be read, got problem Bad CRC-32"):
        load(str(path))


@pytest.mark.parametrize("content", [b"hello", b"\x80\x04\x95pickle", b"PK\x03\x04"])
def test_a_file_of_another_format_is_refused(tmp_path, content):
    path = tmp_path / "set.npz"
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=r"set\.npz: the \.npz file can be read, got problem .*; it is damaged or another"
    ):
        load(str(path))


def test_a_single_array_is_refused(tmp_path):
    np.save(tmp_path / "set.npy", X)
    (tmp_path / "set.npy").rename(tmp_path / "set.npz")
    with pytest.raises(DataError, match=r"the file is an \.npz archive, got found one \.npy array; write it with"):
        load(str(tmp_path / "set.npz"))


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"none\.npz: the file exists, got problem No such file"):
        load(str(tmp_path / "none.npz"))


def test_parts_of_other_shapes_are_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"x_train and x_test are alike, got x_train \(5, 4, 1\) uint8, x_test \(4, 5, 1\)"
    ):
        load(save(tmp_path, x_train=X, y_train=Y, x_test=X.reshape(10, 4, 5), y_test=Y))


def test_nan_in_one_part_is_told_with_its_part(tmp_path):
    bad = X.astype(float)
    bad[3, 1, 1] = np.nan
    with pytest.raises(DataError, match=r"set\.npz \(x_test\): values are finite, got value nan, sample 3"):
        load(save(tmp_path, x_train=X.astype(float), y_train=Y, x_test=bad, y_test=Y))

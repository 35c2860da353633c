from __future__ import annotations

import numpy as np
import pytest

from tests.harness import raises
from xpnet.data import load
from xpnet.errors import DataError

X = np.arange(10 * 5 * 4, dtype=np.uint8).reshape(10, 5, 4)
Y = np.arange(10) % 3


def save(tmp_path, **arrays):
    np.savez(tmp_path / "set.npz", **arrays)
    return str(tmp_path / "set.npz")


def test_a_file_with_training_and_test_arrays_keeps_them_apart(tmp_path):
    train, test = load(save(tmp_path, x_train=X[:7], y_train=Y[:7], x_test=X[7:], y_test=Y[7:]))
    assert np.array_equal(train.x[..., 0], X[:7])
    assert np.array_equal(train.y, Y[:7])
    assert np.array_equal(test.x[..., 0], X[7:])
    assert np.array_equal(test.y, Y[7:])
    assert train.classes == test.classes == ("0", "1", "2")
    assert train.name.endswith("set.npz")


@pytest.mark.parametrize(("x", "y"), [("x", "y"), ("images", "labels")])
def test_a_fifth_of_a_file_without_test_arrays_is_held_out(tmp_path, x, y):
    path = save(tmp_path, **{x: X, y: Y})
    train, test = load(path)
    assert (len(train), len(test)) == (8, 2)
    assert np.array_equal(test.x, load(path)[1].x)


def test_the_file_may_name_its_classes(tmp_path):
    train, test = load(save(tmp_path, x=X, y=Y, classes=np.array(["ant", "bee", "cow", "dog"])))
    assert train.classes == test.classes == ("ant", "bee", "cow", "dog")


def test_a_class_that_only_the_test_set_has_is_in_both_sets(tmp_path):
    train, test = load(save(tmp_path, x_train=X, y_train=Y, x_test=X, y_test=Y + 1))
    assert train.classes == test.classes == ("0", "1", "2", "3")


@pytest.mark.parametrize("arrays", [{"x_train": X, "y_train": Y, "pictures": X}, {}], ids=["some", "none"])
def test_missing_arrays_are_an_error_that_lists_those_found(tmp_path, arrays):
    path = save(tmp_path, **arrays)
    with raises(DataError, path, f"arrays {', '.join(arrays) or 'none'}"):
        load(path)


def test_objects_are_not_unpickled(tmp_path):
    path = save(tmp_path, y=Y, x=np.array([{}, []], dtype=object))
    with raises(DataError, path, "array x"):
        load(path)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95])
def test_a_truncated_file_is_an_error(tmp_path, share):
    path = tmp_path / "set.npz"
    np.savez_compressed(path, x=X, y=Y)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with raises(DataError, str(path), "cannot read"):
        load(str(path))


def test_a_damaged_array_is_an_error(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, x=X, y=Y)
    raw = bytearray(path.read_bytes())
    raw[250] ^= 0xFF  # within the pixels, so the archive's checksum no longer matches
    path.write_bytes(raw)
    with raises(DataError, str(path), "Bad CRC-32"):
        load(str(path))


@pytest.mark.parametrize("content", [b"hello", b"\x80\x04\x95pickle", b"PK\x03\x04", None])
def test_a_file_of_another_format_or_none_is_an_error(tmp_path, content):
    path = tmp_path / "set.npz"
    if content is not None:
        path.write_bytes(content)
    with raises(DataError, str(path), "cannot read" if content else "no such file"):
        load(str(path))


def test_a_single_array_is_an_error(tmp_path):
    np.save(tmp_path / "set.npy", X)
    path = (tmp_path / "set.npy").rename(tmp_path / "set.npz")
    with raises(DataError, str(path), "a single .npy array", "numpy.savez"):
        load(str(path))


def test_parts_of_different_shapes_are_an_error(tmp_path):
    path = save(tmp_path, x_train=X, y_train=Y, x_test=X.reshape(10, 4, 5), y_test=Y)
    with raises(DataError, path, "x_train (5, 4, 1) uint8", "x_test (4, 5, 1) uint8"):
        load(path)


def test_nan_in_the_test_part_is_an_error_that_names_the_part(tmp_path):
    bad = X.astype(float)
    bad[3, 1, 1] = np.nan
    path = save(tmp_path, x_train=X.astype(float), y_train=Y, x_test=bad, y_test=Y)
    with raises(DataError, f"{path} (x_test)", "value nan", "sample 3"):
        load(path)

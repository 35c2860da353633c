from __future__ import annotations

import re

import numpy as np
import pytest

from xpnet.data import Dataset, from_arrays
from xpnet.errors import ConfigError, DataError


def images(n: int = 6) -> np.ndarray:
    return np.arange(n * 5 * 7 * 3, dtype=np.uint8).reshape(n, 5, 7, 3)


def labels(n: int = 6, k: int = 3) -> np.ndarray:
    return np.arange(n, dtype=np.int64) % k


ABC = ("a", "b", "c")


def test_a_dataset_tells_its_size_and_the_shape_of_a_sample():
    dataset = Dataset(images(), labels(), ABC, "letters")
    assert len(dataset) == 6
    assert dataset.shape == (5, 7, 3)
    assert dataset.white == 255.0
    assert repr(dataset) == "<Dataset letters: 6 x (5, 7, 3) uint8, 3 classes>"


BAD = {
    "other counts": (images(), labels(5), ABC, "letters: each sample has one label, got samples 6, labels 5"),
    "empty": (images(0), labels(0), ABC, "letters: a data set is not empty, got shape (0, 5, 7, 3)"),
    "empty images": (
        np.zeros((6, 0, 7, 3), np.uint8),
        labels(),
        ABC,
        "a data set is not empty, got shape (6, 0, 7, 3)",
    ),
    "label too large": (images(), labels(6, 4), ABC, "labels are in 0..K-1, got label 3, sample 3, K 3"),
    "label negative": (images(), labels() - 1, ABC, "labels are in 0..K-1, got label -1, sample 0, K 3"),
    "one class": (images(), labels(6, 1), ("a",), "there are at least 2 classes, got classes ['a']"),
    "float64": (images() / 255, labels(), ABC, "got shape (6, 5, 7, 3), dtype float64; from_arrays converts others"),
    "no channel": (
        images()[..., 0],
        labels(),
        ABC,
        "samples are (N, H, W, C) uint8 or float32, or (N, D) float32, got ",
    ),
    "bytes in vectors": (images()[:, 0, 0], labels(), ABC, "got shape (6, 3), dtype uint8"),
    "int32 labels": (images(), labels().astype(np.int32), ABC, "labels are (N,) int64, got shape (6,), dtype int32"),
    "one-hot": (images(), np.eye(6, dtype=np.int64), ABC, "labels are (N,) int64, got shape (6, 6), dtype int64"),
}


@pytest.mark.parametrize(("x", "y", "classes", "message"), BAD.values(), ids=BAD.keys())
def test_a_dataset_that_cannot_be_learned_from_is_refused(x, y, classes, message):
    with pytest.raises(DataError, match=re.escape(message)):
        Dataset(x, y, classes, "letters")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_with_its_place(value):
    x = np.zeros((400, 5000), dtype=np.float32)  # more than one chunk
    x[321, 17] = value
    with pytest.raises(DataError, match=rf"vectors: values are finite, got value {value}, sample 321"):
        Dataset(x, labels(400), ABC, "vectors")


def test_white_must_be_above_zero():
    with pytest.raises(DataError, match=r"above 0, got white 0\.0"):
        Dataset(images(), labels(), ABC, "letters", white=0.0)


def test_take_copies_samples_in_the_order_asked_for():
    dataset = Dataset(images(), labels(), ABC, "letters", white=16.0)
    part = dataset.take([4, 0, 4])
    assert np.array_equal(part.x, np.stack([images()[4], images()[0], images()[4]]))
    assert part.y.tolist() == [1, 0, 1]
    assert (part.classes, part.name, part.white) == (ABC, "letters", 16.0)
    part.x[...] = 0
    assert np.array_equal(dataset.x, images())


@pytest.mark.parametrize("index", [6, -1])
def test_take_refuses_an_index_outside_the_set(index):
    with pytest.raises(ConfigError, match=rf"letters\.take: indices are in 0\.\.N-1, got index {index}, N 6"):
        Dataset(images(), labels(), ABC, "letters").take([0, index])


def test_take_of_nothing_is_refused():
    with pytest.raises(DataError, match="not empty"):
        Dataset(images(), labels(), ABC, "letters").take([])


def numbered(n: int) -> Dataset:
    return from_arrays(np.arange(n, dtype=np.float32)[:, None], np.arange(n) % 2)


def test_split_divides_every_sample_once_and_keeps_the_order():
    first, second = numbered(50).split(0.8)
    assert len(first) == 40
    both = np.concatenate([first.x, second.x])[:, 0]
    assert sorted(both) == list(range(50))
    assert (np.diff(first.x[:, 0]) > 0).all()
    assert (np.diff(second.x[:, 0]) > 0).all()
    assert np.array_equal(first.y, first.x[:, 0] % 2)


def test_split_depends_on_the_seed_alone():
    a, b, other = (numbered(50).split(0.5, seed)[0].x for seed in (3, 3, 4))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, other)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 0.001, 0.999, float("nan")])
def test_split_refuses_to_leave_a_part_empty(fraction):
    with pytest.raises(ConfigError, match=rf"arrays\.split: .* got fraction {fraction}, N 50"):
        numbered(50).split(fraction)


def test_hold_out_takes_a_fifth_rounded_up_for_the_test():
    train, test = numbered(11).hold_out_fifth("some/test")
    assert (len(train), len(test)) == (8, 3)


def test_hold_out_needs_two_samples():
    one = Dataset(images(1), labels(1), ABC, "single")
    with pytest.raises(DataError, match="single: there are samples to train and to test with, got samples 1"):
        one.hold_out_fifth("some/test")


def test_from_arrays_adds_the_channel_to_grayscale_images():
    dataset = from_arrays(images()[..., 0], labels())
    assert dataset.shape == (5, 7, 1)
    assert dataset.x.dtype == np.uint8
    assert dataset.white == 255.0


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.bool_])
def test_from_arrays_makes_other_numbers_float32_of_white_one(dtype):
    x = np.array([[0, 1], [1, 1], [1, 0]]).astype(dtype)
    dataset = from_arrays(x, [0, 1, 1])
    assert dataset.x.dtype == np.float32
    assert dataset.x.tolist() == [[0, 1], [1, 1], [1, 0]]
    assert dataset.white == 1.0


def test_from_arrays_makes_bytes_in_vectors_float32_of_white_255():
    dataset = from_arrays(images()[:, 0, 0], labels())
    assert dataset.x.dtype == np.float32
    assert dataset.white == 255.0


def test_from_arrays_keeps_the_white_it_is_told():
    assert from_arrays(images(), labels(), white=16).white == 16


def test_from_arrays_names_classes_by_the_largest_label():
    assert from_arrays(images(), labels(6, 3)).classes == ("0", "1", "2")
    assert from_arrays(images(), labels(6, 3), ["x", "y", "z", "w"]).classes == ("x", "y", "z", "w")


def test_from_arrays_takes_unsigned_labels():
    dataset = from_arrays(images(), labels().astype(np.uint8))
    assert dataset.y.dtype == np.int64
    assert dataset.y.tolist() == [0, 1, 2, 0, 1, 2]


BAD_ARRAYS = {
    "strings": (np.array([["a"], ["b"]]), [0, 1], "arrays: samples are real numbers, got dtype <U1"),
    "complex": (np.zeros((2, 3), complex), [0, 1], "samples are real numbers, got dtype complex128"),
    "float labels": (
        np.zeros((2, 3)),
        [0.0, 1.0],
        "labels are (N,) integers, not one-hot, got shape (2,), dtype float64",
    ),
    "one-hot": (np.zeros((2, 3)), np.eye(2, dtype=int), "not one-hot, got shape (2, 2), dtype int64"),
    "one label": (np.zeros((2, 3)), [4, 4], "at least 2 classes, got labels all 4; name them with classes="),
    "negative": (np.zeros((2, 3)), [0, -1], "labels are in 0..K-1, got label -1, sample 1, K 2"),
    "empty": (np.zeros((0, 3)), np.zeros(0, int), "a data set is not empty, got shape (0, 3)"),
    "beyond float32": (np.full((2, 3), 1e300), [0, 1], "values are finite, got value inf, sample 0"),
    "vector": (np.zeros(2), [0, 1], "samples are (N, H, W, C) uint8 or float32, or (N, D) float32, got shape (2,)"),
    "huge label": (np.zeros((2, 3)), [0, 10**12], "labels are in 0..K-1, got label 1000000000000, sample 1, K 2"),
}


@pytest.mark.parametrize(("x", "y", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_arrays_that_cannot_be_learned_from_are_refused(x, y, message):
    with pytest.raises(DataError, match=re.escape(message)):
        from_arrays(x, y)

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import raises
from xpnet.data import Dataset, from_arrays
from xpnet.errors import ConfigError, DataError, DTypeError
from xpnet.random import Key


def images(n: int = 6) -> np.ndarray:
    return np.arange(n * 5 * 7 * 3, dtype=np.uint8).reshape(n, 5, 7, 3)


def labels(n: int = 6, k: int = 3) -> np.ndarray:
    return np.arange(n, dtype=np.int64) % k


ABC = ("a", "b", "c")


def test_a_dataset_has_a_length_and_the_shape_of_a_sample():
    dataset = Dataset(images(), labels(), ABC, "letters")
    assert len(dataset) == 6
    assert dataset.shape == (5, 7, 3)
    assert dataset.white == 255.0
    assert repr(dataset) == "<Dataset letters: 6 x (5, 7, 3) uint8, 3 classes>"


BAD = {
    "other counts": (images(), labels(5), ABC, ["samples 6", "labels 5"]),
    "empty": (images(0), labels(0), ABC, ["shape (0, 5, 7, 3)"]),
    "empty images": (np.zeros((6, 0, 7, 3), np.uint8), labels(), ABC, ["shape (6, 0, 7, 3)"]),
    "label too large": (images(), labels(6, 4), ABC, ["label 3", "sample 3", "K 3"]),
    "label negative": (images(), labels() - 1, ABC, ["label -1", "sample 0", "K 3"]),
    "one class": (images(), labels(6, 1), ("a",), ["classes ['a']"]),
    "float64": (images() / 255, labels(), ABC, ["shape (6, 5, 7, 3)", "dtype float64", "from_arrays"]),
    "no channel": (images()[..., 0], labels(), ABC, ["shape (6, 5, 7)"]),
    "bytes in vectors": (images()[:, 0, 0], labels(), ABC, ["shape (6, 3)", "dtype uint8"]),
    "int32 labels": (images(), labels().astype(np.int32), ABC, ["shape (6,)", "dtype int32", "from_arrays"]),
    "one-hot": (images(), np.eye(6, dtype=np.int64), ABC, ["names 3", "columns 6"]),
}


@pytest.mark.parametrize(("x", "y", "classes", "values"), BAD.values(), ids=BAD.keys())
def test_a_dataset_that_cannot_be_learned_from_is_an_error(x, y, classes, values):
    with raises(DataError, "letters", *values):
        Dataset(x, y, classes, "letters")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_an_error_that_gives_its_sample(value):
    x = np.zeros((400, 5000), dtype=np.float32)  # more than one chunk
    x[321, 17] = value
    with raises(DataError, "vectors", f"value {value}", "sample 321"):
        Dataset(x, labels(400), ABC, "vectors")


def test_white_must_be_above_zero():
    with raises(DataError, "letters", "white 0.0"):
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
def test_take_with_an_index_outside_the_set_is_an_error(index):
    with raises(ConfigError, "letters.take", f"index {index}", "N 6"):
        Dataset(images(), labels(), ABC, "letters").take([0, index])


def test_take_reads_booleans_as_a_mask():
    dataset = Dataset(images(), labels(), ABC, "letters")
    for mask in (dataset.y == 1, [False, True, False, False, True, False]):
        assert np.array_equal(dataset.take(mask).x, images()[[1, 4]])


@pytest.mark.parametrize("kind", [list, tuple, np.uint8, np.int32, np.uint64, range])
def test_take_reads_whole_numbers_of_every_kind(kind):
    rows = range(1, 3) if kind is range else kind([1, 2]) if kind in (list, tuple) else np.array([1, 2], kind)
    assert np.array_equal(Dataset(images(), labels(), ABC, "letters").take(rows).x, images()[[1, 2]])


@pytest.mark.parametrize(
    "indices", [[1.9, 2.9], [True, False], [[0, 1]], ["a"], np.array([2**63], np.uint64), np.ones((6, 1), bool)]
)
def test_take_of_what_is_neither_indices_nor_a_mask_is_an_error(indices):
    with raises(ConfigError, "letters.take", "N 6"):
        Dataset(images(), labels(), ABC, "letters").take(indices)


def test_take_of_rows_that_differ_in_length_is_an_error():
    with raises(DTypeError, "letters.take", "list"):
        Dataset(images(), labels(), ABC, "letters").take([[1], [2, 3]])


def test_take_without_indices_is_an_error():
    with raises(DataError, "letters", "shape (0, 5, 7, 3)"):
        Dataset(images(), labels(), ABC, "letters").take([])


def numbered(n: int) -> Dataset:
    return from_arrays(np.arange(n, dtype=np.float32)[:, None], np.arange(n) % 2)


def test_split_puts_every_sample_in_one_part_and_keeps_the_order():
    first, second = numbered(50).split(0.8)
    assert len(first) == 40
    both = np.concatenate([first.x, second.x])[:, 0]
    assert sorted(both) == list(range(50))
    assert (np.diff(first.x[:, 0]) > 0).all()
    assert (np.diff(second.x[:, 0]) > 0).all()
    assert np.array_equal(first.y, first.x[:, 0] % 2)


def test_split_depends_only_on_the_seed():
    a, b, other = (numbered(50).split(0.5, seed)[0].x for seed in (3, 3, 4))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, other)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 0.001, 0.999, float("nan")])
def test_split_that_would_leave_a_part_empty_is_an_error(fraction):
    with raises(ConfigError, "arrays.split", f"fraction {fraction}"):
        numbered(50).split(fraction)


def test_hold_out_takes_a_fifth_rounded_up_for_the_test():
    train, test = numbered(11).hold_out_fifth("some/test")
    assert (len(train), len(test)) == (8, 3)


def test_hold_out_needs_two_samples():
    one = Dataset(images(1), labels(1), ABC, "single")
    with raises(DataError, "single", "samples 1"):
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


def test_from_arrays_keeps_a_given_white():
    assert from_arrays(images(), labels(), white=16).white == 16


def test_from_arrays_names_classes_by_the_largest_label():
    assert from_arrays(images(), labels(6, 3)).classes == ("0", "1", "2")
    assert from_arrays(images(), labels(6, 3), ["x", "y", "z", "w"]).classes == ("x", "y", "z", "w")


def test_from_arrays_takes_unsigned_labels():
    dataset = from_arrays(images(), labels().astype(np.uint8))
    assert dataset.y.dtype == np.int64
    assert dataset.y.tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("x", "white"),
    [
        (np.full((9, 4, 4, 1), 200), 255),
        (np.full((9, 16), 200.0), 255),
        (np.full((9, 4, 4, 1), 99.5), 255),
        (np.full((9, 16), 16), 16),
        (np.full((9, 4, 4, 1), 16, np.uint8), 16),
        (np.full((1, 4, 4, 1), 16, np.uint8), 255),
        (np.full((9, 4, 4, 1), 0.5), 1),
        (np.full((9, 4, 4, 1), -200), 1),
        (np.full((9, 3), 200.0), 1),
        (np.full((9, 16), 99.5), 1),
    ],
)
def test_from_arrays_finds_white_by_the_values(x, white):
    assert from_arrays(x, np.arange(len(x)) % 2, ["a", "b"]).white == white


def test_from_arrays_takes_arrays_of_any_library(backend):
    x, y = np.arange(12, dtype=np.float32).reshape(4, 3), np.arange(4) % 2
    dataset = from_arrays(backend.from_numpy(x), backend.from_numpy(y))
    assert np.array_equal(dataset.x, x)
    assert np.array_equal(dataset.y, y)


@pytest.mark.parametrize("classes", ["ab", 2, ["a", "a"]])
def test_classes_are_names_that_differ(classes):
    with raises(DataError, "arrays", "classes"):
        from_arrays(images(), labels(6, 2), classes)


BAD_ARRAYS = {
    "strings": (np.array([["a"], ["b"]]), [0, 1], ["dtype <U1"]),
    "complex": (np.zeros((2, 3), complex), [0, 1], ["dtype complex128"]),
    "one name": (np.zeros((2, 3)), ["cat", "cat"], ["at least 2 classes", "all 'cat'"]),
    "one label": (np.zeros((2, 3)), [4, 4], ["at least 2 classes", "all 4", "classes="]),
    "negative": (np.zeros((2, 3)), [0, -1], ["label -1", "sample 1", "K 2"]),
    "empty": (np.zeros((0, 3)), np.zeros(0, int), ["shape (0, 3)"]),
    "complex targets": (np.zeros((2, 3)), np.zeros(2, complex), ["targets", "dtype complex128"]),
    "NaN targets": (np.zeros((2, 3)), [0.0, np.nan], ["finite targets", "value nan", "sample 1"]),
    "other targets": (np.zeros((2, 3)), [0.5, 1.5, 2.5], ["samples 2", "targets 3"]),
    "gaps": (np.zeros((3, 3)), [0, 100, 200], ["label 200", "different 3", "classes="]),
    "no array": (None, [0, 1], ["NoneType"]),
    "ragged": ([[1, 2], [3]], [0, 1], ["list"]),
    "beyond float32": (np.full((2, 3), 1e300), [0, 1], ["value inf", "sample 0"]),
    "vector": (np.zeros(2), [0, 1], ["shape (2,)"]),
    "huge label": (np.zeros((2, 3)), [0, 10**12], ["label 1000000000000", "sample 1", "different 2"]),
}


@pytest.mark.parametrize(("x", "y", "values"), BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_arrays_that_cannot_be_learned_from_are_an_error(x, y, values):
    with raises(DataError, "arrays", *values):
        from_arrays(x, y)


BAD_LABELS = {
    "floats": ([0.0, 1.0], ["integers", "shape (2,)", "dtype float64", "y.astype(int)"]),
    "NaN": ([0.0, np.nan], ["a label for each sample", "NaN", "sample 1"]),
    "one-hot": (np.eye(2, dtype=int), ["not one-hot", "y.argmax(axis=1)"]),
}


@pytest.mark.parametrize(("y", "values"), BAD_LABELS.values(), ids=BAD_LABELS.keys())
def test_what_must_be_labels_and_is_not_is_an_error(y, values):
    with raises(DataError, "arrays", *values):
        from_arrays(np.zeros((2, 3)), y, labelled=True)


@pytest.mark.parametrize("y", [[0.5, 1.5, -2.5], np.zeros((3, 2, 4)), np.array([[0, 1], [1, 1], [0, 0]])])
def test_from_arrays_keeps_numbers_as_targets_of_any_shape(y):
    dataset = from_arrays(np.zeros((3, 2)), y)
    assert (dataset.labelled, dataset.y.dtype, dataset.classes) == (False, np.float32, ())
    assert np.array_equal(dataset.y, y)
    assert dataset.take([2, 0]).y.tolist() == np.asarray(y, float)[[2, 0]].tolist()


def test_integers_of_two_axes_keep_their_kind():
    dataset = from_arrays(np.zeros((3, 2)), np.arange(6).reshape(3, 2))
    assert (dataset.labelled, dataset.y.dtype, dataset.y.tolist()) == (False, np.int64, [[0, 1], [2, 3], [4, 5]])


def test_integers_are_targets_where_that_is_said():
    dataset = from_arrays(np.zeros((3, 2)), [-4, 10**6, 7], labelled=False)
    assert dataset.y.tolist() == [-4, 10**6, 7]
    assert not dataset.labelled


@pytest.mark.parametrize("y", [["dog", "cat", "dog"], np.array(["dog", "cat", "dog"], object)])
def test_words_are_labels_in_order_of_the_alphabet(y):
    dataset = from_arrays(np.zeros((3, 2)), y)
    assert (dataset.y.tolist(), dataset.classes, dataset.labelled) == ([1, 0, 1], ("cat", "dog"), True)
    assert from_arrays(np.zeros((3, 2)), y, ["dog", "cow", "cat"]).y.tolist() == [0, 2, 0]


def test_a_word_that_is_no_class_is_an_error():
    with raises(DataError, "arrays", "'cat'", "sample 1", "2 classes"):
        from_arrays(np.zeros((2, 2)), ["dog", "cat"], ["dog", "cow"])


def test_columns_of_targets_have_names_or_none():
    y = np.zeros((3, 2), np.float32)
    assert from_arrays(np.zeros((3, 2)), y, ["width", "height"]).classes == ("width", "height")
    with raises(DataError, "arrays", "names 3", "columns 2"):
        from_arrays(np.zeros((3, 2)), y, ["a", "b", "c"])


def test_without_y_the_samples_are_the_targets():
    assert from_arrays(images(), name="own").y.tolist() == images().tolist()


def test_hold_out_keeps_the_share_of_each_class():
    y = np.repeat([0, 1, 2], [40, 20, 10])
    rest, held = from_arrays(np.zeros((70, 1)), y).hold_out(14, Key(3, "validation"))
    assert np.bincount(held.y).tolist() == [8, 4, 2]
    assert len(rest) == 56


def test_targets_are_held_out_at_random():
    x = np.arange(20.0)[:, None]
    rest, held = from_arrays(x, x[:, 0] / 2).hold_out_fifth("some/test", stratified=True)
    assert sorted([*rest.x[:, 0], *held.x[:, 0]]) == list(range(20))
    assert np.array_equal(held.y * 2, held.x[:, 0])
    assert len(held) == 4


NOISE = np.random.default_rng(0).normal(size=(12, 5, 4))


@pytest.mark.parametrize(
    ("x", "shape"),
    [
        (NOISE, (5, 4)),
        (abs(NOISE) * 100, (5, 4)),
        (np.abs(NOISE) / 8, (5, 4, 1)),
        (np.rint(abs(NOISE) * 50), (5, 4, 1)),
        (np.rint(NOISE * 50).astype(int), (5, 4)),
        (NOISE > 0, (5, 4, 1)),
        ((abs(NOISE) * 50).astype(np.uint8), (5, 4, 1)),
        (abs(NOISE).round() * 1000, (5, 4)),
    ],
    ids=["noise", "fractions", "0..1", "0..255", "negative", "booleans", "bytes", "large"],
)
def test_three_axes_are_images_or_sequences_by_their_values(x, shape):
    assert from_arrays(x, np.arange(12) % 2).shape == shape
    assert from_arrays(x, np.arange(12) % 2, images=True).shape == (5, 4, 1)
    assert from_arrays(x, np.arange(12) % 2, images=False).shape == (5, 4)
    assert from_arrays(x, np.arange(12) % 2, images=False).x.dtype == np.float32

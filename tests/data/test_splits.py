from __future__ import annotations

import numpy as np
import pytest

from tests.harness import raises
from xpnet.data import LoadOptions, load, splits
from xpnet.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "size"), [(64, 64), ("64", 64), ("48x64", (48, 64)), ((48, 64), (48, 64)), (None, None)]
)
def test_image_sizes_are_a_side_or_height_and_width(given, size):
    assert LoadOptions(image_size=given).image_size == size


@pytest.mark.parametrize("given", [0, 1, "0", "axb", "3x", (1, 2, 3), 1.5, True, "9x9x9", -4])
def test_other_image_sizes_are_errors(given):
    with raises(ConfigError, "LoadOptions", "image_size N, the shorter side, or HxW"):
        LoadOptions(image_size=given)


@pytest.mark.parametrize(
    ("given", "count"), [("4GB", 4 * 10**9), ("1.5 mb", 1_500_000), ("7", 7), (12, 12), ("2k", 2000)]
)
def test_bytes_may_have_a_unit(given, count):
    assert LoadOptions(cache_images=given).cache_images == count


def test_bytes_of_no_known_unit_are_an_error():
    with raises(ConfigError, "LoadOptions", "cache_images", "4GB"):
        LoadOptions(cache_images="4 apples")


def test_unknown_fits_are_errors_with_the_nearest():
    with raises(ConfigError, "LoadOptions", "did you mean 'crop'"):
        LoadOptions(fit="corp")


def test_a_tenth_of_each_class_of_the_training_set_is_validation():
    train, test = load("digits")
    parts = splits("digits")
    assert parts.test is not None
    assert parts.validation is not None
    assert np.array_equal(parts.test.x, test.x)
    assert len(parts.train) + len(parts.validation) == len(train)
    counts, whole = np.bincount(parts.validation.y), np.bincount(train.y)
    assert np.all(np.abs(counts - whole / 10) < 1)
    assert np.array_equal(splits("digits").validation.x, parts.validation.x)
    assert not np.array_equal(splits("digits", seed=1).validation.x, parts.validation.x)


@pytest.mark.parametrize("validation", [0, None])
def test_without_a_fraction_there_is_no_validation_set(validation):
    parts = splits("digits", validation=validation)
    assert parts.validation is None
    assert len(parts.train) == len(load("digits")[0])


@pytest.mark.parametrize("validation", [-0.1, 1, 1.5, float("nan"), True])
def test_a_fraction_outside_0_to_1_is_an_error(validation):
    with raises(ConfigError, "splits", "validation"):
        splits("digits", validation=validation)


def test_another_file_may_be_the_validation_set(tmp_path):
    x = np.arange(30.0).reshape(15, 2)
    np.savez(tmp_path / "other.npz", x=x, y=np.arange(15) % 3)
    np.savez(tmp_path / "own.npz", x=x, y=np.arange(15) % 3)
    parts = splits(str(tmp_path / "own.npz"), validation=str(tmp_path / "other.npz"))
    assert parts.validation is not None
    assert sorted(parts.validation.x[:, 0]) == sorted(x[:, 0])
    assert len(parts.train) == 12

"""The scale of inputs: by mean and deviation, whatever the unit, with weights as with repeated examples."""

import numpy as np
import pytest

from xpnet.errors import DataError
from xpnet.interop.sklearn.standardize import measure, standardized, standardized_host


@pytest.fixture
def columns():
    rng = np.random.default_rng(0)
    return np.c_[rng.normal(5, 2, 500), rng.exponential(1e-9, 500), np.eye(500)[3] * 255, np.ones(500)]


def test_columns_have_mean_0_and_deviation_1_unless_their_range_is_wide(columns):
    mean, factor = measure(columns, None, least=0.0)
    found = standardized(columns, mean, factor)
    assert np.allclose(found.mean(axis=0), 0, atol=1e-4)
    assert np.allclose(found.std(axis=0), [1, 1, 1, 0], atol=1e-4)
    bounded = standardized(columns, *measure(columns, None))
    assert np.allclose(np.ptp(bounded, axis=0)[1:], [4, 4, 0], atol=1e-3)
    assert np.allclose(bounded[:, 0].std(), 4 * columns[:, 0].std() / np.ptp(columns[:, 0]), atol=1e-3)


def test_images_have_a_mean_for_each_channel():
    x = np.random.default_rng(0).random((20, 5, 4, 3)) * [1, 10, 100]
    mean, factor = measure(x, None)
    assert np.allclose(mean, x.mean(axis=(0, 1, 2)), rtol=1e-4)
    assert np.allclose(1 / factor, x.std(axis=(0, 1, 2)), rtol=1e-4)


def test_weights_are_repetitions_to_the_last_bit(columns):
    weights = np.arange(500) % 5
    kept = weights > 0
    found = measure(columns[kept], weights[kept] * 1.0)
    again = measure(columns.repeat(weights, axis=0)[::-1], None)
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))


@pytest.mark.parametrize("scale", [1e-290, 1e300])
def test_numbers_may_be_as_small_or_large_as_float64_has_them(scale, columns):
    found = standardized(columns * scale, *measure(columns * scale, None))
    assert np.allclose(found, standardized(columns, *measure(columns, None)), atol=1e-3)


def test_a_column_whose_sum_is_infinite_is_one_line():
    with pytest.raises(
        DataError, match=r"^fit: expected columns whose sum and range are finite numbers, got column 1$"
    ):
        measure(np.array([[1.0, 1e308]] * 4), None)


def test_it_is_the_same_on_the_host_in_float32(columns):
    both = measure(columns, None)
    assert np.array_equal(standardized_host(columns, *both), standardized(columns, *both).astype(np.float32))

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import raises
from xpnet.data import Erase
from xpnet.errors import ConfigError
from xpnet.random import Key

KEY = Key(3, "augment", 2, 5)
IMAGES = np.random.default_rng(9).integers(10, 256, (300, 20, 30, 3), dtype=np.uint8)


def test_a_rectangle_of_the_documented_size_is_covered_in_some_images():
    out = Erase(0.4, (0.1, 0.3), fill=0)(IMAGES, KEY)
    covered = (out == 0).all(axis=3)
    some = covered.any(axis=(1, 2))
    assert 90 < some.sum() < 150
    places = set()
    for mask in covered[some]:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert mask.sum() == len(rows) * len(columns)
        assert len(rows) == np.ptp(rows) + 1
        assert 0.07 < mask.mean() < 0.35
        places.add((rows[0], columns[0]))
    assert len(places) > 50
    assert np.array_equal(out[~some], IMAGES[~some])
    assert np.array_equal(out[~covered], IMAGES[~covered])


def test_it_is_covered_by_the_mean_colour():
    image = np.zeros((10, 10, 3), np.uint8)
    image[:5] = (200, 100, 50)
    out = np.empty_like(image)
    Erase(1.0, (1.0, 1.0), (1.0, 1.0)).change(image, [0.0] * 5, out)
    assert np.array_equal(np.unique(out.reshape(-1, 3), axis=0), [[100, 50, 25]])


@pytest.mark.parametrize(
    "options", [{"probability": -0.1}, {"area": (0.5, 0.1)}, {"aspect": (0.0, 1.0)}, {"fill": "red"}], ids=str
)
def test_numbers_out_of_range_are_an_error(options):
    with raises(ConfigError, "Erase", *options):
        Erase(**options)

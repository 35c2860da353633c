from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from tests.harness import raises
from xpnet.data import Colour
from xpnet.errors import ConfigError
from xpnet.random import Key

KEY = Key(3, "augment", 2, 5)
IMAGE = np.random.default_rng(7).integers(60, 160, (9, 12, 3), dtype=np.uint8)  # far from 0 and 255 after a change


@pytest.mark.parametrize("u", [0.0, 0.25, 0.9])
@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_each_change_is_that_of_pillow(name, u):
    change = Colour(**({"brightness": 0.0, "contrast": 0.0, "saturation": 0.0} | {name: 0.5}))
    out = np.empty_like(IMAGE)
    change.change(IMAGE, [u, u, u], out)
    enhance = {
        "brightness": ImageEnhance.Brightness,
        "contrast": ImageEnhance.Contrast,
        "saturation": ImageEnhance.Color,
    }
    expected = enhance[name](Image.fromarray(IMAGE)).enhance(1 + 0.5 * (2 * u - 1))
    assert np.abs(out.astype(int) - np.asarray(expected)).max() <= 1
    assert np.abs(out.astype(int) - IMAGE).max() > 5


def test_together_they_are_applied_in_their_order():
    x = IMAGE.astype(np.float64)
    out = np.empty_like(x)
    Colour(0.4, 0.3, 0.2).change(x, [0.9, 0.1, 0.2], out)
    weights = np.array([0.299, 0.587, 0.114])
    z = x * (1 + 0.4 * 0.8)
    z = (1 - 0.3 * 0.8) * z + 0.3 * 0.8 * (z @ weights).mean()
    expected = (1 - 0.2 * 0.6) * z + 0.2 * 0.6 * (z @ weights)[..., None]
    assert np.abs(out - expected).max() < 1e-9


def test_bytes_are_limited_and_floating_images_are_not():
    bright = np.full((30, 2, 2, 3), 250, np.uint8)
    change = Colour(1.0, 0.0, 0.0)
    assert change(bright, KEY).max() == 255
    assert change(bright.astype(np.float32), KEY).max() > 300


@pytest.mark.parametrize("c", [1, 2, 4])
def test_images_without_three_channels_have_no_saturation(c):
    images = np.random.default_rng(8).normal(100, 20, (3, 5, 5, c))
    assert np.allclose(Colour(0.0, 0.0, 1.0)(images, KEY), images)
    assert not np.allclose(Colour(0.0, 1.0, 0.0)(images, KEY), images)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_a_number_out_of_range_is_an_error(name):
    with raises(ConfigError, "Colour", f"{name} 1.5"):
        Colour(**{name: 1.5})

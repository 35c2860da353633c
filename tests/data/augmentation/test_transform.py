from __future__ import annotations

import numpy as np
import pytest

from tests.harness import raises
from xpnet.backend import use_cores
from xpnet.data import Augment, Colour, Compose, Crop, Erase, Mirror, Rotate, Transform, augment
from xpnet.data.augmentation import transform
from xpnet.errors import ConfigError, ShapeError
from xpnet.random import Key, random_bits

KEY = Key(3, "augment", 2, 5)
RNG = np.random.default_rng(5)
IMAGES = RNG.integers(0, 256, (40, 9, 12, 3), dtype=np.uint8)
ALL = [Mirror(), Crop(), Rotate(30), Colour(), Erase(1.0), augment("light"), augment("strong")]


@pytest.mark.parametrize("change", ALL, ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_an_image_depends_only_on_the_key_and_its_position_in_the_batch(change, dtype):
    images = IMAGES.astype(dtype)
    before, out = images.copy(), change(images, KEY)
    assert (out.shape, out.dtype) == (images.shape, images.dtype)
    assert not np.shares_memory(out, images)
    assert np.array_equal(images, before)
    assert np.array_equal(out[:7], change(images[:7], KEY))
    assert np.array_equal(change(images[::2], KEY), change(images[::2].copy(), KEY))
    assert change(images[:0], KEY).shape == (0, 9, 12, 3)
    for other in (KEY._replace(step=6), KEY._replace(epoch=3), KEY._replace(seed=4)):
        assert not np.array_equal(out, change(images, other))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 3), (5, 1, 4), (2, 2, 1)])
@pytest.mark.parametrize("change", ALL, ids=str)
def test_the_smallest_images_and_any_number_of_channels_are_changed(change, shape):
    images = RNG.integers(0, 256, (5, *shape), dtype=np.uint8)
    assert change(images, KEY).shape == images.shape


@pytest.mark.parametrize("change", ALL, ids=str)
def test_any_number_of_threads_gives_the_same_bits(change, monkeypatch):
    monkeypatch.setattr(transform, "_LEAST", 1)
    with use_cores(1):
        alone = change(IMAGES, KEY)
    with use_cores(3):
        assert np.array_equal(change(IMAGES, KEY), alone)


def test_an_error_in_a_thread_is_raised(monkeypatch):
    class Failing(Transform):
        def change(self, image, u, out):
            raise ValueError("a test")

    monkeypatch.setattr(transform, "_LEAST", 1)
    with use_cores(3), pytest.raises(ValueError, match="a test"):
        Failing()(IMAGES, KEY)


def test_a_sum_applies_the_first_first_and_changes_no_draws():
    both = Crop() + Mirror(vertical=True) + Colour()
    expected = Colour()(Mirror(vertical=True)(Crop()(IMAGES, KEY), KEY), KEY)
    assert np.array_equal(both(IMAGES, KEY), expected)
    assert both == Compose(Crop(), Compose(Mirror(vertical=True), Colour()))


def test_a_class_that_occurs_twice_draws_twice():
    twice = (Mirror() + Mirror())(IMAGES, KEY)
    second = Mirror()(Mirror()(IMAGES, KEY), KEY._replace(call=1))
    assert np.array_equal(twice, second)
    assert not np.array_equal(twice, IMAGES)  # as two times the same would be


def test_shifts_and_functions_of_images_and_key_are_composed_too():
    dark = Augment(shift=1) + Mirror() + (lambda images, key: images // 2)
    expected = Mirror()(Augment(shift=1)(IMAGES, KEY), KEY) // 2
    assert np.array_equal(dark(IMAGES, KEY), expected)
    assert not dark.only_moves  # it has no kernel on the device


def test_a_custom_transform_gets_uniform_numbers_from_the_stream_of_its_name():
    class Fill(Transform):
        draws = 3

        def change(self, image, u, out):
            out[...] = u[2]

    out = Fill()(np.zeros((400, 1, 1, 1)), KEY)
    bits = random_bits(KEY._replace(purpose="augment/fill"), 1200)[2::3]
    assert np.allclose(out[:, 0, 0, 0], bits.astype(float) / 2.0**64, atol=1e-15)
    assert 0.4 < out.mean() < 0.6


def test_no_transform_copies():
    out = Compose()(IMAGES, KEY)
    assert np.array_equal(out, IMAGES)
    assert not np.shares_memory(out, IMAGES)


def test_what_is_no_batch_or_no_key_is_an_error():
    with raises(ShapeError, "Crop", "(9, 12, 3)"):
        Crop()(IMAGES[0], KEY)
    with raises(ConfigError, "Mirror", "Key"):
        Mirror()(IMAGES, 3)
    with raises(ConfigError, "Compose", "transforms[1]", "3"):
        Mirror() + 3

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from tests.harness import raises
from xpnet.data import Crop, Mirror, Rotate
from xpnet.data.augmentation.geometry import part_of
from xpnet.errors import ConfigError
from xpnet.random import Key

KEY = Key(3, "augment", 2, 5)
RNG = np.random.default_rng(6)
IMAGES = RNG.integers(0, 256, (200, 9, 12, 3), dtype=np.uint8)


@pytest.mark.parametrize(("options", "flipped"), [({}, IMAGES[:, :, ::-1]), ({"vertical": True}, IMAGES[:, ::-1])])
def test_images_are_mirrored_with_the_given_probability(options, flipped):
    for probability, low, high in ((0.0, 0, 0), (0.25, 30, 70), (0.5, 80, 120), (1.0, 200, 200)):
        out = Mirror(probability, **options)(IMAGES, KEY)
        is_flipped = [np.array_equal(a, b) for a, b in zip(out, flipped, strict=True)]
        assert low <= sum(is_flipped) <= high
        assert all(np.array_equal(out[i], IMAGES[i]) for i in range(200) if not is_flipped[i])


@pytest.mark.parametrize(
    "u", [[0.0, 0.0, 0.0, 0.0], [0.3, 0.6, 0.2, 0.9], [0.999, 0.5, 0.5, 0.5], [0.5, 0.999, 0.9, 0.4]]
)
def test_a_crop_is_what_pillow_makes_of_the_same_box(u):
    crop = Crop((0.2, 0.9), (0.5, 2.0))
    smooth = np.asarray(Image.fromarray(IMAGES[0]).resize((40, 30), Image.Resampling.BICUBIC))
    out = np.empty_like(smooth)
    crop.change(smooth, u, out)
    area = 0.2 + 0.7 * u[0]
    ratio = 0.5 * 4.0 ** u[1]
    high, wide = min(30, 30 * math.sqrt(area / ratio)), min(40, 40 * math.sqrt(area * ratio))
    top, left = (30 - high) * u[2], (40 - wide) * u[3]
    expected = Image.fromarray(smooth).resize(
        (40, 30), Image.Resampling.BILINEAR, box=(left, top, left + wide, top + high)
    )
    inner = slice(2, -2)  # at the edge of a box Pillow reads nothing beyond it
    assert np.abs(out.astype(int) - np.asarray(expected))[inner, inner].max() <= 1


def test_the_whole_area_in_its_own_proportions_is_the_image():
    assert np.array_equal(Crop((1.0, 1.0), (1.0, 1.0))(IMAGES, KEY), IMAGES)


def test_parts_have_areas_and_proportions_within_their_limits():
    sizes = np.array([part_of(u, v, (0.25, 0.5), (0.5, 2.0), 300, 100) for u, v in RNG.random((500, 2))])
    area, aspect = sizes.prod(axis=1) / 30_000, sizes[:, 1] / sizes[:, 0] * 3
    assert 0.25 <= area.min() < 0.27
    assert 0.48 < area.max() <= 0.5
    assert 0.5 <= aspect.min() < 0.55
    assert 1.8 < aspect.max() <= 2.0
    assert 0.4 < (aspect < 1).mean() < 0.6


def test_a_quarter_turn_is_exact():
    square = IMAGES[:1, :, :9].astype(np.float64)
    out = np.empty_like(square)
    Rotate(90).change(square[0], [0.0], out[0])
    assert np.abs(out[0] - np.rot90(square[0])).max() < 1e-2 or np.abs(out[0] - np.rot90(square[0], -1)).max() < 1e-2


def test_corners_show_the_reflected_image_or_the_fill():
    image = IMAGES[0].astype(np.float64)
    padded = np.pad(image, ((6, 6), (6, 6), (0, 0)), mode="reflect")
    out, outer = np.empty_like(image), np.empty_like(padded)
    Rotate(40).change(image, [0.1], out)
    Rotate(40).change(padded, [0.1], outer)
    assert np.abs(out - outer[6:-6, 6:-6]).max() < 0.01
    white = np.full((20, 9, 12, 3), 200, np.uint8)
    assert 9 in np.unique(Rotate(45, fill=9)(white, KEY))


BAD = [
    (Mirror, {"probability": 1.5}),
    (Mirror, {"vertical": 2}),
    (Crop, {"area": (0.0, 1.0)}),
    (Crop, {"area": (0.9, 0.2)}),
    (Crop, {"area": 0.5}),
    (Crop, {"aspect": (0.5, math.inf)}),
    (Rotate, {"degrees": 181}),
    (Rotate, {"degrees": -1}),
    (Rotate, {"fill": "red"}),
]


@pytest.mark.parametrize(("kind", "options"), BAD, ids=str)
def test_numbers_out_of_range_are_an_error(kind, options):
    with raises(ConfigError, kind.__name__, *options):
        kind(**options)

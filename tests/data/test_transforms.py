from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tests.harness import raises
from xpnet.data import Augment, Normalize, from_arrays
from xpnet.data.distortion import Affine, elastic
from xpnet.errors import ConfigError, ShapeError
from xpnet.random import Key, random_bits

RNG = np.random.default_rng(5)
IMAGES = RNG.integers(0, 200, (40, 5, 7, 3), dtype=np.uint8) + np.array([0, 20, 50], dtype=np.uint8)
LABELS = np.arange(40) % 2


# Normalize

FAR = (IMAGES.astype(np.float32) + 10_000) * np.float32(0.1)  # far from zero: a one-pass variance would be lost


@pytest.mark.parametrize(("x", "white", "rtol"), [(IMAGES, 255, 1e-12), (FAR, 1, 1e-9)], ids=["uint8", "float32"])
def test_images_are_measured_channel_by_channel(x, white, rtol):
    normalize = Normalize.of(from_arrays(x, LABELS))
    exact = x.astype(np.longdouble) / white
    assert np.allclose(normalize.mean, exact.mean(axis=(0, 1, 2)).astype(float), rtol=1e-12, atol=0)
    assert np.allclose(normalize.std, exact.std(axis=(0, 1, 2)).astype(float), rtol=rtol, atol=0)
    assert normalize.white == white


def test_vectors_have_a_single_mean_and_deviation():
    x = RNG.normal(3, 2, (30, 11)).astype(np.float32)
    normalize = Normalize.of(from_arrays(x, np.arange(30) % 2))
    assert normalize.mean == pytest.approx((x.astype(float).mean(),), rel=1e-12)
    assert normalize.std == pytest.approx((x.astype(float).std(),), rel=1e-12)


def test_measuring_in_parts_changes_nothing(monkeypatch):
    for x in (IMAGES, IMAGES.astype(np.float32)):
        whole = Normalize.of(from_arrays(x, LABELS))
        with monkeypatch.context() as patch:
            patch.setattr("xpnet.data.scale._CHUNK", 3 * 5 * 7 * 3)
            parts = Normalize.of(from_arrays(x, LABELS))
        assert parts.mean == pytest.approx(whole.mean, rel=1e-13)
        assert parts.std == pytest.approx(whole.std, rel=1e-13)


@pytest.mark.parametrize("value", [0, 7, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_channel_that_does_not_vary_becomes_zero(value, dtype):
    x = IMAGES.astype(dtype)
    x[..., 1] = value
    normalize = Normalize.of(from_arrays(x, LABELS, white=255))
    assert normalize.std[1] == 1.0
    assert np.abs(normalize(x)[..., 1]).max() < 1e-6


def test_a_single_bright_pixel_is_limited_to_1000():
    x = np.zeros((4000, 40, 40, 1), dtype=np.uint8)
    x[17, 3, 3] = 255
    normalize = Normalize.of(from_arrays(x, np.arange(4000) % 2))
    assert normalize(x[17:18]).max() == pytest.approx(1000, rel=1e-3)


def test_normalized_training_data_has_mean_zero_and_deviation_one():
    x = Normalize.of(from_arrays(IMAGES, LABELS))(IMAGES, "float64")
    assert np.abs(x.mean(axis=(0, 1, 2))).max() < 1e-12
    assert np.abs(x.std(axis=(0, 1, 2)) - 1).max() < 1e-12


@pytest.mark.parametrize("source", [np.uint8, np.float32])
def test_every_backend_normalizes_alike_and_leaves_its_input(backend, source):
    normalize = Normalize((0.3, 0.5, 0.7), (0.1, 0.2, 0.3), white=200.0)
    x = backend.from_numpy(IMAGES.astype(source))
    y = normalize(x)
    assert y.dtype == backend.xp.float32
    assert y.device == x.device
    expected = (IMAGES.astype(float) / 200 - [0.3, 0.5, 0.7]) / [0.1, 0.2, 0.3]
    assert np.abs(backend.to_numpy(y) - expected).max() < 1e-5 * np.abs(expected).max()
    assert np.array_equal(backend.to_numpy(x), IMAGES.astype(source))


def test_one_number_serves_all_channels(backend):
    y = Normalize((0.5,), (0.25,), white=100.0)(backend.from_numpy(IMAGES))
    assert np.allclose(backend.to_numpy(y), (IMAGES / 100 - 0.5) / 0.25, atol=1e-5)


def test_float64_is_computed_in_float64():
    x = np.array([[1.0, 1.0 + 2.0**-40]])
    y = Normalize((1.0,), (1.0,), white=1.0)(x, "float64")
    assert y.dtype == np.float64
    assert y[0, 1] == 2.0**-40


def test_another_number_of_channels_than_measured_is_an_error():
    with raises(ShapeError, "Normalize", "shape (2, 5, 7, 1)", "C 3"):
        Normalize((0.3, 0.5, 0.7), (0.1, 0.2, 0.3))(np.zeros((2, 5, 7, 1), np.uint8))


def test_normalize_survives_json():
    normalize = Normalize.of(from_arrays(IMAGES, LABELS))
    assert Normalize.from_json(json.loads(json.dumps(normalize.to_json()))) == normalize


BAD_NUMBERS = [
    (((0.1, 0.2), (0.1,)), "mean (0.1, 0.2), std (0.1,)"),
    (((), ()), "mean (), std ()"),
    (((0.1,), (0.0,)), "std 0.0"),
    (((0.1,), (math.nan,)), "std nan"),
    (((0.1,), (1.0,), -1.0), "white -1.0"),
    (((math.inf,), (1.0,)), "mean inf"),
]


@pytest.mark.parametrize(("arguments", "values"), BAD_NUMBERS)
def test_numbers_that_cannot_normalize_are_an_error(arguments, values):
    with raises(ConfigError, "Normalize", values):
        Normalize(*arguments)


@pytest.mark.parametrize("values", [{}, {"mean": [0.1], "std": [1.0]}, {"mean": "3", "std": [1], "white": 1}, None, 3])
def test_json_that_is_no_normalization_is_an_error(values):
    with raises(ConfigError, "Normalize"):
        Normalize.from_json(values)


# Augment

KEY = Key(3, "augment", 2, 5)
N = 400
PIXELS = RNG.integers(1, 256, (N, 5, 7, 2), dtype=np.uint8)  # never 0, so 0 marks the filled border


def moved(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """Shift the image by whole pixels, filling with zeros, one pixel at a time."""
    out = np.zeros_like(image)
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            if 0 <= i - down < image.shape[0] and 0 <= j - right < image.shape[1]:
                out[i, j] = image[i - down, j - right]
    return out


def moves(before: np.ndarray, after: np.ndarray, reach: int, flip: bool = False) -> list[tuple[int, int, bool]]:
    """Find the (down, right, mirrored) that maps each image of before to that of after; fail if there is none."""
    found = []
    for a, b in zip(before, after, strict=True):
        options = [
            (down, right, mirrored)
            for down in range(-reach, reach + 1)
            for right in range(-reach, reach + 1)
            for mirrored in ((False, True) if flip else (False,))
            if np.array_equal(moved(a, down, right)[:, :: -1 if mirrored else 1], b)
        ]
        assert len(options) == 1, options
        found.append(options[0])
    return found


@pytest.mark.parametrize("options", [{"shift": 2}, {"crop": 2}])
def test_images_are_shifted_by_every_distance_equally_often(options):
    found = moves(PIXELS, Augment(**options)(PIXELS, KEY), 2)
    for axis in (0, 1):
        counts = [sum(move[axis] == d for move in found) for d in range(-2, 3)]
        assert min(counts) > N / 5 * 0.7
        assert max(counts) < N / 5 * 1.3
    assert len({move[:2] for move in found}) == 25


def test_about_half_of_the_images_are_mirrored():
    found = moves(PIXELS, Augment(flip=True)(PIXELS, KEY), 0, flip=True)
    assert N * 0.4 < sum(mirrored for *_, mirrored in found) < N * 0.6


def test_shift_and_crop_add_up():
    found = moves(PIXELS[:60], Augment(shift=1, crop=2)(PIXELS[:60], KEY), 3)
    assert {move[0] for move in found} == set(range(-3, 4))


def test_an_option_does_not_change_the_draws_of_the_others():
    plain = moves(PIXELS[:50], Augment(shift=2)(PIXELS[:50], KEY), 2)
    both = moves(PIXELS[:50], Augment(shift=2, flip=True)(PIXELS[:50], KEY), 2, flip=True)
    assert [m[:2] for m in plain] == [m[:2] for m in both]
    assert {m[2] for m in both} == {False, True}


def test_the_edge_is_filled_with_the_background():
    out = Augment(shift=2, fill=9)(np.full((50, 5, 7, 1), 200, np.uint8), KEY)
    assert set(np.unique(out)) == {9, 200}


DISTORTIONS = {
    "rotate": 40.0,
    "scale": 0.5,
    "squeeze": 0.6,
    "shear": 0.7,
}  # large, so that the effect of each is visible
AUGMENTS = [
    Augment(),
    Augment(shift=20),
    Augment(flip=True),
    Augment(2, True, 1),
    Augment(1, True, **DISTORTIONS, elastic=1),
]


@pytest.mark.parametrize("augment", AUGMENTS, ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_augment_depends_only_on_the_key_and_the_position_in_the_batch(augment, dtype):
    images = PIXELS.astype(dtype)
    before, out = images.copy(), augment(images, KEY)
    assert (out.shape, out.dtype) == (images.shape, images.dtype)
    assert not np.shares_memory(out, images)
    assert np.array_equal(images, before)
    assert np.array_equal(out, augment(images, KEY))
    assert np.array_equal(out[:7], augment(images[:7], KEY))
    for view in (images[::2], images.transpose(0, 2, 1, 3), images[:0]):
        assert np.array_equal(augment(view, KEY), augment(view.copy(), KEY))
    if augment != Augment():
        assert not np.array_equal(out, augment(images, KEY._replace(step=6)))
        assert not np.array_equal(out, augment(images, KEY._replace(seed=4)))


def test_augmenting_an_array_without_a_batch_axis_is_an_error():
    with raises(ShapeError, "Augment", "shape (5, 7, 2)"):
        Augment(shift=1)(PIXELS[0], KEY)


# Augment: rotate, scale, squeeze, shear, elastic


def distorted(
    image: np.ndarray, forward: np.ndarray, down: float = 0, right: float = 0, displacement: np.ndarray | None = None
) -> np.ndarray:
    """Distort an image (H, W, C) about its centre and then shift it, pixel by pixel, in float64.

    Args:
        forward: (2, 2), the map of a point (x, y) relative to the centre, y pointing down.
        displacement: (2, H, W), added to the source of each pixel, along x and y.
    """
    height, width, c = image.shape
    out, back = np.empty(image.shape), np.linalg.inv(forward)
    for i in range(height):
        for j in range(width):
            place = np.array([j - right - (width - 1) / 2, i - down - (height - 1) / 2])
            x, y = back @ place + [(width - 1) / 2, (height - 1) / 2]
            if displacement is not None:
                x, y = x + displacement[0, i, j], y + displacement[1, i, j]
            total = np.zeros(c)
            for row in (math.floor(y), math.floor(y) + 1):
                for column in (math.floor(x), math.floor(x) + 1):
                    inside = 0 <= row < height and 0 <= column < width
                    weight = (1 - abs(x - column)) * (1 - abs(y - row))
                    total += weight * (image[row, column] if inside else 0)
            out[i, j] = total
    return out


def forward_maps(key: Key, n: int, rotate: float, scale: float, squeeze: float, shear: float) -> list[np.ndarray]:
    """The maps of Affine's docstring, from the random bits of the key: rotation @ shear @ scaling."""
    maps = []
    for bits in random_bits(key, 4 * n).reshape(n, 4).tolist():
        t, u, v, w = (2 * (b >> 11) / 2**53 - 1 for b in bits)
        a, k = math.radians(rotate * t), shear * w
        rotation = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
        size, ratio = (1 + scale) ** u, (1 + squeeze) ** v
        maps.append(rotation @ np.array([[1, k], [0, 1]]) @ np.diag([size * ratio, size / ratio]))
    return maps


@pytest.mark.parametrize("chosen", [*((name,) for name in DISTORTIONS), tuple(DISTORTIONS)], ids=[*DISTORTIONS, "all"])
def test_each_image_is_distorted_by_its_own_draw_as_documented(chosen):
    options = {name: DISTORTIONS[name] * (name in chosen) for name in DISTORTIONS}
    images = RNG.normal(0, 1, (6, 5, 7, 3))
    out = Augment(**options)(images, KEY)
    maps = forward_maps(KEY._replace(purpose="augment/affine"), 6, **options)
    assert len({str(m.round(3)) for m in maps}) == 6
    for image, forward, got in zip(images, maps, out, strict=True):
        assert np.abs(distorted(image, forward) - got).max() < 2e-5  # positions are computed in float32


def test_bytes_are_rounded_to_the_nearest():
    out = Augment(**DISTORTIONS)(PIXELS[:20], KEY)
    exact = Augment(**DISTORTIONS)(PIXELS[:20].astype(np.float64), KEY)
    assert out.dtype == np.uint8
    assert np.abs(out - exact).max() <= 0.501
    assert np.abs((out - exact).mean()) < 0.05


def test_distorted_images_are_shifted_like_others():
    images = RNG.normal(0, 1, (12, 5, 7, 2))
    placed = moves(images, Augment(shift=2, crop=1)(images, KEY), 3)
    out = Augment(shift=2, crop=1, **DISTORTIONS)(images, KEY)
    maps = forward_maps(KEY._replace(purpose="augment/affine"), 12, **DISTORTIONS)
    for image, forward, (down, right, _), got in zip(images, maps, placed, out, strict=True):
        assert np.abs(distorted(image, forward, down, right) - got).max() < 2e-5


def test_elastic_displaces_each_image_by_its_own_field():
    images = RNG.normal(0, 1, (6, 5, 7, 3))
    out = Augment(rotate=40, elastic=1.5)(images, KEY)
    maps = forward_maps(KEY._replace(purpose="augment/affine"), 6, 40, 0, 0, 0)
    fields = elastic(KEY._replace(purpose="augment/elastic"), 6, 5, 7, 1.5)
    for image, forward, field, got in zip(images, maps, fields, out, strict=True):
        assert np.abs(distorted(image, forward, displacement=field) - got).max() < 2e-5


def test_elastic_fields_have_the_documented_spread_and_correlation():
    x = elastic(KEY, 6000, 28, 30, 1.5)
    assert (x.shape, x.dtype) == ((6000, 2, 28, 30), np.dtype("float32"))
    assert np.abs(x.mean(axis=0)).max() < 0.1  # five standard errors
    assert np.abs(x.std(axis=0) - 1.5).max() < 0.1
    assert abs(np.corrcoef(x[:, 0, 9, 9], x[:, 1, 9, 9])[0, 1]) < 0.1  # x and y are drawn independently
    for d in (1, 4, 8, 16):  # r = 28 / 7 = 4
        for near, far in ((0, d), (27, 27 - d)):  # from either edge
            for one, other in ((x[:, :, near], x[:, :, far]), (x[..., near], x[..., far])):
                assert (one * other).mean() / 1.5**2 == pytest.approx(math.exp(-((d / 8) ** 2)), abs=0.025)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2)])
def test_elastic_accepts_the_smallest_images(shape):
    images = RNG.integers(0, 256, (5, *shape, 1), dtype=np.uint8)
    assert Augment(elastic=0.5)(images, KEY).shape == images.shape


def test_elastic_alone_changes_images_and_a_negligible_scale_does_not():
    assert not np.array_equal(Augment(elastic=0.5)(PIXELS, KEY), PIXELS)
    assert np.array_equal(Augment(2, True, 1, scale=1e-12)(PIXELS, KEY), Augment(2, True, 1)(PIXELS, KEY))


def test_the_edge_of_a_distorted_image_is_filled_with_the_background():
    out = Augment(shift=3, fill=200, **DISTORTIONS, elastic=3.0)(np.full((50, 5, 7, 1), 200, np.uint8), KEY)
    assert set(np.unique(out)) == {200}
    assert (Augment(shift=50, fill=9, **DISTORTIONS)(PIXELS, KEY) == 9).all(axis=(1, 2, 3)).any()


def test_enlarging_and_shrinking_are_equally_likely():
    maps = np.linalg.inv(Affine(scale=0.5).inverses(KEY, 4000))
    size = np.log(maps[:, 0, 0]) / math.log(1.5)  # even over -1..1
    assert np.histogram(size, bins=4, range=(-1, 1))[0].min() > 900
    assert np.abs(size).max() <= 1


LIMITS = [
    ("shift", -1),
    ("crop", -1),
    ("rotate", -1.0),
    ("rotate", 181.0),
    ("scale", -0.1),
    ("squeeze", math.inf),
    ("shear", math.nan),
    ("elastic", -1),
]


@pytest.mark.parametrize(("option", "value"), LIMITS, ids=str)
def test_an_option_out_of_range_is_an_error(option, value):
    with raises(ConfigError, "Augment", f"{option} {value}"):
        Augment(**{option: value})

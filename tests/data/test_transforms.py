from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

from xpnet.data import Augment, Normalize, from_arrays
from xpnet.data.distortion import Affine, elastic
from xpnet.errors import ConfigError, ShapeError
from xpnet.random import Key, random_bits

RNG = np.random.default_rng(5)
IMAGES = RNG.integers(0, 200, (40, 5, 7, 3), dtype=np.uint8) + np.array([0, 20, 50], dtype=np.uint8)
LABELS = np.arange(40) % 2


# Normalize


def test_8_bit_images_are_measured_channel_by_channel():
    normalize = Normalize.of(from_arrays(IMAGES, LABELS))
    exact = IMAGES.astype(np.longdouble) / 255
    assert np.allclose(normalize.mean, exact.mean(axis=(0, 1, 2)).astype(float), rtol=1e-12, atol=0)
    assert np.allclose(normalize.std, exact.std(axis=(0, 1, 2)).astype(float), rtol=1e-12, atol=0)
    assert normalize.white == 255.0


def test_floating_images_are_measured_channel_by_channel():
    x = (IMAGES.astype(np.float32) + 10_000) * np.float32(0.1)  # far from zero: a one-pass variance would be lost
    normalize = Normalize.of(from_arrays(x, LABELS))
    exact = x.astype(np.longdouble)
    assert np.allclose(normalize.mean, exact.mean(axis=(0, 1, 2)).astype(float), rtol=1e-12, atol=0)
    assert np.allclose(normalize.std, exact.std(axis=(0, 1, 2)).astype(float), rtol=1e-9, atol=0)


def test_vectors_have_one_mean_and_deviation_in_all():
    x = RNG.normal(3, 2, (30, 11)).astype(np.float32)
    normalize = Normalize.of(from_arrays(x, np.arange(30) % 2))
    assert normalize.mean == pytest.approx((x.astype(float).mean(),), rel=1e-12)
    assert normalize.std == pytest.approx((x.astype(float).std(),), rel=1e-12)


def test_measuring_in_parts_changes_nothing(monkeypatch):
    for x in (IMAGES, IMAGES.astype(np.float32)):
        whole = Normalize.of(from_arrays(x, LABELS))
        with monkeypatch.context() as patch:
            patch.setattr("xpnet.data.dataset._CHUNK", 3 * 5 * 7 * 3)
            parts = Normalize.of(from_arrays(x, LABELS))
        assert parts.mean == pytest.approx(whole.mean, rel=1e-13)
        assert parts.std == pytest.approx(whole.std, rel=1e-13)


@pytest.mark.parametrize("value", [0, 7, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_channel_that_does_not_vary_comes_out_zero(value, dtype):
    x = IMAGES.astype(dtype)
    x[..., 1] = value
    normalize = Normalize.of(from_arrays(x, LABELS, white=255))
    assert normalize.std[1] == 1.0
    assert np.abs(normalize(x)[..., 1]).max() < 1e-6


def test_a_single_odd_pixel_does_not_explode():
    x = np.zeros((4000, 40, 40, 1), dtype=np.uint8)
    x[17, 3, 3] = 255
    normalize = Normalize.of(from_arrays(x, np.arange(4000) % 2))
    assert normalize(x[17:18]).max() == pytest.approx(1000, rel=1e-3)


def test_training_data_comes_out_with_mean_zero_and_deviation_one():
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


def test_other_channels_than_those_measured_are_refused():
    with pytest.raises(ShapeError, match=r"Normalize: the last axis has C channels, got shape \(2, 5, 7, 1\), C 3"):
        Normalize((0.3, 0.5, 0.7), (0.1, 0.2, 0.3))(np.zeros((2, 5, 7, 1), np.uint8))


def test_normalize_survives_json():
    normalize = Normalize.of(from_arrays(IMAGES, LABELS))
    assert Normalize.from_json(json.loads(json.dumps(normalize.to_json()))) == normalize


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0.1, 0.2), (0.1,)), "mean and std have a number a channel, got mean (0.1, 0.2), std (0.1,)"),
        (((), ()), "mean and std have a number a channel, got mean (), std ()"),
        (((0.1,), (0.0,)), "std and white are above 0, got std (0.0,), white 255.0"),
        (((0.1,), (math.nan,)), "std and white are above 0, got std (nan,)"),
        (((0.1,), (1.0,), -1.0), "std and white are above 0, got std (1.0,), white -1.0"),
        (((math.inf,), (1.0,)), "mean is finite, got mean (inf,)"),
    ],
)
def test_numbers_that_cannot_normalize_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=re.escape(f"Normalize: {message}")):
        Normalize(*arguments)


@pytest.mark.parametrize("values", [{}, {"mean": [0.1], "std": [1.0]}, {"mean": 3, "std": [1], "white": 1}])
def test_json_that_is_no_normalization_is_refused(values):
    with pytest.raises(ConfigError, match=re.escape(f"white a number, got found {values}")):
        Normalize.from_json(values)


# Augment

KEY = Key(3, "augment", 2, 5)
N = 400
PIXELS = RNG.integers(1, 256, (N, 5, 7, 2), dtype=np.uint8)  # never 0: what is 0 came in at the edge


def moved(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """The image moved by whole pixels, zeros coming in: one pixel at a time."""
    out = np.zeros_like(image)
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            if 0 <= i - down < image.shape[0] and 0 <= j - right < image.shape[1]:
                out[i, j] = image[i - down, j - right]
    return out


def moves(before: np.ndarray, after: np.ndarray, reach: int, flip: bool = False) -> list[tuple[int, int, bool]]:
    """The (down, right, mirrored) that makes each image of before into that of after; fails where none does."""
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
def test_images_move_by_every_distance_about_as_often(options):
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


def test_an_option_leaves_the_draws_of_the_others():
    plain = moves(PIXELS[:50], Augment(shift=2)(PIXELS[:50], KEY), 2)
    both = moves(PIXELS[:50], Augment(shift=2, flip=True)(PIXELS[:50], KEY), 2, flip=True)
    assert [m[:2] for m in plain] == [m[:2] for m in both]
    assert {m[2] for m in both} == {False, True}


def test_the_edge_is_filled_with_the_background():
    out = Augment(shift=2, fill=9)(np.full((50, 5, 7, 1), 200, np.uint8), KEY)
    assert set(np.unique(out)) == {9, 200}


def test_augment_depends_on_the_key_and_the_place_in_the_batch_alone():
    augment = Augment(shift=2, flip=True)
    assert np.array_equal(augment(PIXELS, KEY), augment(PIXELS, KEY))
    assert np.array_equal(augment(PIXELS, KEY)[:7], augment(PIXELS[:7], KEY))
    assert not np.array_equal(augment(PIXELS, KEY), augment(PIXELS, KEY._replace(step=6)))


def test_augment_leaves_its_input_and_owns_its_output():
    before = PIXELS.copy()
    for augment in (Augment(), Augment(shift=1), Augment(flip=True), Augment(1, True, 1)):
        out = augment(PIXELS, KEY)
        assert out.shape == PIXELS.shape
        assert out.dtype == PIXELS.dtype
        out[...] = 0
        assert np.array_equal(PIXELS, before)


def test_augment_takes_strided_and_floating_images():
    assert np.array_equal(Augment(2, True)(PIXELS[::2], KEY), Augment(2, True)(PIXELS[::2].copy(), KEY))
    turned = PIXELS.transpose(0, 2, 1, 3)
    assert np.array_equal(Augment(2, True)(turned, KEY), Augment(2, True)(turned.copy(), KEY))
    assert np.array_equal(Augment(2)(PIXELS.astype(np.float32), KEY), Augment(2)(PIXELS, KEY).astype(np.float32))


def test_augment_takes_an_empty_batch():
    assert Augment(2, True, 1)(PIXELS[:0], KEY).shape == (0, 5, 7, 2)


def test_an_image_may_move_out_of_sight():
    assert Augment(shift=20)(PIXELS, KEY).shape == PIXELS.shape


@pytest.mark.parametrize("name", ["shift", "crop"])
def test_a_negative_distance_is_refused(name):
    with pytest.raises(ConfigError, match=f"Augment: {name} is at least 0 pixels, got {name} -1"):
        Augment(**{name: -1})


def test_augment_refuses_what_is_no_batch_of_images():
    with pytest.raises(ShapeError, match=r"Augment: images are \(N, H, W, C\), got shape \(5, 7, 2\)"):
        Augment(shift=1)(PIXELS[0], KEY)


# Augment: turn, scale, squeeze, shear


def bent(
    image: np.ndarray, forward: np.ndarray, down: float = 0, right: float = 0, wander: np.ndarray | None = None
) -> np.ndarray:
    """The image (H, W, C) bent about its centre and then moved, by the text book: pixel by pixel, in float64.

    Args:
        forward: (2, 2), where (x, y) from the centre goes, y downwards.
        wander: (2, H, W), what each pixel's source is off by, along x and y.
    """
    height, width, c = image.shape
    out, back = np.empty(image.shape), np.linalg.inv(forward)
    for i in range(height):
        for j in range(width):
            place = np.array([j - right - (width - 1) / 2, i - down - (height - 1) / 2])
            x, y = back @ place + [(width - 1) / 2, (height - 1) / 2]
            if wander is not None:
                x, y = x + wander[0, i, j], y + wander[1, i, j]
            total = np.zeros(c)
            for row in (math.floor(y), math.floor(y) + 1):
                for column in (math.floor(x), math.floor(x) + 1):
                    inside = 0 <= row < height and 0 <= column < width
                    weight = (1 - abs(x - column)) * (1 - abs(y - row))
                    total += weight * (image[row, column] if inside else 0)
            out[i, j] = total
    return out


# N=2, H=5, W=7, C=3; the options are large, so that each shows.
BENDS = {"rotate": 40.0, "scale": 0.5, "squeeze": 0.6, "shear": 0.7}


def forward_maps(key: Key, n: int, rotate: float, scale: float, squeeze: float, shear: float) -> list[np.ndarray]:
    """The maps that Affine's docstring promises, from the words of the key: turn @ shear @ stretch."""
    maps = []
    for word in random_bits(key, 4 * n).reshape(n, 4).tolist():
        t, u, v, w = (2 * (w >> 11) / 2**53 - 1 for w in word)
        a, k = math.radians(rotate * t), shear * w
        turn = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
        size, ratio = (1 + scale) ** u, (1 + squeeze) ** v
        maps.append(turn @ np.array([[1, k], [0, 1]]) @ np.diag([size * ratio, size / ratio]))
    return maps


@pytest.mark.parametrize("chosen", [*((name,) for name in BENDS), tuple(BENDS)], ids=[*BENDS, "all"])
def test_images_are_bent_as_promised_each_by_its_own_draw(chosen):
    options = {name: BENDS[name] * (name in chosen) for name in BENDS}
    images = RNG.normal(0, 1, (6, 5, 7, 3))
    out = Augment(**options)(images, KEY)
    maps = forward_maps(KEY._replace(purpose="augment/affine"), 6, **options)
    assert len({str(m.round(3)) for m in maps}) == 6
    for image, forward, got in zip(images, maps, out, strict=True):
        assert np.abs(bent(image, forward) - got).max() < 2e-5  # places are computed in float32


def test_bytes_are_rounded_to_the_nearest():
    out = Augment(**BENDS)(PIXELS[:20], KEY)
    exact = Augment(**BENDS)(PIXELS[:20].astype(np.float64), KEY)
    assert out.dtype == np.uint8
    assert np.abs(out - exact).max() <= 0.501
    assert np.abs((out - exact).mean()) < 0.05


def test_bent_images_are_moved_as_unbent_ones_are():
    images = RNG.normal(0, 1, (12, 5, 7, 2))
    placed = moves(images, Augment(shift=2, crop=1)(images, KEY), 3)
    out = Augment(shift=2, crop=1, **BENDS)(images, KEY)
    maps = forward_maps(KEY._replace(purpose="augment/affine"), 12, **BENDS)
    for image, forward, (down, right, _), got in zip(images, maps, placed, out, strict=True):
        assert np.abs(bent(image, forward, down, right) - got).max() < 2e-5


def test_elastic_images_are_bent_by_the_field_drawn_for_them():
    images = RNG.normal(0, 1, (6, 5, 7, 3))
    out = Augment(rotate=40, elastic=1.5)(images, KEY)
    maps = forward_maps(KEY._replace(purpose="augment/affine"), 6, 40, 0, 0, 0)
    fields = elastic(KEY._replace(purpose="augment/elastic"), 6, 5, 7, 1.5)
    for image, forward, field, got in zip(images, maps, fields, out, strict=True):
        assert np.abs(bent(image, forward, wander=field) - got).max() < 2e-5


def test_elastic_fields_have_the_promised_spread_and_smoothness():
    x = elastic(KEY, 6000, 28, 30, 1.5)
    assert (x.shape, x.dtype) == ((6000, 2, 28, 30), np.dtype("float32"))
    assert np.abs(x.mean(axis=0)).max() < 0.1  # five standard errors
    assert np.abs(x.std(axis=0) - 1.5).max() < 0.1
    assert abs(np.corrcoef(x[:, 0, 9, 9], x[:, 1, 9, 9])[0, 1]) < 0.1  # x and y are drawn apart
    for d in (1, 4, 8, 16):  # r = 28 / 7 = 4
        for near, far in ((0, d), (27, 27 - d)):  # from either edge
            for one, other in ((x[:, :, near], x[:, :, far]), (x[..., near], x[..., far])):
                assert (one * other).mean() / 1.5**2 == pytest.approx(math.exp(-((d / 8) ** 2)), abs=0.025)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2)])
def test_the_smallest_images_wander_too(shape):
    images = RNG.integers(0, 256, (5, *shape, 1), dtype=np.uint8)
    assert Augment(elastic=0.5)(images, KEY).shape == images.shape


def test_elastic_alone_bends():
    assert not np.array_equal(Augment(elastic=0.5)(PIXELS, KEY), PIXELS)


def test_nothing_to_bend_by_moves_images_exactly():
    assert np.array_equal(Augment(2, True, 1, scale=1e-12)(PIXELS, KEY), Augment(2, True, 1)(PIXELS, KEY))


def test_the_edge_of_a_bent_image_is_filled_with_the_background():
    out = Augment(shift=3, fill=200, **BENDS, elastic=3.0)(np.full((50, 5, 7, 1), 200, np.uint8), KEY)
    assert set(np.unique(out)) == {200}
    assert (Augment(shift=50, fill=9, **BENDS)(PIXELS, KEY) == 9).all(axis=(1, 2, 3)).any()


def test_growing_and_shrinking_are_as_likely():
    maps = np.linalg.inv(Affine(scale=0.5).inverses(KEY, 4000))
    size = np.log(maps[:, 0, 0]) / math.log(1.5)  # even over -1..1
    assert np.histogram(size, bins=4, range=(-1, 1))[0].min() > 900
    assert np.abs(size).max() <= 1


def test_a_bent_batch_depends_on_the_key_and_the_place_in_the_batch_alone():
    augment = Augment(shift=1, flip=True, **BENDS, elastic=1.0)
    before = PIXELS.copy()
    out = augment(PIXELS, KEY)
    assert np.array_equal(out, augment(PIXELS, KEY))
    assert np.array_equal(out[:7], augment(PIXELS[:7], KEY))
    assert np.array_equal(augment(PIXELS[::2], KEY), augment(PIXELS[::2].copy(), KEY))
    assert not np.array_equal(out, augment(PIXELS, KEY._replace(step=6)))
    assert not np.array_equal(out, augment(PIXELS, KEY._replace(seed=4)))
    assert augment(PIXELS[:0], KEY).shape == (0, 5, 7, 2)
    assert np.array_equal(PIXELS, before)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_bent_images_keep_their_type(dtype):
    out = Augment(rotate=10)(PIXELS[:3].astype(dtype), KEY)
    assert (out.dtype, out.shape) == (np.dtype(dtype), (3, 5, 7, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rotate": -1.0}, "rotate is between 0 and 180 degrees, got rotate -1.0"),
        ({"rotate": 181.0}, "rotate is between 0 and 180 degrees, got rotate 181.0"),
        ({"scale": -0.1}, "scale is at least 0 and finite, got scale -0.1"),
        ({"squeeze": math.inf}, "squeeze is at least 0 and finite, got squeeze inf"),
        ({"shear": math.nan}, "shear is at least 0 and finite, got shear nan"),
        ({"elastic": -1}, "elastic is at least 0 and finite, got elastic -1"),
    ],
    ids=["rotate-low", "rotate-high", "scale", "squeeze", "shear", "elastic"],
)
def test_a_limit_out_of_range_is_refused(options, message):
    with pytest.raises(ConfigError, match=re.escape(f"Augment: {message}")):
        Augment(**options)

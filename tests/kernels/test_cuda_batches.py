"""Batches made on a device are, bit for bit, those that NumPy makes of the same rows by the same draws."""

from __future__ import annotations

from typing import Any

import emulator
import numpy as np
import pytest

from xpnet.backend import get_backend
from xpnet.data import Augment, Feed, Normalize, from_arrays
from xpnet.errors import ConfigError
from xpnet.kernels.cuda import driver
from xpnet.random import Key, permutation

SHAPES = {  # images of odd sizes, of sizes that 4 divides, of more numbers than a block makes, of one channel
    "odd": (23, 5, 7, 3),
    "even": (23, 6, 4, 2),
    "large": (11, 41, 37, 3),
    "large, even": (11, 40, 44, 3),
    "digits": (37, 28, 28, 1),
    "pixel": (9, 1, 1, 1),
}
WAYS = {
    "as stored": None,
    "flip": Augment(flip=True),
    "shift": Augment(shift=2),
    "crop": Augment(crop=3, fill=7),
    "all": Augment(shift=1, crop=2, flip=True, fill=200),
    "far": Augment(shift=60, fill=3),
}
EMULATED = pytest.mark.skipif(not emulator.available(), reason="the emulator compiles kernels with g++")
KINDS = pytest.mark.parametrize("kind", ["uint8", "float32"])
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])


def a_set(name: str, kind: str = "uint8") -> Any:
    shape = SHAPES[name]
    x = np.random.default_rng([1, *shape]).integers(0, 256, shape, dtype=np.uint8)
    x = x if kind == "uint8" else (x * np.float32(1.37) - 100).astype(np.float32)
    return from_arrays(x, np.random.default_rng(2).integers(0, 4, len(x)), list("abcd"))


def normalize_for(channels: int) -> Normalize:
    """Other factors for each channel, none of them short in binary."""
    mean, std = zip(*((0.1 + 0.17 * c, 0.9 / (1 + 0.3 * c)) for c in range(channels)), strict=True)
    return Normalize(mean, std, 250.0)


def by_numpy(data, normalize, dtype, augment, seed, epoch, step, batch):
    """A batch: rows of the shuffled set, varied on the host, in dtype times scale plus offset, rounded each time."""
    rows = permutation(Key(seed, "shuffle", epoch), len(data))[step * batch :][:batch]
    x = data.x[rows]
    if augment is not None:
        x = augment(x, Key(seed, "augment", epoch, step))
    x = x.astype(dtype)
    if normalize is not None:
        scale = np.array([1 / (normalize.white * s) for s in normalize.std], dtype)
        offset = np.array([-m / s for m, s in zip(normalize.mean, normalize.std, strict=True)], dtype)
        x = (x * scale).astype(dtype) + offset
    return x, data.y[rows]


def number(device, value):
    return device.from_numpy(np.array(value, np.int64))


def same(device, found, want):
    for got, wanted in zip(found, want, strict=True):
        got = device.to_numpy(got)
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("augment", WAYS.values(), ids=WAYS.keys())
@KINDS
def test_images_are_gathered_moved_and_mirrored_as_on_the_host(device, name, augment, kind):
    data = a_set(name, kind)
    normalize = normalize_for(data.shape[-1])
    feed = Feed(data, 8, device, normalize=normalize, shuffle=True, seed=4, augment=augment)
    assert feed.resident
    feed.begin(6)
    for step in range(len(feed)):
        want = by_numpy(data, normalize, "float32", augment, 4, 6, step, 8)
        same(device, feed.batch_at(number(device, step), number(device, 6), len(want[1])), want)


@pytest.mark.parametrize("normalize", [None, Normalize((0.3,), (0.7,)), normalize_for(3)], ids=["no", "one", "each"])
@pytest.mark.parametrize("augment", [None, WAYS["all"]], ids=["as stored", "varied"])
@KINDS
@DTYPES
def test_every_dtype_is_rounded_as_arrays_of_it_are(device, normalize, augment, kind, dtype):
    data = a_set("odd", kind)
    feed = Feed(data, 8, device, normalize=normalize, dtype=dtype, shuffle=True, seed=1, augment=augment)
    for step, found in enumerate(feed.epoch(2)):
        same(device, found, by_numpy(data, normalize, dtype, augment, 1, 2, step, 8))


def test_vectors_are_gathered(device):
    x = np.random.default_rng(1).normal(size=(23, 10)).astype(np.float32)
    data = from_arrays(x, np.arange(23) % 2)
    for normalize in (None, Normalize((0.3,), (0.7,), 1.0), normalize_for(10)):
        feed = Feed(data, 8, device, normalize=normalize, shuffle=True, seed=1)
        for step, found in enumerate(feed.epoch(2)):
            same(device, found, by_numpy(data, normalize, "float32", None, 1, 2, step, 8))


def test_no_row_outside_the_set_is_read_whatever_the_step_says(device):
    data = a_set("odd")
    for shuffle in (False, True):
        feed = Feed(data, 8, device, shuffle=shuffle, seed=3)
        feed.begin(0)
        order = permutation(Key(3, "shuffle", 0), 23) if shuffle else np.arange(23)
        for step, row in ((2, None), (1 << 40, order[-1]), (-5, order[0])):
            x, y = (device.to_numpy(a) for a in feed.batch_at(number(device, step), number(device, 0)))
            rows = [*order[16:], order[-1]] if row is None else [row] * 8
            np.testing.assert_array_equal(x, data.x[rows])
            np.testing.assert_array_equal(y, data.y[rows])


def test_a_set_of_2_to_31_numbers_or_more_is_counted_in_64_bits(device, monkeypatch):
    monkeypatch.setattr(driver, "_WIDE", 1)
    data = a_set("large")
    feed = Feed(data, 8, device, shuffle=True, seed=4, augment=WAYS["all"])
    for step, found in enumerate(feed.epoch(1)):
        same(device, found, by_numpy(data, None, "float32", WAYS["all"], 4, 1, step, 8))


@pytest.mark.parametrize("augment", [None, WAYS["all"]], ids=["as stored", "varied"])
def test_a_recorded_batch_is_the_next_one_at_each_replay_in_every_epoch(device, augment):
    data, normalize = a_set("odd"), normalize_for(3)
    feed = Feed(data, 8, device, normalize=normalize, shuffle=True, seed=4, augment=augment)
    step, epoch, recorder = number(device, 0), number(device, 0), device.recorder()
    feed.begin(0)
    with recorder.warm():
        feed.batch_at(step, epoch)
    before = emulator.TAPE.reads
    batch, replay = recorder.record(lambda: feed.batch_at(step, epoch))
    for now in (0, 3):
        feed.begin(now)
        epoch[...] = now
        for at in range(2):
            step[...] = at
            replay()
            found = [device.xp.asarray(a, copy=True) for a in batch]
            assert emulator.TAPE.reads <= before + 1, "the host waits for the device"  # begin moves an order there
            same(device, found, by_numpy(data, normalize, "float32", augment, 4, now, at, 8))
            before = emulator.TAPE.reads


def test_a_batch_is_one_launch(device):
    if device.name != "emulator":
        pytest.skip("launches are counted on the emulator")
    feed = Feed(a_set("odd"), 8, device, normalize=normalize_for(3), shuffle=True, augment=WAYS["all"])
    feed.begin(0)
    step, epoch = number(device, 1), number(device, 0)
    del emulator.TAPE.launches[:]
    feed.batch_at(step, epoch)
    assert emulator.TAPE.launches == ["batches.take_bytes"]


@EMULATED
@pytest.mark.parametrize("descending", [False, True])
def test_no_image_reaches_into_the_next(descending):
    data = a_set("odd")
    with driver.use_driver(emulator.EmulatedDriver(descending)):
        feed = Feed(data, 8, get_backend("emulator"), shuffle=True, seed=4)
        for epoch in range(4):  # some images that are not of four numbers each begin at 16 bytes
            for step, found in enumerate(feed.epoch(epoch)):
                same(feed.backend, found, by_numpy(data, None, "float32", None, 4, epoch, step, 8))


class Darker(Augment):
    def __call__(self, images, key):
        return images // 2


@pytest.mark.parametrize("augment", [Augment(rotate=5), Augment(elastic=1), Augment(scale=0.1), Darker()], ids=repr)
def test_images_that_are_distorted_or_changed_otherwise_are_augmented_on_the_host(device, augment):
    data = a_set("odd")
    feed = Feed(data, 8, device, augment=augment, shuffle=True, seed=4)
    assert not feed.resident
    for step, found in enumerate(feed.epoch(1)):
        same(device, found, by_numpy(data, None, "float32", augment, 4, 1, step, 8))
    with pytest.raises(ConfigError, match="resident=False, since augment runs on the host, got resident True"):
        Feed(data, 8, device, augment=augment, resident=True)

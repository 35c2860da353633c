from __future__ import annotations

import threading

import numpy as np
import pytest

from tests.harness import raises
from xpnet import nn
from xpnet.backend import get_backend
from xpnet.data import Dataset, Feed, Lazy, Normalize, Scale
from xpnet.data.lazy import joined
from xpnet.errors import ConfigError
from xpnet.train import Trainer

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 4, 5, 3), dtype=np.uint8)
LABELS = np.arange(60) % 2


def lazy(pixels: np.ndarray = PIXELS) -> Lazy:
    return Lazy(pixels.shape, lambda rows, out: np.take(pixels, rows, axis=0, out=out))


@pytest.mark.parametrize(
    "which", [3, -1, slice(10, 20), slice(None, None, -7), [5, 1], np.array([2, 2]), np.arange(60) % 3 == 0]
)
def test_indices_read_what_they_read_of_an_array(which):
    assert np.array_equal(lazy()[which], PIXELS[which])


def test_a_part_reads_nothing_until_it_is_asked_and_parts_of_parts_are_counted_in_the_whole():
    read = []
    x = Lazy(PIXELS.shape, lambda rows, out: read.append(rows.tolist()))
    part = x.take([9, 4, 30]).take([2, 0])
    assert not read
    part.read(slice(0, 2), np.empty((2, 4, 5, 3), np.uint8))
    assert read == [[30, 9]]


def test_a_sample_is_drawn_alike_each_time_and_is_all_of_a_small_set():
    assert np.array_equal(lazy().sample(7), lazy().sample(7))
    assert len(np.unique(lazy().sample(7), axis=0)) == 7
    assert np.array_equal(lazy().sample(100), PIXELS)


def test_scale_and_normalization_are_those_of_the_sample():
    data = Dataset(lazy(), LABELS, ("a", "b"), "set")
    resident = Dataset(PIXELS, LABELS, ("a", "b"), "set")
    assert Normalize.of(data) == Normalize.of(resident)
    assert Scale.of(data.x, 255.0) == Scale.of(PIXELS, 255.0)


def test_batches_are_those_of_an_array_and_are_read_by_a_thread(backend):
    def fed(x):
        data = Dataset(x, LABELS, ("a", "b"), "set")
        feed = Feed(data, 7, backend, shuffle=True, seed=3)
        return [(backend.to_numpy(x).copy(), backend.to_numpy(y).copy()) for x, y in feed.epoch(2, 3)]

    threads = set()

    def read(rows, out):
        threads.add(threading.current_thread())
        np.take(PIXELS, rows, axis=0, out=out)

    for (x, y), (x2, y2) in zip(fed(Lazy(PIXELS.shape, read)), fed(PIXELS), strict=True):
        assert np.array_equal(x, x2)
        assert np.array_equal(y, y2)
    assert threading.main_thread() not in threads


def test_a_set_that_is_not_in_memory_cannot_be_kept_on_the_device():
    data = Dataset(lazy(), LABELS, ("a", "b"), "set")
    with raises(ConfigError, "Feed", "resident=False", "not in memory"):
        Feed(data, 7, get_backend("cpu"), resident=True)


def test_training_and_evaluation_equal_those_of_an_array():
    def trained(x):
        model = nn.Sequential(nn.Flatten(), nn.Linear(60, 2)).initialize(0)
        trainer = Trainer(model, seed=1)
        data = Dataset(x, LABELS, ("a", "b"), "set")
        trainer.fit(data, data, epochs=2, batch_size=16)
        return trainer.history[-1]["train_loss"], trainer.evaluate(data)["loss"], trainer.predict(data.x)

    for found, expected in zip(trained(lazy()), trained(PIXELS), strict=True):
        assert np.allclose(found, expected, rtol=1e-6)


def test_an_error_of_reading_is_raised_where_the_batch_is_wanted():
    def read(rows, out):
        raise OSError("gone")

    data = Dataset(Lazy(PIXELS.shape, read), LABELS, ("a", "b"), "set")
    with pytest.raises(OSError, match="gone"):
        list(Feed(data, 7, get_backend("cpu")).epoch())


def test_parts_of_one_set_are_joined_without_reading():
    x = lazy()
    both = joined(x.take([1, 2]), x.take([0]))
    assert isinstance(both, Lazy)
    assert np.array_equal(both[:], PIXELS[[1, 2, 0]])
    assert np.array_equal(joined(PIXELS[:1], lazy().take([4])), PIXELS[[0, 4]])


def test_a_training_that_is_resumed_ends_as_without_a_break():
    def trainer():
        return Trainer(nn.Sequential(nn.Flatten(), nn.Linear(60, 2)).initialize(0), seed=1)

    data = Dataset(lazy(), LABELS, ("a", "b"), "set")
    whole, first, second = trainer(), trainer(), trainer()
    whole.fit(data, epochs=3, batch_size=16)
    first.fit(data, epochs=1, batch_size=16)
    second.resume(first.checkpoint())
    second.fit(data, epochs=3, batch_size=16)
    for one, other in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert np.array_equal(one.numpy(), other.numpy())

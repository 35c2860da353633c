from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

from tests.harness import raises
from xpnet import kernels
from xpnet.backend import Backend, Memory, get_backend
from xpnet.data import Augment, Dataset, Feed, Normalize, from_arrays
from xpnet.errors import ConfigError, ShapeError, XpnetError
from xpnet.random import Key, permutation

X = np.random.default_rng(1).integers(0, 256, (23, 5, 7, 3), dtype=np.uint8)
Y = np.random.default_rng(2).integers(0, 4, 23)
SET = from_arrays(X, Y, ["a", "b", "c", "d"])
NUMPY = get_backend("numpy")


def collect(feed: Feed, epoch: int = 0, start: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    to_numpy = feed.backend.to_numpy
    return [(to_numpy(x), to_numpy(y)) for x, y in feed.epoch(epoch, start)]


def feed_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "xpnet-feed"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not feed_threads()


def augments_on_device(backend: Backend) -> bool:
    """Whether images are shifted and mirrored on the backend's device."""
    return kernels.find("take_batch", backend.from_numpy(X)) is not None


MEAN3 = Normalize((0.2, 0.4, 0.6), (0.1, 0.2, 0.4))
FEEDS = {
    "plain": {},
    "shuffled": {"shuffle": True},
    "normalized": {"shuffle": True, "normalize": Normalize((0.3,), (0.2,))},
    "by channel": {"shuffle": True, "normalize": MEAN3},
    "augmented": {"shuffle": True, "normalize": MEAN3, "augment": Augment(shift=2, crop=1, flip=True, fill=9)},
}


@pytest.mark.parametrize("options", FEEDS.values(), ids=FEEDS.keys())
@pytest.mark.parametrize("resident", [None, False], ids=["resident", "prefetched"])
def test_every_backend_serves_the_same_batches_in_the_same_order(backend, options, resident):
    feed = Feed(SET, 4, backend, seed=7, resident=resident, **options)
    assert feed.resident == (resident is None and ("augment" not in options or augments_on_device(backend)))
    order = permutation(Key(7, "shuffle", 3), 23) if "shuffle" in options else np.arange(23)
    normalize, augment = options.get("normalize", Normalize((0.0,), (1.0,), 1.0)), options.get("augment")
    batches = list(feed.epoch(3))
    assert [y.shape[0] for _, y in batches] == [4, 4, 4, 4, 4, 3]
    assert len(feed) == 6
    for step, (x, y) in enumerate(batches):
        rows = order[4 * step : 4 * step + 4]
        images = X[rows] if augment is None else augment(X[rows], Key(7, "augment", 3, step))
        want = (images.astype(float) / normalize.white - normalize.mean) / normalize.std
        assert (x.dtype, y.dtype) == (backend.xp.float32, backend.xp.int64)
        assert x.device == y.device == backend.from_numpy(X).device
        assert np.abs(backend.to_numpy(x) - want).max() <= 1e-5 * np.abs(want).max()
        assert backend.to_numpy(y).tolist() == Y[rows].tolist()


def test_vectors_are_served_on_every_backend(backend):
    vectors = from_arrays(X.reshape(23, -1) / 255, Y)
    normalize = Normalize((0.5,), (0.25,), white=1.0)
    x = np.concatenate([x for x, _ in collect(Feed(vectors, 5, backend, normalize=normalize))])
    assert np.allclose(x, (X.reshape(23, -1) / 255 - 0.5) / 0.25, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{}, {"shuffle": True}, {"shuffle": True, "resident": False}, {"shuffle": True, "augment": Augment(2, True)}],
)
@pytest.mark.parametrize("start", [0, 2, 5, 6])
def test_an_epoch_started_late_is_the_tail_of_the_whole(options, start):
    feed = Feed(SET, 4, NUMPY, seed=3, **options)
    whole, tail = collect(feed, 1), collect(feed, 1, start)
    assert len(tail) == 6 - start
    same(NUMPY, tail, whole[start:])


def number(backend, value):
    return backend.from_numpy(np.array(value, np.int64))


@pytest.mark.parametrize("options", FEEDS.values(), ids=FEEDS.keys())
def test_a_batch_made_from_numbers_on_the_device_equals_that_of_the_epoch_bit_for_bit(backend, options):
    if "augment" in options and not augments_on_device(backend):
        pytest.skip("images are augmented on the host, so the set is not resident")
    feed = Feed(SET, 4, backend, seed=5, **options)
    twin = Feed(SET, 4, backend, seed=5, resident=False, **options)  # made on the host
    assert feed.resident
    for epoch in (2, 3):
        feed.begin(epoch)
        batches, others = collect(feed, epoch), collect(twin, epoch)
        for step, (x, y) in enumerate(batches):
            size = None if step < 5 else 3
            found = feed.batch_at(number(backend, step), number(backend, epoch), size)
            assert found[0].device == found[1].device == number(backend, 0).device
            for got, want, other in zip(found, (x, y), others[step], strict=True):
                assert got.dtype == getattr(backend.xp, want.dtype.name)
                assert np.array_equal(backend.to_numpy(got), want)
                assert np.array_equal(other, want)


@pytest.mark.parametrize("options", FEEDS.values(), ids=FEEDS.keys())
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_finished_raw_batches_equal_those_of_the_epoch_bit_for_bit(backend, options, kind):
    data = from_arrays(X.astype(kind), Y)
    feed = Feed(data, 4, backend, seed=5, resident=False, **options)
    batches = collect(feed, 1, 2)
    for (x, y), (x0, y0) in zip(feed.raw(1, 2), batches, strict=True):
        before = backend.to_numpy(x)
        assert before.dtype == kind
        assert np.array_equal(backend.to_numpy(feed.finish(x)), x0)
        assert np.array_equal(backend.to_numpy(x), before), "finish wrote its input"
        assert np.array_equal(backend.to_numpy(y), y0)


def same(backend: Backend, found, want) -> None:
    for (x, y), (x0, y0) in zip(found, want, strict=True):
        assert np.array_equal(backend.to_numpy(x), x0)
        assert np.array_equal(backend.to_numpy(y), y0)


def test_kept_batches_and_concurrent_epochs_do_not_disturb_each_other(backend):
    feed = Feed(from_arrays(X.astype(np.float32), Y), 4, backend, shuffle=True, resident=False)
    first, second = collect(feed, 1), collect(feed, 2)
    kept = list(zip(feed.epoch(1), feed.epoch(2), strict=True))
    same(backend, [batch for batch, _ in kept], first)
    same(backend, [batch for _, batch in kept], second)
    for found, want in zip(
        zip(feed.epoch(1), feed.epoch(2), strict=True), zip(first, second, strict=True), strict=True
    ):
        same(backend, found, want)


def test_each_epoch_and_each_seed_has_its_own_order():
    orders = [
        np.concatenate([y for _, y in collect(Feed(SET, 4, NUMPY, shuffle=True, seed=seed), epoch)])
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert not any(np.array_equal(a, b) for a, b in ((orders[0], orders[1]), (orders[0], orders[2])))
    assert all(np.array_equal(np.sort(order), np.sort(Y)) for order in orders)


def test_a_batch_larger_than_the_set_is_the_whole_set():
    assert [len(y) for _, y in collect(Feed(SET, 1000, NUMPY, shuffle=True))] == [23]


@pytest.mark.parametrize("options", [{}, {"shuffle": True}, {"resident": False}, {"augment": Augment()}])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_a_normalized_batch_may_be_written_without_touching_the_set(options, kind):
    data = from_arrays(X.astype(kind), Y)
    for x, _ in Feed(data, 4, NUMPY, normalize=Normalize((0.5,), (0.5,)), **options).epoch():
        x[...] = -1
    assert np.array_equal(data.x, X)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_x_has_the_requested_dtype(dtype):
    x, _ = next(Feed(SET, 4, NUMPY, dtype=dtype, normalize=Normalize((0.5,), (0.5,))).epoch())
    assert x.dtype == np.dtype(dtype)


def test_numpy_serves_views_of_the_set():
    feed = Feed(from_arrays(X.astype(np.float32), Y), 4, NUMPY)
    assert feed.resident
    assert np.shares_memory(next(feed.epoch())[0], feed.dataset.x)


class Small(Backend):
    """A device with a memory of a given size."""

    def memory(self) -> Memory:
        return Memory(1000, 1000, SIZES["total"])


SIZES = {"total": 0}


@pytest.mark.parametrize(("total", "fits"), [(0, True), (1000 + 4 * 2599, True), (1000 + 4 * 2599 - 1, False)])
def test_a_set_is_resident_if_it_takes_at_most_a_quarter_of_the_free_memory(monkeypatch, total, fits):
    import array_api_strict

    monkeypatch.setitem(SIZES, "total", total)
    backend = Small("small", array_api_strict, array_api_strict.Device("CPU_DEVICE"))
    assert X.nbytes + Y.nbytes == 2599
    assert Feed(SET, 4, backend).resident is fits


def test_a_resident_set_is_moved_once(monkeypatch):
    import array_api_strict

    moved = []

    class Counting(Backend):
        def from_numpy(self, array):
            moved.append(array.shape)
            return super().from_numpy(array)

    feed = Feed(SET, 4, Counting("counting", array_api_strict, array_api_strict.Device("CPU_DEVICE")), shuffle=True)
    list(feed.epoch(0)), list(feed.epoch(1))
    assert moved == [(23, 5, 7, 3), (23,), (23,), (23,)]  # the set, then an order an epoch


# The thread


def test_an_epoch_that_is_closed_left_or_completed_leaves_no_thread():
    for taken in range(5):
        batches = Feed(SET, 2, NUMPY, resident=False).epoch()
        for _ in range(taken):
            next(batches)
        assert len(feed_threads()) == (1 if taken else 0)
        batches.close()
        assert not feed_threads()
    for _ in Feed(SET, 2, NUMPY, augment=Augment(shift=1)).epoch():
        break
    assert not feed_threads()
    batches = Feed(SET, 2, NUMPY, resident=False).epoch()
    list(batches)
    assert not feed_threads()


class Failing(Augment):
    def __call__(self, images, key):
        if key.step == 2:
            raise RuntimeError("the third batch is broken")
        return super().__call__(images, key)


def test_an_error_in_the_thread_is_raised_in_place_of_its_batch():
    batches = Feed(SET, 2, NUMPY, augment=Failing()).epoch()
    next(batches), next(batches)
    with pytest.raises(RuntimeError, match="the third batch is broken"):
        next(batches)
    assert not feed_threads()


def test_the_thread_works_a_limited_number_of_batches_ahead():
    asked: list[int] = []
    third = threading.Event()

    class Watching(Augment):
        def __call__(self, images, key):
            asked.append(key.step)
            if key.step == 3:
                third.set()
            return images.copy()

    batches = Feed(SET, 2, NUMPY, augment=Watching()).epoch()
    next(batches)
    assert third.wait(10)  # one taken, two ready, the fourth being made
    assert asked == [0, 1, 2, 3]
    batches.close()


def test_a_thread_left_at_exit_does_not_keep_python_alive():
    code = (
        "import numpy as np\n"
        "from xpnet.backend import get_backend\n"
        "from xpnet.data import Feed, from_arrays\n"
        "data = from_arrays(np.zeros((100, 5, 7, 3), np.uint8), np.arange(100) % 2)\n"
        "batches = Feed(data, 2, get_backend('numpy'), resident=False).epoch()\n"
        "next(batches)\n"
        "print('end')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


# Arguments

VECTORS = from_arrays(X.reshape(23, -1) / 255, Y)
BAD: dict[str, tuple[Dataset, int, dict, type[XpnetError], str]] = {
    "empty batch": (SET, 0, {}, ConfigError, "batch_size 0"),
    "negative batch": (SET, -3, {}, ConfigError, "batch_size -3"),
    "integer dtype": (SET, 4, {"dtype": "int32"}, ConfigError, "dtype 'int32'"),
    "no dtype": (SET, 4, {"dtype": "float_power"}, ConfigError, "dtype 'float_power'"),
    "other channels": (
        SET, 4, {"normalize": Normalize((0.1, 0.2), (1.0, 1.0))}, ShapeError, "normalize 2, sample (5, 7, 3)",
    ),
    "augmented vectors": (VECTORS, 4, {"augment": Augment(1)}, ShapeError, "sample (105,)"),
    "resident and augmented": (SET, 4, {"augment": Augment(1), "resident": True}, ConfigError, "resident True"),
}  # fmt: skip


@pytest.mark.parametrize(("dataset", "size", "options", "kind", "values"), BAD.values(), ids=BAD.keys())
def test_arguments_out_of_range_are_an_error(dataset, size, options, kind, values):
    with raises(kind, "Feed", values):
        Feed(dataset, size, NUMPY, **options)


@pytest.mark.parametrize(("epoch", "start"), [(-1, 0), (0, -1), (0, 7)])
def test_an_epoch_out_of_range_is_an_error_at_once(epoch, start):
    with raises(ConfigError, "Feed.epoch", "epoch -1" if epoch else f"0 to 6, got start {start}"):
        Feed(SET, 4, NUMPY).epoch(epoch, start)


def test_a_method_called_on_the_wrong_feed_or_with_a_wrong_number_is_an_error():
    resident, other = Feed(SET, 4, NUMPY, shuffle=True), Feed(SET, 4, NUMPY, resident=False)
    step = np.array(0)
    for where, call, values in (
        ("Feed.begin", lambda: other.begin(0), "resident False; use raw and finish"),
        ("Feed.batch_at", lambda: other.batch_at(step, step), "resident False; use raw and finish"),
        ("Feed.raw", lambda: resident.raw(0), "resident True; use batch_at"),
        ("Feed.begin", lambda: resident.begin(-1), "epoch -1"),
        ("Feed.batch_at", lambda: resident.batch_at(step, step), "begin"),
        ("Feed.batch_at", lambda: resident.batch_at(step, step, 5), "size 5, batch_size 4"),
        ("Feed.batch_at", lambda: resident.batch_at(step, step, 0), "size 0, batch_size 4"),
        ("Feed.raw", lambda: other.raw(0, 7), "0 to 6, got start 7"),
    ):
        with raises(ConfigError, where, values):
            call()

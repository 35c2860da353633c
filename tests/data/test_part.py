"""The rows that a process has of each batch are, bit for bit, those of the batch of one process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.harness import raises
from xpnet.backend import get_backend
from xpnet.data import Augment, Dataset, Feed, Mirror, Normalize, augment, from_arrays, several
from xpnet.data.batches import Batches
from xpnet.data.feed_several import SeveralFeed
from xpnet.data.feed_stream import StreamFeed
from xpnet.data.lazy import Lazy, gather
from xpnet.data.part import WHOLE, Part
from xpnet.errors import ConfigError
from xpnet.random import Key, normal, random_bits

V = 8
X = np.random.default_rng(1).integers(0, 256, (43, 6, 7, 3), dtype=np.uint8)  # batches of 20, 20 and 3
ROWS = np.random.default_rng(2).normal(size=(43, 5)).astype(np.float32)
Y = np.random.default_rng(3).integers(0, 4, 43)
W = np.random.default_rng(4).uniform(0, 2, 43).astype(np.float32)
NORMALIZE = Normalize((0.2, 0.4, 0.6), (0.1, 0.2, 0.4))
SET = from_arrays(X, Y, list("abcd"))
LAZY = replace(SET, x=Lazy(X.shape, lambda rows, out: gather(X, rows, out)))
BOTH = from_arrays({"photo": X, "row": ROWS}, ROWS, white=255)
MOVES = Augment(shift=2, crop=1, flip=True, fill=9)
DISTORTS = Augment(1, True, rotate=20, scale=0.1, squeeze=0.1, shear=0.1, elastic=1.5)


def noise(images: np.ndarray, key: Key) -> np.ndarray:
    """A user's own augmentation, which does not know of rows."""
    return images ^ random_bits(key, images.size).astype(np.uint8).reshape(images.shape)


def stream(data: Dataset, sizes: list[int]) -> Any:
    """Sets of these sizes, as a stream has them."""

    class Sets:
        head, first, steps = data, sizes[0], len(sizes)

        def parts(self, epoch: int, start: int, least: int | None = None) -> Iterator[Dataset]:
            for i in range(start, len(sizes)):
                yield data.take(np.arange(sum(sizes[:i]), sum(sizes[: i + 1])))

    return Sets()


def images(data: Dataset = SET, **options: Any) -> Any:
    return lambda backend, part, **more: Feed(data, 20, backend, seed=5, shuffle=True, part=part, **options, **more)


def of_several(data: Dataset, **options: Any) -> Any:
    return lambda backend, part, **more: SeveralFeed(
        data, 20, backend, seed=5, shuffle=True, part=part, **options, **more
    )


def of_stream(data: Dataset, **options: Any) -> Any:
    return lambda backend, part: StreamFeed(stream(data, [20, 1, 2, 17, 3]), backend, seed=5, part=part, **options)


FEEDS = {
    "in order": lambda backend, part, **more: Feed(SET, 20, backend, part=part, **more),
    "shuffled": images(normalize=NORMALIZE),
    "rows": images(from_arrays(ROWS, Y)),
    "targets": images(from_arrays(X, ROWS)),
    "one factor": images(normalize=Normalize((0.3,), (0.7,))),
    "moved": images(normalize=NORMALIZE, augment=MOVES),
    "moved floats": images(from_arrays(X.astype(np.float32), Y, white=255), augment=MOVES),
    "distorted": images(augment=DISTORTS),
    "as photos": images(augment=augment("strong")),
    "read later": images(LAZY, augment=Mirror() + DISTORTS),
    "several": of_several(BOTH, normalize={"photo": NORMALIZE, "row": None}, augment=MOVES),
    "weighted": of_several(SET.weighted(W)),
    "weighted, distorted": of_several(SET.weighted(W), augment=DISTORTS),
    "stream": of_stream(SET, augment=Mirror() + DISTORTS, normalize=NORMALIZE),
    "joined stream": of_stream(BOTH.weighted(W), joined=2, normalize={"photo": None, "row": None}),
}
KINDS = pytest.mark.parametrize("make", FEEDS.values(), ids=FEEDS.keys())


def flat(batch: tuple[Any, Any], to_numpy: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the arrays of a batch that have the part's rows, and those that are of the whole batch."""
    x, y = batch
    y, whole = (y[:1], y[1:]) if isinstance(y, tuple) else ((y,), ())
    return [to_numpy(a) for a in (*several.each(x), *y)], [to_numpy(a) for a in whole]


def check_parts(feeds: list[Batches], whole: list[Any], parts: list[list[Any]]) -> None:
    """Compare the batches of all processes, put together, with those of one."""
    to_numpy = feeds[0].backend.to_numpy
    assert {len(part) for part in parts} == {len(whole)}
    for batch, *own in zip(whole, *parts, strict=True):
        rows, of_all = flat(batch, to_numpy)
        n = len(rows[0])
        for feed, each in zip(feeds, own, strict=True):
            first, stop = feed.part.rows(n)
            found, shared = flat(each, to_numpy)
            for a, want in zip(found, rows, strict=True):
                assert (a.dtype, a.shape) == (want.dtype, (stop - first, *want.shape[1:]))
                assert np.array_equal(a, want[first:stop])
            for a, want in zip(shared, of_all, strict=True):
                assert (len(a), a.dtype) == (n, want.dtype)
                assert np.array_equal(a, want)
        assert sum(feed.part.rows(n)[1] - feed.part.rows(n)[0] for feed in feeds) == n


@KINDS
@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
def test_the_parts_of_an_epoch_are_the_whole_bit_for_bit(make, size):
    numpy = get_backend("numpy")
    feeds = [make(numpy, Part.of(V, rank, size)) for rank in range(size)]
    whole = list(make(numpy, WHOLE).epoch(2))
    check_parts(feeds, whole, [list(feed.epoch(2)) for feed in feeds])
    check_parts(feeds, whole[1:], [list(feed.epoch(2, 1)) for feed in feeds])


@KINDS
def test_every_way_to_make_a_part_on_a_backend_gives_the_same_bits(backend, make):
    feeds = [make(backend, Part.of(V, rank, 3)) for rank in range(3)]
    whole = list(make(backend, WHOLE).epoch(2))
    check_parts(feeds, whole, [list(feed.epoch(2)) for feed in feeds])
    if not feeds[0].counted:
        return
    if feeds[0].resident:
        made = []
        for feed in feeds:
            feed.begin(2)
            numbers = [[backend.from_numpy(np.asarray(n)) for n in (step, 2)] for step in range(feed.steps)]
            made.append([feed.batch_at(*pair, feed.size(step)) for step, pair in enumerate(numbers)])
        check_parts(feeds, whole, made)
        feeds = [make(backend, feed.part, resident=False) for feed in feeds]
    made = []
    for feed in feeds:  # arrays of a raw batch are valid until the next
        made.append([[backend.xp.asarray(a, copy=True) for a in raw] for raw in feed.raw(2)])
    check_parts(feeds, whole, [[feed.finish_batch(*raw) for raw in own] for feed, own in zip(feeds, made, strict=True)])


@KINDS
def test_sizes_and_weights_are_those_of_the_whole_batch_on_every_process(make):
    def figures(part: Part) -> list[Any]:
        feed = make(get_backend("numpy"), part)
        weights = feed.batch_weights(1, lambda labels: float((labels + 1).sum()))
        given = []
        for step, _ in enumerate(feed.epoch(1)):
            given.append((feed.size(step), weights(step) if weights is not None and feed.layout.classes else None))
        return [feed.steps, feed.examples, feed.batch_size, *given]

    whole = figures(WHOLE)
    assert sum(size for size, _ in whole[3:]) == 43
    for rank in range(3):
        assert figures(Part.of(V, rank, 3)) == whole


def test_a_stream_knows_the_size_of_the_batch_given_last_only():
    feed = StreamFeed(stream(SET, [20, 23]), get_backend("numpy"), part=Part.of(V, 0, 8))
    with raises(ConfigError, "StreamFeed.size", "the step that was given last", "step 0"):
        feed.size(0)
    batches = feed.epoch()
    next(batches)
    assert feed.size(0) == 20
    with raises(ConfigError, "StreamFeed.size", "the step that was given last", "step 1", "given 0"):
        feed.size(1)


def test_what_is_no_part_is_an_error():
    with raises(ConfigError, "Feed", "part that is a Part", "part 3"):
        Feed(SET, 20, get_backend("numpy"), part=3)  # type: ignore[arg-type]


def test_a_process_reads_only_its_own_rows():
    read: list[int] = []

    def reading(rows: np.ndarray, out: np.ndarray) -> None:
        read.extend(rows.tolist())
        np.take(X, rows, axis=0, out=out)

    data, every = replace(SET, x=Lazy(X.shape, reading)), []
    for rank in range(3):
        del read[:]
        list(Feed(data, 20, get_backend("numpy"), shuffle=True, augment=MOVES, part=Part.of(V, rank, 3)).epoch())
        assert len(read) < 20
        every += read
    assert sorted(every) == list(range(43))


@pytest.mark.parametrize("change", [noise, Mirror(0.0) + noise], ids=["alone", "composed"])
def test_a_function_that_takes_no_row_sees_each_virtual_shard_by_itself(change):
    numpy = get_backend("numpy")

    def collected(size: int) -> np.ndarray:
        feeds = [Feed(SET, 20, numpy, augment=change, part=Part.of(V, rank, size)) for rank in range(size)]
        steps = zip(*(feed.epoch(1) for feed in feeds), strict=True)
        return np.concatenate([x for step in steps for x, _ in step])

    one = collected(1)
    for size in (2, 3, 4, 8):
        assert np.array_equal(collected(size), one)
    pixels = one.reshape(43, -1).astype(np.uint8) ^ X.reshape(43, -1)
    assert len(np.unique(pixels, axis=0)) == 43  # no shard has the draws of another


def test_a_part_may_have_more_rows_of_a_smaller_batch_than_of_a_full_one(backend):
    part = Part(8, 3, 4)
    assert [part.rows(n) for n in (11, 10)] == [(4, 5), (3, 5)]
    data = SET.take(np.arange(21))
    (a, _), (b, _) = Feed(data, 11, backend, resident=False, part=part).epoch()
    assert np.array_equal(backend.to_numpy(a), X[4:5])
    assert np.array_equal(backend.to_numpy(b), X[14:16])


def test_a_part_of_a_draw_is_a_slice_of_the_whole():
    whole = normal(Key(1, "part"), (200_001,))
    for start, n in ((0, 7), (2, 7), (65_530, 13), (65_536, 70_000), (200_000, 1)):
        assert np.array_equal(normal(Key(1, "part"), (n,), start=start), whole[start : start + n])

"""Staging buffers: what is computed with is what was sent, however late the copies are made.

The emulated copies are made when their event is waited for and not before, and a slot that was released is spoiled; so
each wait that is left out shows as wrong numbers.
"""

from __future__ import annotations

import contextlib
import sys
import types

import emulator
import numpy as np
import pytest
from emulator.staging import DelayedStaging, SpoiledBuffers

from xpnet.backend import StagingBuffers, get_backend
from xpnet.backend.staging import StagingDevice
from xpnet.data import Feed, from_arrays
from xpnet.data.prefetch import send_ahead

DATA = from_arrays(np.random.default_rng(1).integers(0, 256, (50, 5, 7, 3), dtype=np.uint8), np.arange(50) % 4)
PARTS = [((4, 3), np.float32), ((4,), np.int64)]


def all_arrive(buffers: StagingBuffers, steps: int = 12) -> bool:
    """Send (4, 3) arrays of step + 0, 1, 2, ..., the last one shorter; whether each is what was sent."""

    def load(step: int, arrays: list[np.ndarray]) -> int:
        rows = 4 if step < steps - 1 else 2
        arrays[0][:rows] = step + np.arange(3 * rows).reshape(rows, 3)
        arrays[1][:rows] = step
        return rows

    found = [(x.get(), y.get()) for x, y in send_ahead(buffers, load, range(steps))]
    want = [step + np.arange(12 if step < steps - 1 else 6).reshape(-1, 3) for step in range(steps)]
    return len(found) == steps and all(
        np.array_equal(x, x0) and (y == step).all() for step, ((x, y), x0) in enumerate(zip(found, want, strict=True))
    )


def test_what_is_taken_is_what_was_sent_in_order() -> None:
    buffers = SpoiledBuffers(DelayedStaging(), PARTS)
    assert all_arrive(buffers)
    assert all_arrive(buffers), "they may be used again"


class NoWaitForTheCopy(SpoiledBuffers):
    def take(self, slot):
        return [array[: self._rows[slot], ...] for array in self._arrays[slot]]


class OverwrittenTooEarly(SpoiledBuffers):
    def __init__(self, device, parts):
        super().__init__(device, parts)
        device.copies.wait_event = lambda event: None


class ReleasedTooEarly(SpoiledBuffers):
    def take(self, slot):
        arrays = super().take(slot)
        self.release(slot)
        return arrays


@pytest.mark.parametrize("wrong", [NoWaitForTheCopy, OverwrittenTooEarly, ReleasedTooEarly])
def test_buffers_that_leave_out_a_wait_give_wrong_numbers(wrong: type[SpoiledBuffers]) -> None:
    assert not all_arrive(wrong(DelayedStaging(), PARTS))


class LoadedTooEarly(SpoiledBuffers):
    def host(self, slot):
        return self._host[slot]  # while its last copy has not left it


def test_a_slot_that_is_loaded_before_its_copy_has_left_it_gives_wrong_numbers() -> None:
    for kind, want in ((SpoiledBuffers, [0.0] * 3), (LoadedTooEarly, [1.0] * 3)):
        buffers = kind(DelayedStaging(), PARTS)
        buffers.host(0)[0][:] = 0
        buffers.send(0, 4)  # a copy that nothing has waited for
        buffers.host(0)[0][:] = 1
        assert buffers.take(0)[0].get()[0].tolist() == want


def test_drained_buffers_have_no_copy_under_way_and_all_slots_free() -> None:
    staging = DelayedStaging()
    buffers = SpoiledBuffers(staging, PARTS)
    batches = send_ahead(buffers, lambda step, arrays: arrays[0].fill(step) or 4, range(9))
    next(batches)
    batches.close()
    assert staging.copies.waiting() == 0
    assert all_arrive(buffers)


# The feed through staging buffers


@pytest.fixture
def device():
    if not emulator.available():
        pytest.skip("the emulator compiles kernels with g++")
    return get_backend("emulator")


def test_the_host_waits_for_nothing_while_a_feed_is_staged(device):
    feed = Feed(DATA, 8, device, shuffle=True, resident=False)
    reads = emulator.TAPE.reads
    assert sum(y.shape[0] for _, y in feed.raw(1)) == 50
    assert emulator.TAPE.reads == reads


def test_a_batch_is_valid_until_the_next_is_asked_for(device):
    batches = Feed(DATA, 8, device, resident=False).raw(0)
    x, _ = next(batches)
    assert np.array_equal(x.get(), DATA.x[:8])
    next(batches)
    assert not np.array_equal(x.get(), DATA.x[:8])
    batches.close()


def test_a_feed_closed_early_continues_with_the_same_buffers(device):
    feed = Feed(DATA, 8, device, shuffle=True, resident=False)
    want = [x.get() for x, _ in feed.epoch(2)]
    before = list(feed._buffers)
    for taken in range(5):
        batches = feed.epoch(1)
        for _ in range(taken):
            next(batches)
        batches.close()
    assert feed._buffers == before
    assert len(before) == 1
    assert all(np.array_equal(x.get(), x0) for (x, _), x0 in zip(feed.epoch(2), want, strict=True))


def test_an_error_while_a_slot_is_loaded_is_raised_where_its_batch_was_due(device):
    feed = Feed(DATA, 8, device, resident=False)
    load = feed._load

    def failing(order, epoch, step, into=None):
        if step == 3:
            raise RuntimeError("the fourth batch is broken")
        return load(order, epoch, step, into)

    feed._load = failing
    batches = feed.epoch(0)
    for _ in range(3):
        next(batches)
    with pytest.raises(RuntimeError, match="the fourth batch is broken"):
        next(batches)
    feed._load = load
    assert len(list(feed.epoch(0))) == 7


def test_a_batch_cannot_be_taken_from_staging_while_a_step_is_captured(device):
    buffers = device.staging_buffers(PARTS)
    buffers.host(0)
    buffers.send(0, 4)
    with pytest.raises(emulator.CaptureError):
        device.recorder().record(lambda: buffers.take(0))


def test_cupys_copies_have_their_own_stream_and_a_host_that_waits_for_an_event_sleeps(monkeypatch):
    device = contextlib.nullcontext()
    cuda = types.SimpleNamespace(
        Stream=lambda **options: ("stream", options),
        Event=lambda **options: ("event", options),
        get_current_stream=lambda: "work",
    )
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(cuda=cuda, empty=lambda *given: ("device", *given)))
    monkeypatch.setitem(sys.modules, "cupyx", types.SimpleNamespace(empty_pinned=lambda *given: ("pinned", *given)))
    staging = StagingDevice(device)
    assert staging.copies == ("stream", {"non_blocking": True})  # a blocking one waits for the default stream
    assert staging.event() == ("event", {"block": True, "disable_timing": True})  # block: the thread sleeps
    assert (staging.current_stream(), staging.active()) == ("work", device)
    assert (staging.pinned((2,), "f4"), staging.empty((3,), "i8")) == (("pinned", (2,), "f4"), ("device", (3,), "i8"))

"""The ring to the device: what is computed with is what was sent, however late the copies are made.

The emulated copies are made when somebody waits for them and not before, and a slot that was given back is poison; so
each wait and each mark of the ring, left out, shows as wrong numbers. CuPy's side is tested by what it asks of CuPy.
"""

from __future__ import annotations

import sys
import types
from typing import Any

import emulator
import numpy as np
import pytest
from emulator.ring import DelayedCopier, PoisonedRing

from xpnet.backend import Ring, get_backend
from xpnet.backend.ring import CuPyCopier
from xpnet.data import Feed, from_arrays
from xpnet.data.prefetch import through

DATA = from_arrays(np.random.default_rng(1).integers(0, 256, (50, 5, 7, 3), dtype=np.uint8), np.arange(50) % 4)
PARTS = [((4, 3), np.float32), ((4,), np.int64)]


def what_comes_through(ring: Ring, steps: int = 12) -> list[np.ndarray]:
    """Send (4, 3) arrays of step + 0, 1, 2, ..., the last one shorter, and copy each when it is due."""

    def load(step: int, arrays: list[np.ndarray]) -> int:
        rows = 4 if step < steps - 1 else 2
        arrays[0][:rows] = step + np.arange(3 * rows).reshape(rows, 3)
        arrays[1][:rows] = step
        return rows

    found = []
    for x, y in through(ring, load, range(steps)):
        found.append(x.get())
        assert y.get().tolist() == [len(found) - 1] * x.shape[0]
    return found


def right(found: list[np.ndarray]) -> bool:
    want = [step + np.arange(12 if step < 11 else 6).reshape(-1, 3) for step in range(12)]
    return len(found) == 12 and all(np.array_equal(a, b) for a, b in zip(found, want, strict=True))


def test_what_is_taken_is_what_was_sent_in_order():
    ring = PoisonedRing(DelayedCopier(), PARTS)
    assert right(what_comes_through(ring))
    assert right(what_comes_through(ring)), "a ring may be used again"


class NoWaitForTheCopy(PoisonedRing):
    def take(self, slot):
        return [array[: self._rows[slot], ...] for array in self._device[slot]]


class FilledTooEarly(PoisonedRing):
    def host(self, slot):
        return self._host[slot]  # while its last copy has not left it


class OverwrittenTooEarly(PoisonedRing):
    def send(self, slot, rows):
        self._copier.copy_after, kept = lambda mark: None, self._copier.copy_after
        super().send(slot, rows)
        self._copier.copy_after = kept


class GivenBackTooEarly(PoisonedRing):
    def take(self, slot):
        arrays = super().take(slot)
        self.give_back(slot)
        return arrays


@pytest.mark.parametrize("wrong", [NoWaitForTheCopy, OverwrittenTooEarly, GivenBackTooEarly])
def test_a_ring_that_leaves_out_a_wait_gives_wrong_numbers(wrong):
    ring = wrong(DelayedCopier(), PARTS)
    try:
        found = what_comes_through(ring)
    except AssertionError:  # the labels were wrong already
        return
    assert not right(found)


def test_a_slot_that_is_filled_before_its_copy_has_left_it_gives_wrong_numbers():
    for kind, want in ((PoisonedRing, [0.0] * 3), (FilledTooEarly, [1.0] * 3)):
        ring = kind(DelayedCopier(), PARTS)
        ring.host(0)[0][:] = 0
        ring.send(0, 4)  # a copy that nobody has waited for
        ring.host(0)[0][:] = 1
        assert ring.take(0)[0].get()[0].tolist() == want


def test_a_ring_at_rest_has_no_copy_under_way_and_its_slots_are_free():
    copier = DelayedCopier()
    ring = PoisonedRing(copier, PARTS)
    batches = through(ring, lambda step, arrays: arrays[0].fill(step) or 4, range(9))
    next(batches)
    batches.close()
    assert copier.waiting() == 0
    assert right(what_comes_through(ring))


# The feed through the ring


@pytest.fixture
def device():
    if not emulator.available():
        pytest.skip("the emulator compiles kernels with g++")
    return get_backend("emulator")


def test_the_host_waits_for_nothing_while_a_feed_goes_through_the_ring(device):
    feed = Feed(DATA, 8, device, shuffle=True, resident=False)
    reads = emulator.TAPE.reads
    assert sum(y.shape[0] for _, y in feed.raw(1)) == 50
    assert emulator.TAPE.reads == reads


def test_a_batch_is_gone_when_the_next_is_asked_for(device):
    batches = Feed(DATA, 8, device, resident=False).raw(0)
    x, _ = next(batches)
    assert np.array_equal(x.get(), DATA.x[:8])
    next(batches)
    assert not np.array_equal(x.get(), DATA.x[:8])
    batches.close()


def test_a_feed_closed_early_goes_on_with_the_same_ring(device):
    feed = Feed(DATA, 8, device, shuffle=True, resident=False)
    want = [x.get() for x, _ in feed.epoch(2)]
    rings = list(feed._rings)
    for taken in range(5):
        batches = feed.epoch(1)
        for _ in range(taken):
            next(batches)
        batches.close()
    assert feed._rings == rings
    assert len(rings) == 1
    assert all(np.array_equal(x.get(), x0) for (x, _), x0 in zip(feed.epoch(2), want, strict=True))


def test_an_error_while_a_slot_is_filled_is_raised_where_its_batch_was_due(device):
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


def test_a_batch_cannot_be_taken_from_the_ring_while_a_step_is_captured(device):
    ring = device.ring(PARTS)
    ring.host(0)
    ring.send(0, 4)
    with pytest.raises(emulator.CaptureError):
        device.recorder().record(lambda: ring.take(0))


# CuPy's side


class FakeCuPy:
    """What a ring needs of CuPy, writing down what is asked of which stream, on which device."""

    def __init__(self) -> None:
        self.log: list[tuple[Any, ...]] = []
        self.devices = [0]
        fake, log = self, self.log

        class Device:
            id = 1

            def __enter__(self):
                fake.devices.append(self.id)

            def __exit__(self, *_):
                fake.devices.pop()

        class Stream:
            def __init__(self, non_blocking=False, name="copies"):
                assert non_blocking or name != "copies", "a blocking stream waits for the default one"
                self.name, self.device = name, fake.devices[-1]

            def wait_event(self, event):
                log.append((self.name, "waits for", event.number))

        class Event:
            made = 0

            def __init__(self, block=False, disable_timing=False):
                assert block, "a thread that waits spins"
                assert disable_timing
                self.number, Event.made = Event.made, Event.made + 1
                assert fake.devices[-1] == 1, "events belong to a device"

            def record(self, stream):
                log.append((stream.name, "sets", self.number))

            def synchronize(self):
                log.append(("host", "waits for", self.number))

        class OnDevice(np.ndarray):
            def set(self, host, stream):
                self[...] = host
                log.append((stream.name, "copies", host.shape))

        def empty(shape, dtype):
            assert fake.devices[-1] == 1, "memory belongs to a device"
            return np.empty(shape, dtype).view(OnDevice)

        self.device, self.work = Device(), Stream(name="work")
        cuda = types.SimpleNamespace(Stream=Stream, Event=Event, get_current_stream=lambda: self.work)
        self.cupy: Any = types.SimpleNamespace(cuda=cuda, empty=empty)
        self.cupyx: Any = types.SimpleNamespace(empty_pinned=lambda shape, dtype: np.empty(shape, dtype))


def test_cupys_copies_go_to_a_stream_of_their_own_and_only_marks_are_waited_for(monkeypatch):
    fake = FakeCuPy()
    monkeypatch.setitem(sys.modules, "cupy", fake.cupy)
    monkeypatch.setitem(sys.modules, "cupyx", fake.cupyx)
    ring = Ring(CuPyCopier(fake.device), PARTS, slots=2)  # marks 0, 1: sent; 2, 3: worked on
    assert fake.log == [("work", "sets", 2), ("work", "sets", 3)]
    del fake.log[:]
    x, y = ring.host(1)
    x[:3], y[:3] = 5, 6
    ring.send(1, 3)
    there = ring.take(1)
    ring.give_back(1)
    assert fake.log == [
        ("host", "waits for", 1),
        ("copies", "waits for", 3),
        ("copies", "copies", (3, 3)),
        ("copies", "copies", (3,)),
        ("copies", "sets", 1),
        ("work", "waits for", 1),
        ("work", "sets", 3),
    ]
    assert [a.tolist() for a in there] == [[[5.0] * 3] * 3, [6] * 3]
    del fake.log[:]
    ring.rest()
    assert fake.log == [("work", "waits for", 0), ("work", "sets", 2), ("work", "waits for", 1), ("work", "sets", 3)]
    assert fake.devices == [0], "the device that was current is so again"

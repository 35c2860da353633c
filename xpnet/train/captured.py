"""A step recorded once and replayed: the device does it again and again, and the host only says when.

On CUDA the recording is a graph: one launch a step instead of one a kernel. The numbers that change from step to step
(which batch, which draws, which rate) lie in device memory, and the step itself moves them on; see Clock.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator
from typing import Any

from xpnet import random
from xpnet.backend import Array, Backend, Recorder, is_out_of_memory
from xpnet.data import Feed
from xpnet.errors import ConfigError
from xpnet.train.clock import Clock
from xpnet.train.fingerprint import Fingerprint, settings
from xpnet.train.metrics import Slot
from xpnet.train.runner import EagerRunner

__all__ = ["CapturedRunner"]

_WARM = 3  # steps before the first recording: kernels are compiled, plans are made, memory finds its size
_log = logging.getLogger("xpnet")


class CapturedRunner:
    """Run a few steps op by op, record one, and replay it from there on.

    Every size of batch has a recording of its own, so the last, smaller batch of an epoch is replayed too, from the
    second epoch on that has one. What cannot be recorded runs op by op, and is said once, with the reason.

    Args:
        eager: runs what cannot be recorded, and knows the step and the seed.
        backend: where; it has a recorder.
        objection: says why steps should not be recorded now, such as that somebody looks at gradients; "" if nothing
            speaks against it. Asked before each epoch.
        insist: raise an error instead of running op by op.
    Raises, on training:
        ConfigError: insist, and a step cannot be recorded.
    """

    def __init__(
        self, eager: EagerRunner, backend: Backend, objection: Callable[[], str] = lambda: "", insist: bool = False
    ) -> None:
        self.eager = eager
        self.step = eager.step
        self.backend = backend
        self.objection = objection
        self.insist = insist
        self._refused = ""  # why this training's steps cannot be recorded
        self._said: set[str] = set()
        self._recordings: dict[int, _Recording] = {}  # by batch size
        self._made_for: Fingerprint | None = None
        self._clock: Clock | None = None

    def epoch(self, feed: Feed, epoch: int, start: int) -> Generator[tuple[int, Array | Slot], None, None]:
        """Train on the batches of an epoch from a step on; see Runner."""
        reason = self._refused or self.objection()
        if not reason:
            with contextlib.closing(self._replayed(feed, epoch, start)) as steps:
                for done in steps:
                    start += 1
                    yield done
            reason = self._refused
        if reason:
            self._say(reason)
            with contextlib.closing(self.eager.epoch(feed, epoch, start)) as steps:
                yield from steps

    def _replayed(self, feed: Feed, epoch: int, start: int) -> Generator[tuple[int, Array | Slot], None, None]:
        """Train as epoch does, and end early, before a step that cannot be recorded, with the reason noted."""
        clock = self._prepare(feed)
        optimizer, total, examples = self.step.optimizer, len(feed), len(feed.dataset)
        lr, updates = self._set_rates(), optimizer.steps
        clock.begin(epoch, start, self._rates(total - start), optimizer.steps + 1)
        with contextlib.ExitStack() as stack:
            batches = None
            if feed.resident:
                feed.begin(epoch)
            else:
                batches = feed.raw(epoch, start)
                stack.callback(getattr(batches, "close", lambda: None))
            for step in range(start, total):
                if self._refused:
                    return
                if optimizer.steps != updates or self._set_rates() != lr:  # changed by a callback
                    lr, updates = self._set_rates(), optimizer.steps
                    clock.schedule(step, self._rates(total - step), updates + 1)
                size = min(feed.batch_size, examples - step * feed.batch_size)
                recording = self._recording(size)
                if batches is not None:
                    recording.take(*next(batches))
                if not self._run(recording, feed):
                    return
                optimizer.steps = updates = updates + 1
                yield size, Slot(clock.losses, step)

    def _prepare(self, feed: Feed) -> Clock:
        """Return the clock, and drop every recording if what was recorded has changed since."""
        step = self.step
        step.optimizer.sync()
        now = Fingerprint(step.model, step.optimizer, step.loss, (feed, step.precision))
        if self._clock is None or now != self._made_for:
            self._recordings.clear()
            self._made_for = now
            self._clock = Clock(self.backend, len(feed), step.optimizer.flat.dtype, len(step.optimizer.groups))
        return self._clock

    def _recording(self, size: int) -> _Recording:
        """The recording for a size of batch, begun if need be."""
        if size not in self._recordings:
            recorder = self.backend.recorder()
            assert recorder is not None
            warm = 1 if self._recordings else _WARM  # where there is another, all but this size's own is warm
            self._recordings[size] = _Recording(recorder, self.backend, size, warm)
        return self._recordings[size]

    def _set_rates(self) -> list[Any]:
        """The rates and schedules that are set."""
        optimizer = self.step.optimizer
        return [optimizer.lr, *(group.lr for group in optimizer.groups)]

    def _rates(self, steps: int) -> list[list[float]]:
        """The learning rates of each of the next steps."""
        optimizer = self.step.optimizer
        return [optimizer.rates(optimizer.steps + i) for i in range(steps)]

    def _run(self, recording: _Recording, feed: Feed) -> bool:
        """Run one step, in the way that it is its turn to be run; False if it cannot be recorded, and was not run."""
        if recording.is_due and not self._record(recording, feed):
            return False
        if recording.replay is not None:
            recording.replay()
            return True
        before = settings(self.step.model, self.step.loss) if recording.warm == 1 else None
        with recording.recorder.warm() if recording.recorder else contextlib.nullcontext():
            self._work(recording, feed)
        recording.warm -= 1
        if before is not None:
            self._compare(before)
        return True

    def _record(self, recording: _Recording, feed: Feed) -> bool:
        """Record a step; False, with the reason noted, if it cannot be. No step is done either way."""
        assert recording.recorder is not None
        states = [(state, state.data) for state in self.step.model.states().values()]
        try:
            _, recording.replay = recording.recorder.record(lambda: self._work(recording, feed))
        except Exception as error:
            if is_out_of_memory(error) and len(self._recordings) > 1:
                recording.give_up()
                return True
            text = str(error).partition("\n")[0]
            self._refused = f"a step cannot be recorded ({type(error).__name__}: {text})"
            self._recordings.clear()
            return False
        finally:
            for state, array in states:
                state.data = array
        return not self._refused

    def _work(self, recording: _Recording, feed: Feed) -> None:
        """Do the device's part of a step, reading what changes from the clock."""
        clock = self._clock
        assert clock is not None
        states = [(state, state.data) for state in self.step.model.states().values()]
        with random.use(random.StepContext(self.eager.seed, clock.epoch, clock.step)):
            x, y = recording.batch(feed, clock)
            loss = self.step.compute(x, y, clock.rate, clock.t)
        for state, array in states:  # a layer that put a new array in the place of its running mean, say
            new = state.data
            if (new.shape, new.dtype) != (array.shape, array.dtype):
                self._refused = f"{state.path} changes its shape or dtype"
            elif new is not array:
                array[...] = new
                state.data = array
        clock.tick(loss)

    def _compare(self, before: dict[str, Any]) -> None:
        """Refuse to record layers and losses that count, collect or change as they compute: a replay would not."""
        after = settings(self.step.model, self.step.loss)
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        if changed:
            self._refused = f"{changed[0]} changes from step to step"
            self._recordings.clear()

    def _say(self, reason: str) -> None:
        if self.insist:
            raise ConfigError("fit", "capture=True needs a step that can be recorded", "use capture=None", why=reason)
        if reason not in self._said:
            self._said.add(reason)
            _log.warning("steps run op by op, none is recorded and replayed: %s", reason)


class _Recording:
    """The step for one size of batch: its warm steps, then what replays it.

    Args:
        recorder: of this recording alone, so that no other's work lies in its memory.
        backend, size: where, and of how many examples.
        warm: steps to run before it is recorded.
    """

    def __init__(self, recorder: Recorder, backend: Backend, size: int, warm: int) -> None:
        self.recorder: Recorder | None = recorder  # None: there is no memory to record this size in
        self.backend = backend
        self.size = size
        self.warm = warm
        self.replay: Callable[[], None] | None = None
        self._inputs: tuple[Array, Array] | None = None

    @property
    def is_due(self) -> bool:
        """Whether the next step is to be recorded."""
        return self.replay is None and self.recorder is not None and self.warm <= 0

    def take(self, x: Array, y: Array) -> None:
        """Copy a batch to where the step reads it."""
        if self._inputs is None:
            xp, device = self.backend.xp, self.backend.device
            self._inputs = tuple(xp.empty(a.shape, dtype=a.dtype, device=device) for a in (x, y))  # type: ignore
        for place, a in zip(self._inputs, (x, y), strict=True):
            place[...] = a

    def batch(self, feed: Feed, clock: Clock) -> tuple[Array, Array]:
        """Return the batch that the clock shows, or that was taken; work for the device only."""
        if self._inputs is None:
            return feed.batch_at(clock.step, clock.epoch, self.size)
        x, y = self._inputs
        return feed.finish(x), y

    def give_up(self) -> None:
        """Run op by op from now on, and free the recording's memory."""
        self.recorder = None

"""Record what a function of arrays launches, once for each signature, and replay it: steps and predictions.

    step = Captured(function, guard, where="fit")
    y = step(x)     # the first calls of a signature run eagerly, one is recorded, and on the host one is verified
    y = step(x)     # from here on: inputs are copied in, the recorded work runs, results are copied out

For small networks most of a step is Python overhead, and a replay has none of it. The work is recorded by the backend's
recorder: a list of launches on the host, a graph on CUDA. What a guard compares says when recordings are out of date.
What cannot be recorded runs eagerly, and the log says once why; where capture is required, that is an error.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

import numpy as np

from xpnet import kernels
from xpnet.backend import Array, Backend, Unsupported, is_out_of_memory, this_thread
from xpnet.errors import ConfigError, XpnetError
from xpnet.recordings import Recording, Stage

__all__ = ["MOST", "Captured", "Guard"]

MOST = 16  # recordings of a function
_CHANCES = 4  # how often recordings may be dropped before one was replayed _PAYS times, until no more are made
_PAYS = 8

_log = logging.getLogger("xpnet")


class Guard(Protocol):
    """Knows what a function reads besides its inputs, and tells whether recordings of it are still valid."""

    backend: Backend
    unsupported: str  # why the function cannot be captured, as far as is known before it is recorded; or ""
    written: list[Array]  # arrays that the function writes
    buffers: list[Array]  # those that it may write before it raises an error

    def holds(self) -> bool:
        """Tell in a few microseconds whether all is as it was at the last renew."""
        ...

    def renew(self) -> bool:
        """Read everything anew, and tell whether recordings made before are invalid.

        Raises:
            ConfigError: something changed that recordings may not outlive, where capture is required.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """Return the numbers and words that the function reads, by name."""
        ...

    def write_back(self) -> None:
        """Copy arrays that the function has put in the place of others into those, which a replay reads."""
        ...

    def restore(self) -> None:
        """Put back the arrays that the function has replaced by others since the last renew."""
        ...


class Captured:
    """A function of arrays, with recordings for the signatures it was called with, the least recently used dropped.

    A signature is the shapes and dtypes of the arrays, the caller's key, and the kernels that are disabled. One thread
    at a time uses the recordings; a call from another meanwhile runs eagerly.

    Args:
        function: takes the arrays and the numbers of a call, and returns an array, or None. Methods are held weakly:
            an object may own the captured form of its method without a reference cycle.
        guard: see Guard.
        where: for messages, such as "fit".
        log_level: of the line in the log that says why calls run eagerly.
        capture: None: record where that is supported. True: or raise an error. False: always run eagerly.
        worth: tells from the arrays whether a signature should be recorded; asked once for each.
        max_bytes: the memory of all recordings.
    Raises, on call:
        ConfigError: capture is True and the function cannot be recorded; the call has changed nothing then.
    """

    def __init__(
        self,
        function: Callable[..., Array | None],
        guard: Guard,
        *,
        where: str,
        log_level: int = logging.INFO,
        capture: bool | None = None,
        worth: Callable[..., bool] = lambda *arrays: True,
        max_bytes: float = np.inf,
    ) -> None:
        self._function, self._worth = _weak(function), _weak(worth)
        self.guard = guard
        self.where, self.log_level = where, log_level
        self.capture = capture
        self.max_bytes = max_bytes
        self.reason = ""  # why calls run eagerly
        self._is_final = False  # the reason stays, whatever changes
        self.recordings: OrderedDict[Hashable, Recording] = OrderedDict()
        self._lock = threading.Lock()
        self._chances = _CHANCES
        self._logged: set[str] = set()

    def __call__(self, *arrays: Array, numbers: tuple[Any, ...] = (), key: Hashable = None, eager: bool = False) -> Any:
        """Call the function, or replay a recording of it.

        Args:
            arrays: on the guard's backend; never written.
            numbers: passed on to the function: as they are, or as 0-d arrays where it is recorded.
            key: what the function depends on besides: a call with another key has another signature.
            eager: whether this call must run the function.
        Returns:
            What the function returns: a new array, or None.
        """
        if eager or self.capture is False or this_thread.program is not None or not self._lock.acquire(blocking=False):
            return self._function()(*arrays, *numbers)
        try:
            recording = self._find(arrays, key)
            if recording is None:
                return self._function()(*arrays, *numbers)
            if recording.is_verified:
                return self._replay(recording, (*arrays, *numbers))
            return self._prepare(recording, self._function(), (*arrays, *numbers))
        finally:
            self._lock.release()

    def _find(self, arrays: tuple[Array, ...], key: Hashable) -> Recording | None:
        """Return the recording of a signature, which may have to be made; None where calls run eagerly."""
        if not self._is_final and not self.guard.holds():
            self._renew()
        if self.reason:
            self.explain(self.reason)
            return None
        signature = tuple([(a.shape, a.dtype) for a in arrays]), key, kernels.disabled()
        recording = self.recordings.get(signature)
        if recording is None:
            return self._add(signature, arrays)
        self.recordings.move_to_end(signature)
        return recording

    def explain(self, reason: str) -> None:
        """Log, once, why calls run eagerly.

        Raises:
            ConfigError: capture is required.
        """
        if self.capture:
            raise ConfigError(self.where, "code that capture=True can record", "use capture=None", reason=reason)
        if reason not in self._logged:
            self._logged.add(reason)
            _log.log(self.log_level, "%s runs eagerly: %s", self.where, reason)

    def _renew(self) -> None:
        """Drop all recordings, unless what changed does not concern them."""
        try:
            if not self.guard.renew():
                return
        except ConfigError:
            self.recordings.clear()
            raise
        self._drop_all()
        self.reason = self.guard.unsupported
        if not self.reason and self._chances <= 0:
            self._give_up("what it reads changes from call to call")
        if not self.reason and self.guard.backend.recorder() is None:
            self.reason = f"{self.guard.backend.spec} has no recorder"

    def _drop_all(self) -> None:
        """Drop all recordings, and count whether they paid."""
        if any(r.is_wanted for r in self.recordings.values()):
            paid = any(r.replays >= _PAYS for r in self.recordings.values())
            self._chances = min(_CHANCES, self._chances + (1 if paid else -1))
        self.recordings.clear()

    def _give_up(self, reason: str) -> None:
        self.reason, self._is_final = reason, True
        self.recordings.clear()

    def _add(self, signature: Hashable, arrays: tuple[Array, ...]) -> Recording:
        recorder = self.guard.backend.recorder()
        assert recorder is not None
        warm = 1 if self.recordings else recorder.warm_calls  # after the first, only what depends on sizes is cold
        recording = self.recordings[signature] = Recording(signature, recorder, self.guard.backend, warm)
        recording.is_wanted = self.capture is True or self._worth()(*arrays)
        if len(self.recordings) > MOST:
            self.recordings.popitem(last=False)
        return recording

    def _run(self, function: Any, inputs: Sequence[Any]) -> Any:
        result = function(*inputs)
        self.guard.write_back()
        return result

    # The calls of a signature, in turn: warm, recorded, verified; then replayed.

    def _prepare(self, recording: Recording, function: Any, inputs: tuple[Any, ...]) -> Any:
        stage = recording.stage
        if stage is Stage.EAGER:
            return function(*inputs)
        if stage is Stage.WARM:
            return self._warm(recording, function, inputs)
        if stage is Stage.VERIFY:
            return self._verify(recording, function, inputs)
        try:
            was_run, result = self._record(recording, function, inputs)
        except BaseException:
            self.recordings.pop(recording.signature, None)  # half of the call is recorded
            raise
        self._limit(recording)
        if was_run:
            return result
        if self.reason:
            self.explain(self.reason)
        return self._replay(recording, inputs) if self._is_complete(recording) else function(*inputs)

    def _is_complete(self, recording: Recording) -> bool:
        """Return whether a call that was recorded, and did not run, is to be replayed."""
        return recording.is_verified

    def _warm(self, recording: Recording, function: Any, inputs: tuple[Any, ...]) -> Any:
        recording.warm_calls -= 1
        before = self.guard.settings() if not recording.warm_calls else {}
        with recording.recorder.warm():
            result = self._run(function, inputs)
        if recording.is_device:  # the result is in the recording's memory
            result = recording.copy(result)
        after = self.guard.settings() if not recording.warm_calls else {}
        changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
        if changed:
            self._give_up(f"{changed[0]} changes from call to call")
        return result

    def _record(self, recording: Recording, function: Any, inputs: tuple[Any, ...]) -> tuple[bool, Any]:
        """Record a call; return whether that ran it, and its result. What cannot be recorded leaves all as it was."""
        recorder, guard = recording.recorder, self.guard
        saved = [] if recorder.is_device else [np.array(a) for a in guard.written]
        recording.take(inputs)
        try:
            recording.result, recording.replay = recorder.record(lambda: self._run(function, recording.inputs))
        except Unsupported as error:
            guard.restore()
            _restore(guard.written, saved)
            self._give_up(f"{error} cannot be recorded")
        except Exception as error:
            if not recorder.is_device:
                raise
            guard.restore()
            if is_out_of_memory(error) and len(self.recordings) > 1:
                recording.drop()
            else:
                line = str(error).partition("\n")[0]
                self._give_up(f"it cannot be recorded ({type(error).__name__}: {line})")
        else:
            if not recorder.is_device:
                return True, recording.copy(recording.result)
            guard.restore()
            recording.is_verified = True
        return False, None

    def _verify(self, recording: Recording, function: Any, inputs: tuple[Any, ...]) -> Any:
        """Replay and call from the same numbers: the results must be the same."""
        written = self.guard.written
        saved, replayed = [np.array(a) for a in written], None
        try:
            recording.take(inputs)
            recording.replay()
            replayed = [np.array(a) for a in (*written, recording.result)]
        except Exception as error:  # the function's own, which the call below raises; or the recording's
            self._check_failed(error)
        finally:
            _restore(written, saved)
        result = self._run(function, inputs)
        if replayed is not None and all(map(_equal, replayed, [*written, result])):
            recording.is_verified = True
        else:
            self._give_up("a replay gave different numbers than the eager call")
        return result

    def _check_failed(self, error: Exception) -> None:
        """Go on with the eager call after a replay failed; a subclass may raise the error."""
        _log.debug("a replay failed: %s", error)

    def _replay(self, recording: Recording, inputs: tuple[Any, ...]) -> Any:
        recording.take(inputs)
        buffers = self.guard.buffers
        saved = [np.array(a) for a in buffers] if buffers and not recording.is_device else []
        try:
            recording.replay()
        except XpnetError:  # an eager call raises it with the layer's name
            _restore(buffers, saved)
            return self._function()(*inputs)
        recording.replays += 1
        result = recording.result
        return None if result is None else recording.xp.asarray(result, copy=True)  # as copy does: a call less

    def _limit(self, newest: Recording) -> None:
        """Drop recordings beyond max_bytes, the least recently used first; the newest too, if it alone is larger."""
        total = sum(r.nbytes for r in self.recordings.values())
        for signature, recording in [*self.recordings.items()]:
            if total <= self.max_bytes:
                break
            total -= recording.nbytes
            if recording is newest:
                recording.drop()
            else:
                del self.recordings[signature]


def _weak(function: Callable[..., Any]) -> Callable[[], Any]:
    """A reference to a function: weak if it is a method."""
    return weakref.WeakMethod(function) if hasattr(function, "__self__") else lambda: function  # type: ignore


def _restore(arrays: list[Array], saved: list[Array]) -> None:
    for array, value in zip(arrays, saved, strict=bool(saved)):
        array[...] = value


def _equal(a: Array, b: Array) -> bool:
    """Whether two arrays hold the same numbers, NaN included."""
    return bool(np.array_equal(a, b, equal_nan=True))

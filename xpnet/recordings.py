"""A recording of a function for one signature, and what the next call of that signature does."""

from __future__ import annotations

import enum
from collections.abc import Hashable
from typing import Any

from xpnet.backend import Array, Backend, Recorder, empty_aligned

__all__ = ["Recording", "Stage"]


class Stage(enum.IntEnum):
    """What a call does."""

    EAGER = 0  # it runs, and is not to be recorded
    WARM = 1  # it runs as it will be recorded
    RECORD = 2  # it is recorded; on a device without being run, and then replayed
    VERIFY = 3  # a replay and an eager run are compared
    REPLAY = 4


class Recording:
    """The function for one signature: its inputs, what replays it, and its result.

    Args:
        signature: see Captured.
        recorder: makes this one recording.
        backend: where it runs.
        warm_calls: calls before it is recorded.
    """

    def __init__(self, signature: Hashable, recorder: Recorder, backend: Backend, warm_calls: int) -> None:
        self.signature = signature
        self.recorder = recorder
        self.is_device = recorder.is_device
        self.warm_calls = warm_calls
        self.is_wanted = True
        self.is_verified = False
        self.replays = 0
        self.replay: Any = None
        self.inputs: list[Array] = []
        self.result: Array | None = None
        self.xp, self._device = backend.xp, backend.device

    @property
    def stage(self) -> Stage:
        """What the next call does."""
        if self.is_verified:
            return Stage.REPLAY
        if not self.is_wanted:
            return Stage.EAGER
        if self.warm_calls:
            return Stage.WARM
        return Stage.RECORD if self.replay is None else Stage.VERIFY

    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""
        return 0 if self.replay is None else self.recorder.nbytes + sum(a.nbytes for a in self.inputs)

    def take(self, inputs: tuple[Any, ...]) -> None:
        """Copy the inputs of a call to where the recorded work reads them."""
        if not self.inputs:
            self.inputs = [self._like(x) for x in inputs]
        if self.is_device:  # whose arrays take no lists
            inputs = tuple([x if hasattr(x, "shape") else self.xp.asarray(x, device=self._device) for x in inputs])
        for place, x in zip(self.inputs, inputs, strict=True):
            place[...] = x

    def _like(self, x: Any) -> Array:
        if not hasattr(x, "shape"):
            return self.xp.asarray(x, device=self._device)
        if self.is_device:
            return self.xp.empty(x.shape, dtype=x.dtype, device=self._device)
        return empty_aligned(tuple(x.shape), x.dtype)

    def copy(self, result: Array | None) -> Array | None:
        """Copy a result, whose memory the next replay writes."""
        return None if result is None else self.xp.asarray(result, copy=True)

    def drop(self) -> None:
        """Free the memory, and run this signature eagerly from now on."""
        self.is_wanted = self.is_verified = False
        self.replay, self.inputs, self.result = None, [], None
        del self.recorder

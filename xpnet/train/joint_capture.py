"""Recordings that several processes make, verify and replay in the same calls.

A recorded step holds the exchange of the processes. NCCL allows that where all of them record it in one call, and
launch it in the same calls from then on. On the host a verification exchanges twice. So before each call the processes
tell each other what they would do, and where they differ, all run the function.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from xpnet.backend import Array
from xpnet.capture import Captured
from xpnet.errors import XpnetError
from xpnet.recordings import Recording, Stage

__all__ = ["JointCaptured"]


class JointCaptured(Captured):
    """A Captured of several processes, all of which call it in the same order.

    Args:
        agree: called by all processes with what each would do, and the error that it raises instead; returns the
            stages of all, the same in each.
        others: as Captured takes them.
    """

    def __init__(self, *others: Any, agree: Callable[..., set[Stage]], **options: Any) -> None:
        super().__init__(*others, **options)
        self._agree = agree

    def __call__(self, *arrays: Array, numbers: tuple[Any, ...] = (), key: Hashable = None, eager: bool = False) -> Any:
        """Call the function, or replay a recording of it, as all processes do; see Captured."""
        try:
            recording = None if eager or self.capture is False else self._find(arrays, key)
        except Exception as error:
            self._agree(Stage.EAGER, error)
            raise
        stages = self._agree(Stage.EAGER if recording is None else recording.stage)
        if len(stages) > 1:
            recording = None
            if Stage.EAGER not in stages:
                self._start_over()
        if recording is None:
            return self._function()(*arrays, *numbers)
        if recording.is_verified:
            return self._replay(recording, (*arrays, *numbers))
        return self._prepare(recording, self._function(), (*arrays, *numbers))

    def _start_over(self) -> None:
        """Drop all recordings, as the other processes do: one of them has dropped its own."""
        self._drop_all()
        if self._chances <= 0:
            self._give_up("the processes drop their recordings at different times")

    def _is_complete(self, recording: Recording) -> bool:
        """Replay what was recorded for a device if that went well in all processes."""
        if not recording.is_device:
            return False  # the others ran the call while they recorded it
        stages = self._agree(recording.stage if recording.is_verified else Stage.EAGER)
        if len(stages) > 1:
            self._start_over()
        return stages == {Stage.REPLAY}

    def _check_failed(self, error: Exception) -> None:
        """End this process, unless the eager call raises the error too: the others have exchanged, it has not."""
        if not isinstance(error, XpnetError):
            raise error

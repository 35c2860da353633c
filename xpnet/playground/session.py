"""A session: what one page trains. The connection that shows it is the thread that computes it.

So training stops when the connection ends, goes on when the page comes back, and goes slower when the page is slow.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from xpnet import arguments
from xpnet.backend import Backend
from xpnet.errors import ConfigError, XpnetError
from xpnet.playground.events import BEAT, encode_event
from xpnet.playground.sent_settings import MOST_STEPS
from xpnet.serving.messages import HttpError

__all__ = ["Session", "Stage"]

FRAME = 1 / 36  # seconds between two frames, at least
WAIT = 0.5  # seconds without an event after which an empty one is sent, which fails if the page has gone
PATIENCE = 90.0  # seconds in which a command is carried out, at most: the first may wait until loops are compiled


class Stage(Protocol):
    """What a session trains: the plane, or the images."""

    @property
    def step(self) -> int:
        """Steps that were made."""
        ...

    def advance(self) -> bool:
        """Make one step; return whether there are more."""
        ...

    def reset(self) -> Stage:
        """Return the same before its first step."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return what does not change while it learns."""
        ...

    def frame(self) -> dict[str, Any]:
        """Return its state now."""
        ...

    def command(self, name: str, given: dict[str, Any]) -> tuple[Any, bool]:
        """Carry out a command of its own; return the reply, and whether the page must be shown the state.

        Raises:
            KeyError: it has none of that name.
        """
        ...


class _Command:
    """A command, and what came of it."""

    def __init__(self, name: str, given: dict[str, Any]) -> None:
        self.name, self.given = name, given
        self.done = threading.Event()
        self.reply: Any = None
        self.error: XpnetError | HttpError | None = None


class Session:
    """What one page trains.

    Args:
        key: its name. backend: where it is computed.
        open_stage: makes a stage from its kind, the settings as sent, and the backend.
        about: what each page receives first.
    """

    def __init__(
        self, key: str, backend: Backend, open_stage: Callable[[str, Any, Backend], Stage], about: dict[str, Any]
    ) -> None:
        self.key, self.backend, self._about = key, backend, about
        self._open: Callable[..., Stage] = open_stage
        self._stage: Stage | None = None
        self._playing, self._until, self._rate = False, None, 200.0
        self._changed, self._queue = threading.Condition(), collections.deque[_Command]()
        self._computing = threading.Lock()  # held where the stage is touched: an older connection may still be ending
        self._viewer = 0  # which connection shows it: the newest
        self._is_watched = False

    @property
    def is_watched(self) -> bool:
        """Whether a page is connected."""
        return self._is_watched

    def ask(self, name: str, given: dict[str, Any]) -> Any:
        """Have a command carried out by the thread that trains, and return its reply.

        Raises:
            XpnetError: it is refused. HttpError: no page is connected, 409; it takes too long, 503.
        """
        command = _Command(name, given)
        with self._changed:
            if not self._is_watched:
                raise HttpError(409, "session: no page is connected; reload the page")
            if len(self._queue) >= 64:
                raise HttpError(503, "session: too many commands at a time; try later", Retry_After="1")
            self._queue.append(command)
            self._changed.notify_all()
        if not command.done.wait(PATIENCE):
            raise HttpError(503, "session: the command was not carried out in time; try later", Retry_After="1")
        if command.error is not None:
            raise command.error
        return command.reply

    def watch(self) -> Iterator[bytes]:
        """Train as the commands say, and give what the page is shown, as events; it ends when closed.

        An older connection of the same session ends when a newer one begins.
        """
        with self._changed:
            self._viewer += 1
            viewer, self._is_watched = self._viewer, True
            self._changed.notify_all()
        try:
            yield encode_event("hello", {"session": self.key, "backend": self.backend.spec, **self._about})
            if self._stage is not None:
                yield from self._show_all(self._stage)
            yield from self._work(viewer)
        finally:
            with self._changed:
                if viewer == self._viewer:
                    self._is_watched = False
                    while self._queue:
                        command = self._queue.popleft()
                        command.error = HttpError(409, "session: the page has gone")
                        command.done.set()

    def _work(self, viewer: int) -> Iterator[bytes]:
        due = 0.0  # steps
        last = sent = time.monotonic()  # when the last turn began, when the last event was sent
        while viewer == self._viewer:
            news, before = False, self._stage
            while self._queue and viewer == self._viewer:
                news = self._carry_out(self._queue.popleft()) or news
            stage, start = self._stage, time.monotonic()
            if stage is not None and stage is not before:
                yield from self._show_all(stage)
                news, due, sent = False, 0.0, start
            if self._playing and stage is not None:
                due = min(due + self._rate * (start - last), max(1.0, 4 * FRAME * self._rate))
                steps = stage.step
                trouble = self._advance(stage, MOST_STEPS if self._until else int(due), start + FRAME, viewer)
                due = max(0.0, due - (stage.step - steps))
                news = news or stage.step > steps or not self._playing
                if trouble:
                    news = False
                    yield trouble
            last = start
            if news and stage is not None:
                yield self._frame(stage)
                sent = time.monotonic()
            left = start + FRAME - time.monotonic() if self._playing else WAIT
            with self._changed:
                if left > 0 and not self._queue and viewer == self._viewer:
                    self._changed.wait(left)
            if time.monotonic() - sent > WAIT:
                yield BEAT
                sent = time.monotonic()

    def _advance(self, stage: Stage, steps: int, end: float, viewer: int) -> bytes | None:
        """Make steps until a point in time, a command comes, or the last one; return the event of an error."""
        try:
            with self._computing, self.backend.active():
                while steps > 0 and not self._queue and viewer == self._viewer and time.monotonic() < end:
                    if self._until is not None and stage.step >= self._until:
                        self._playing, self._until = False, None
                        break
                    steps -= 1
                    if not stage.advance():
                        self._playing = False
                        break
        except XpnetError as error:
            self._playing = False
            return encode_event("trouble", {"error": str(error)})
        return None

    def _carry_out(self, command: _Command) -> bool:
        """Carry out a command; return whether the page must be shown the state."""
        try:
            with self._computing, self.backend.active():
                command.reply, news = self._command(command.name, command.given)
        except (XpnetError, HttpError) as error:
            command.error, news = error, False
        except Exception:
            command.error = HttpError(500, "session: an internal error")
            raise
        finally:
            command.done.set()
        return news

    def _command(self, name: str, given: dict[str, Any]) -> tuple[Any, bool]:
        if name == "open":  # a stage by its kind and settings; with so many steps made
            kind = arguments.choice("open", "kind", given.get("kind", "plane"), ("plane", "images"))
            steps = arguments.count("open", "steps", given.get("steps", 0), 0, MOST_STEPS)
            self._stage = self._open(kind, given.get("settings", {}), self.backend)
            self._playing, self._until = steps > 0, steps or None
            return {}, True
        if self._stage is None:
            raise ConfigError.event(name, "there is no network yet", "reload the page")
        if name in ("play", "pause", "step", "reset"):
            self._until = None
        if name in ("play", "pause"):
            self._playing = name == "play"
        elif name == "step":
            self._playing = False
            self._stage.advance()
        elif name == "reset":
            self._stage = self._stage.reset()
        elif name == "rate":
            self._rate = arguments.number("rate", "steps per second", given.get("value"), 0.1, 1e6, closed=True)
        else:
            try:
                return self._stage.command(name, given)
            except KeyError:
                raise HttpError(404, f"session: there is no such command: {name[:40]!r}") from None
        return {}, True

    def _show_all(self, stage: Stage) -> Iterator[bytes]:
        yield encode_event("network", {**stage.describe(), "steps": self._until or stage.step})
        yield self._frame(stage)

    def _frame(self, stage: Stage) -> bytes:
        try:
            with self._computing, self.backend.active():
                return encode_event("frame", {**stage.frame(), "playing": self._playing})
        except XpnetError as error:
            self._playing = False
            return encode_event("trouble", {"error": str(error)})

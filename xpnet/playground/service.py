"""What is answered to each request: the page's files, the events of a session, and its commands."""

from __future__ import annotations

import collections
import hmac
import secrets
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from xpnet import serving
from xpnet.backend import Backend
from xpnet.errors import XpnetError
from xpnet.playground.session import WAIT, Session
from xpnet.playground.stages import describe_choices, open_stage
from xpnet.serving.limits import Limits
from xpnet.serving.messages import Answer, HttpError, Request, json_answer, read_json

__all__ = ["Playground"]

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_WATCHED, _KEPT = 16, 8  # sessions with a page, at most; sessions without one that are kept
_LEAVING = 2 * WAIT  # seconds


class Playground:
    """Answers the pages of a playground, each with a session of its own.

    Args:
        backend: where networks are trained.
    """

    limits = Limits(max_bytes=1 << 20, connections=64, timeout=20.0)

    def __init__(self, backend: Backend) -> None:
        self.backend, self.token = backend, secrets.token_urlsafe(18)
        self._files, self._about = _read_files(), describe_choices()
        self._sessions: collections.OrderedDict[str, Session] = collections.OrderedDict()
        self._lock = threading.Lock()

    def check(self, request: Request) -> None:
        """Raise HttpError where a request is refused before its body is read: 403, 404, 405, 415."""
        path = self._path(request)
        if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            raise HttpError(403, "request: expected one of the playground's own page")
        methods = ("POST",) if path == "do" else ("GET",) if path == "events" else ("GET", "HEAD")
        if path not in ("do", "events", *self._files):
            raise HttpError(404, "request: there is no such page; open the address that xpnet playground printed")
        if request.method not in methods:
            message = f"expected the method {' or '.join(methods)}, got {request.method[:20]}"
            raise HttpError(405, f"request: {message}", Allow=", ".join(methods))
        if path == "do" and request.kind != "application/json":
            raise HttpError(415, f"Content-Type: expected application/json, got {request.kind[:80] or 'none'}")

    def answer(self, request: Request, body: bytes) -> Answer:
        """Answer a request that check passed.

        Raises:
            HttpError: it is refused.
        """
        path = self._path(request)
        if path == "do":
            return json_answer(self._do(read_json(body)))
        if path == "events":
            stream = self._session(dict(parse_qsl(request.query)).get("session")).watch()
            return Answer(200, b"", "text/event-stream", {"X-Accel-Buffering": "no"}, stream)
        content, kind = self._files[path]
        return Answer(200, content, kind, {"Content-Security-Policy": _POLICY})

    def _path(self, request: Request) -> str:
        """Return the path after the token; 404 where that is another one."""
        token, _, path = request.path[1:].partition("/")
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            raise HttpError(404, "request: there is no such page; open the address that xpnet playground printed")
        return path

    def _do(self, given: Any) -> Any:
        if not isinstance(given, Mapping) or not isinstance(given.get("do"), str):
            raise HttpError(400, 'body: expected {"session": ..., "do": the name of a command, ...}')
        with self._lock:
            session = self._sessions.get(str(given.get("session")))
        if session is None:
            raise HttpError(409, "session: there is none of that name; reload the page")
        try:
            return session.ask(given["do"], dict(given))
        except XpnetError as error:
            raise HttpError(400, str(error)) from error

    def _session(self, key: str | None) -> Session:
        """Return the session of a name, or a new one; sessions without a page that are too many are dropped."""
        end = time.monotonic() + _LEAVING
        while self.watched >= _WATCHED and time.monotonic() < end:  # it takes a moment until a page is known to be gone
            time.sleep(0.05)
        with self._lock:
            found = self._sessions.pop(key or "", None)
            if found is None:
                if sum(each.is_watched for each in self._sessions.values()) >= _WATCHED:
                    raise HttpError(503, "server: too many pages are open; close one", Retry_After="5")
                found = Session(secrets.token_urlsafe(9), self.backend, open_stage, self._about)
            self._sessions[found.key] = found
            unwatched = [each for each in self._sessions.values() if not each.is_watched and each is not found]
            for each in unwatched[: max(0, len(unwatched) - _KEPT)]:
                del self._sessions[each.key]
        return found

    @property
    def sessions(self) -> int:
        """How many sessions are held."""
        return len(self._sessions)

    @property
    def watched(self) -> int:
        """How many sessions have a page."""
        with self._lock:
            return sum(each.is_watched for each in self._sessions.values())


def _read_files() -> dict[str, tuple[bytes, str]]:
    """Return the files of the page, by the name under which they are asked for, with the type of each."""
    paths = [*(Path(__file__).parent / "page").iterdir(), Path(serving.__file__).with_name("theme.css")]
    found = {path.name: (path.read_bytes(), _KINDS[path.suffix]) for path in paths if path.suffix in _KINDS}
    return {"": found["index.html"], **found}

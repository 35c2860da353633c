"""What is answered to each request: the page, the state of the server, and predictions."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from xpnet import __version__
from xpnet.errors import DataError, DeviceError, XpnetError
from xpnet.serving.batching import Batcher
from xpnet.serving.limits import Limits
from xpnet.serving.messages import Answer, HttpError, Request, json_answer, read_json, rows_of
from xpnet.serving.multipart import read_multipart
from xpnet.serving.sources import Given, Source

__all__ = ["Service"]

_METHODS = {"/": ("GET", "HEAD"), "/health": ("GET", "HEAD"), "/predict": ("POST",)}
_FORM, _JSON = "multipart/form-data", "application/json"
_log = logging.getLogger("xpnet")
_heard = threading.local()  # lines: what is logged about the request of this thread


class Service:
    """Answers requests about one source, from several threads.

    Args:
        source: what is served.
        limits: of requests.
    """

    def __init__(self, source: Source, limits: Limits) -> None:
        self.source, self.limits = source, limits
        self.batcher = Batcher(source.scores, most=source.largest(limits.batch), wait=limits.wait, queue=limits.queue)
        self._page, self._policy = _read_page()

    def check(self, request: Request) -> None:
        """Raise HttpError where a request is refused before its body is read: 404, 405, 415."""
        methods = _METHODS.get(request.path)
        if methods is None:
            raise HttpError(404, f"{request.path[:80]}: there is no such path; there are {', '.join(_METHODS)}")
        if request.method not in methods:
            message = f"{request.path}: expected the method {' or '.join(methods)}, got {request.method[:20]}"
            raise HttpError(405, message, Allow=", ".join(methods))
        if request.path != "/predict":
            return
        if (coding := request.headers.get("content-encoding", "identity")).lower() != "identity":
            raise HttpError(415, f"Content-Encoding: expected a body that is not compressed, got {coding[:40]}")
        kind, images = request.kind, self.source.takes_images
        if kind != _JSON and not (images and (kind in (_FORM, "application/octet-stream") or _is_image(kind))):
            wanted = "image/png, image/jpeg or another image, multipart/form-data, " if images else ""
            raise HttpError(415, f"Content-Type: expected {wanted}application/json, got {kind[:80] or 'none'}")

    def answer(self, request: Request, body: bytes) -> Answer:
        """Answer a request that check passed.

        Raises:
            HttpError: it is refused.
        """
        if request.path == "/":
            return Answer(200, self._page, "text/html; charset=utf-8", {"Content-Security-Policy": self._policy})
        if request.path == "/health":
            return json_answer({"status": "ok", "xpnet": __version__, **self.source.describe()})
        with _warnings() as warnings, _as_http():
            top = self.source.top(_top(request.query))
            with self.batcher.expected():
                read = self._rows if request.kind == _JSON else self._images
                results = read(request, body, lambda given: self._predict(given, top))
            more = {"warnings": warnings} if warnings else {}
            return json_answer({"model": self.source.name, "predictions": results, **more})

    def _rows(self, request: Request, body: bytes, predict: Callable[[Given], list[Any]]) -> list[Any]:
        return predict(self.source.rows(rows_of(read_json(body), self.limits.rows)))

    def _images(self, request: Request, body: bytes, predict: Callable[[Given], list[Any]]) -> list[Any]:
        """Predict images; of several, one that cannot be read is named, and the others are predicted."""
        if request.kind != _FORM:
            return predict(self.source.images([self.source.image("image", body)]))
        parts = read_multipart(body, request.headers["content-type"], self.limits.images)
        found = []
        for name, content in parts:
            try:
                found.append(self.source.image(name or "image", content))
            except DataError as error:
                found.append(error)
        good = [pixels for pixels in found if not isinstance(pixels, DataError)]
        if not good:
            raise found[0]
        results = iter(predict(self.source.images(good)))
        return [
            {"image": part.name, **({"error": str(each)} if isinstance(each, DataError) else next(results))}
            for part, each in zip(parts, found, strict=True)
        ]

    def _predict(self, given: Given, top: int) -> list[dict[str, Any]]:
        scores = self.batcher.predict(given.x, self.limits.timeout)
        return [_with_first(each) for each in self.source.predictions(given, scores, top)]


def _is_image(kind: str) -> bool:
    return kind.startswith("image/") and "svg" not in kind


def _with_first(result: dict[str, Any]) -> dict[str, Any]:
    """Put the most probable class before the list of the first K."""
    if "classes" not in result:
        return result
    return {"class": result["classes"][0], "probability": result["probabilities"][0], **result}


def _top(query: str) -> int | None:
    """Return the K of ?top=K; None without a query."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=4)
    except ValueError:
        pairs = [("?", "")]
    given = dict(pairs)
    if len(given) < len(pairs):
        raise HttpError(400, "query: expected ?top=K or none, got top twice")
    if other := [name for name in given if name != "top"]:
        raise HttpError(400, f"query: expected ?top=K or none, got {other[0][:40]!r}")
    text = given.get("top")
    if text is not None and not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        raise HttpError(400, f"query: expected a whole number top >= 1, got {text[:40]!r}")
    return None if text is None else int(text)


@contextlib.contextmanager
def _as_http() -> Iterator[None]:
    """Answer errors of xpnet by 400, and those of the device by 503."""
    try:
        yield
    except DeviceError as error:
        raise HttpError(503, str(error), Retry_After="5") from error
    except XpnetError as error:
        raise HttpError(400, str(error)) from error


class _Heard(logging.Filter):
    """Keeps what is logged about a request for its answer, and away from the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        lines = getattr(_heard, "lines", None)
        if lines is None:
            return True
        if record.levelno >= logging.WARNING:
            lines.append(record.getMessage()[:1000])
        return False


_HEARD = _Heard()


@contextlib.contextmanager
def _warnings() -> Iterator[list[str]]:
    """Give the list of what is logged in this thread within a with-block."""
    _log.addFilter(_HEARD)  # adds it once
    _heard.lines = []
    try:
        yield _heard.lines
    finally:
        _heard.lines = None


def _read_page() -> tuple[bytes, str]:
    """Return the page, and the policy that lets it run its own script and style only, by their hashes."""
    folder = Path(__file__).parent
    theme = (folder / "theme.css").read_text("utf-8")
    page = (folder / "page.html").read_text("utf-8").replace("/* theme.css */\n", theme)
    hashes = {}
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        hashes[tag] = f"{tag}-src 'sha256-{digest}'"
    rules = ["default-src 'none'", *hashes.values(), "img-src blob: data:", "connect-src 'self'", "base-uri 'none'"]
    return page.encode(), "; ".join([*rules, "form-action 'none'", "frame-ancestors 'none'"])

"""HTTP/1.1 by the standard library's http.server, a thread a connection, with limits on what a client may use."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import re
import select
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from email.errors import MissingHeaderBodySeparatorDefect
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, NoReturn, Protocol

from xpnet.output import printable
from xpnet.serving.limits import Limits
from xpnet.serving.messages import Answer, HttpError, Request
from xpnet.serving.receiving import HEAD, Timed

__all__ = ["Service", "Transport"]

_LINE = 8192  # bytes of the first line
_SPARE = 16  # connections beyond the limit that get an answer that says so
_LINGER = 2.0  # seconds in which what a refused client sends is read, so that it sees the answer
_SECURE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_log = logging.getLogger("xpnet")


class Service(Protocol):
    """Answers requests, from several threads."""

    @property
    def limits(self) -> Limits:
        """What it takes of its clients."""
        ...

    def check(self, request: Request) -> None:
        """Raise HttpError where a request is refused before its body is read."""

    def answer(self, request: Request, body: bytes) -> Answer:
        """Answer a request that check passed; or raise HttpError."""
        ...


class _Handler(BaseHTTPRequestHandler):
    """Reads the requests of one connection, and answers each."""

    protocol_version = "HTTP/1.1"
    server: Transport  # pyright: ignore[reportIncompatibleVariableOverride]

    def setup(self) -> None:
        self.connection = self.request
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._raw = Timed(self.connection)
        self.rfile = self._reader = io.BufferedReader(self._raw)
        self._unread = False  # whether the client may still be sending

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the client went
            pass
        except Exception as error:
            _log.error("serve: %s: %s", type(error).__name__, error, exc_info=self.server.verbose)

    def finish(self) -> None:
        """Close the connection; of one whose request was not read to its end, so that the client sees the answer."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            end = time.monotonic() + _LINGER
            while self._unread and (left := end - time.monotonic()) > 0:
                self.connection.settimeout(left)
                if not self.connection.recv(1 << 16):
                    break
        self.rfile.close()

    def handle_one_request(self) -> None:
        """Read one request and answer it."""
        self.close_connection, self._unread, self._asked_to_go_on = True, True, False
        self.command, self.path, self.request_version = "", "", "HTTP/1.1"
        limits = self.server.service.limits
        with self.server.idle(self.request):
            self._raw.allow(limits.idle, 1 << 20)
            try:
                if not self._reader.peek(1):
                    self._unread = False
                    return
            except TimeoutError:
                self._unread = False
                return
        start = time.perf_counter()
        self._raw.allow(limits.timeout, HEAD)
        try:
            answer = self._answered()
        except HttpError as error:
            answer = error.answer
        except TimeoutError:
            answer = HttpError(408, f"request: expected all of it within {limits.timeout:g} s").answer
        except OSError:
            raise
        except Exception as error:
            _log.error("serve: %s: %s", type(error).__name__, error, exc_info=self.server.verbose)
            answer = HttpError(500, "server: an internal error").answer
        if self._unread or self.server.closing:
            self.close_connection = True
        self._send(answer)
        if self.server.verbose:
            took = 1e3 * (time.perf_counter() - start)
            self.server.say(f"{self.client_address[0]} {self.command} {self.path} {answer.status} {took:.1f} ms")

    def _answered(self) -> Answer:
        if self.server.is_over(self.request):
            raise HttpError(503, "server: too many connections; try later", Retry_After="1")
        self.raw_requestline = self.rfile.readline(_LINE + 1)
        if len(self.raw_requestline) > _LINE:
            raise HttpError(414, f"request: expected a first line of at most {_LINE:,} bytes")
        words = self.raw_requestline.split()
        if len(words) != 3 or not self.raw_requestline.endswith(b"\n"):  # HTTP 0.9 sends no headers
            raise HttpError(400, "request: expected METHOD PATH HTTP/1.1")
        if not self.parse_request():
            raise HttpError(400, "request: expected METHOD PATH HTTP/1.1")
        is_cut = any(isinstance(defect, MissingHeaderBodySeparatorDefect) for defect in self.headers.defects)
        if is_cut or any(name != name.strip() for name in self.headers):
            raise HttpError(400, "request: expected headers, lines of Name: value")
        headers = {name.lower(): value.strip() for name, value in self.headers.items()}
        self._check_host(headers)
        path, _, query = self.path.partition("?")
        request = Request(str(self.command), path, query, headers)
        size = self._size()
        self.server.service.check(request)
        if self.command == "POST" and size is None:
            raise HttpError(411, "Content-Length: expected the number of bytes of the body")
        most = self.server.service.limits.max_bytes
        if size is not None and size > most:
            raise HttpError(413, f"body: expected at most {most:,} bytes, got {size:,}")
        with self.server.memory(size or 0):
            return self.server.service.answer(request, self._body(size or 0))

    def _check_host(self, headers: dict[str, str]) -> None:
        """Refuse a page of another site that was made to point here (DNS rebinding), and two names."""
        found = self.headers.get_all("Host", [])
        if len(found) > 1 or (not found and self.request_version != "HTTP/1.0"):
            raise HttpError(400, "Host: expected the header once")
        name = re.sub(r":\d*$", "", headers.get("host", "")).strip("[]").lower()
        if found and self.server.hosts is not None and name not in self.server.hosts:
            raise HttpError(403, f"Host: expected {' or '.join(sorted(self.server.hosts))}, got {name[:80]!r}")

    def _size(self) -> int | None:
        """Return the length of the body; None where it is not said."""
        if self.headers.get("Transfer-Encoding"):
            raise HttpError(411, "Transfer-Encoding: expected a body with Content-Length")
        lengths = self.headers.get_all("Content-Length", [])
        if not lengths:
            self._unread = self.command == "POST"
            return None
        if len(set(lengths)) > 1 or not re.fullmatch(r"[0-9]{1,18}", lengths[0].strip(), re.ASCII):
            raise HttpError(400, "Content-Length: expected one whole number")
        return int(lengths[0])

    def _body(self, size: int) -> bytes:
        self._raw.allow(self.server.service.limits.timeout, size + 1)
        if self._asked_to_go_on and size:
            self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self.rfile.read(size)
        self._unread = False
        if len(body) < size:
            self.close_connection = True
            raise HttpError(400, f"body: expected {size:,} bytes, as Content-Length says, got {len(body):,}")
        return body

    def _send(self, answer: Answer) -> None:
        """Send an answer at once: in two parts, the second would wait for the client's acknowledgement."""
        headers = {"Date": formatdate(usegmt=True), "Server": "xpnet", **_SECURE, **answer.headers}
        headers |= {"Content-Type": answer.kind}
        if answer.stream is None:
            headers["Content-Length"] = str(len(answer.body))
        else:
            self.close_connection = True  # it ends with the connection
        if self.close_connection:
            headers["Connection"] = "close"
        elif self.request_version == "HTTP/1.0":
            headers["Connection"] = "keep-alive"
        lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        self.connection.settimeout(self.server.service.limits.timeout)
        self.connection.sendall(head if self.command == "HEAD" else head + answer.body)
        if answer.stream is not None:
            self._send_stream(answer.stream)

    def _send_stream(self, stream: Iterator[bytes]) -> None:
        """Send the parts of a body until the client goes, the server ends, or there are no more."""
        with contextlib.closing(stream):  # pyright: ignore[reportArgumentType]
            for part in stream:
                if self.server.closing or self._is_closed():
                    break
                self.connection.sendall(part)

    def _is_closed(self) -> bool:
        """Whether the client has closed the connection."""
        if not select.select([self.connection], [], [], 0)[0]:
            return False
        return not self.connection.recv(1 << 12)  # what it sends after its request is not read

    def handle_expect_100(self) -> bool:
        """Say "100 Continue" only once it is known that the body will be read."""
        self._asked_to_go_on = True
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> NoReturn:
        """Answer what http.server refuses in our form."""
        raise HttpError(code, f"request: {message or HTTPStatus(code).phrase}")

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing; see Transport.say."""


class Transport(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A server that listens; serve_forever accepts connections.

    Args:
        address: host and port; 0 picks one.
        service: answers requests.
        hosts: the names by which clients may call it; None: any.
        say: prints a line for each request; None: nothing is printed.
    Raises:
        OSError: the address cannot be used.
    """

    allow_reuse_address, allow_reuse_port = True, False
    daemon_threads, block_on_close = True, False
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        service: Service,
        hosts: frozenset[str] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        family, _, _, _, found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family = family
        self.service, self.hosts, self.verbose = service, hosts, say is not None
        self._say = say
        self.closing = False
        self._changed = threading.Condition()
        self._open: dict[socket.socket, bool] = {}  # connections, and whether each is beyond the limit
        self._idle: set[socket.socket] = set()
        self._bytes = 8 * service.limits.max_bytes  # of bodies that may be held at a time
        super().__init__(found[:2], _Handler)  # pyright: ignore[reportArgumentType]

    def say(self, line: str) -> None:
        """Print a line about a request."""
        if self._say is not None:
            self._say(printable(line))

    def get_request(self) -> Any:
        """Accept a connection; where no file is left for it, wait a little."""
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                time.sleep(0.05)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection; beyond the limit one that says so, and then none."""
        with self._changed:
            count, most = len(self._open), self.service.limits.connections
            if count < most + _SPARE:
                self._open[request] = count >= most
        if count >= most + _SPARE:
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread can be started
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, and count it no more."""
        super().shutdown_request(request)
        with self._changed:
            self._open.pop(request, None)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: the handler has reported what it could not answer."""

    def is_over(self, request: socket.socket) -> bool:
        """Whether a connection is beyond the limit."""
        return self._open.get(request, False)

    @contextlib.contextmanager
    def idle(self, request: socket.socket) -> Any:
        """Count a connection as waiting for its next request, so that drain may end it."""
        with self._changed:
            self._idle.add(request)
            if self.closing:
                request.shutdown(socket.SHUT_RD)
        try:
            yield
        finally:
            with self._changed:
                self._idle.discard(request)

    @contextlib.contextmanager
    def memory(self, size: int) -> Any:
        """Reserve memory for a body."""
        with self._changed:
            if size > self._bytes:
                raise HttpError(503, "server: too many bytes are being sent at a time; try later", Retry_After="1")
            self._bytes -= size
        try:
            yield
        finally:
            with self._changed:
                self._bytes += size

    def drain(self, seconds: float) -> bool:
        """End idle connections, and wait until the requests under way are answered; return whether all are."""
        with self._changed:
            self.closing = True
            for request in self._idle:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RD)
            return self._changed.wait_for(lambda: not self._open, seconds)

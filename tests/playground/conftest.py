"""A playground on a free port, and a page that is a program: it reads events and sends commands."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from xpnet import get_backend
from xpnet.playground import Server

JSON = {"Content-Type": "application/json"}


class Page:
    """What a page does: it listens to events on one connection, and sends commands on others."""

    def __init__(self, server: Server, session: str = "") -> None:
        self.server = server
        self._address = (server.host, server.port)
        self.connection = http.client.HTTPConnection(*self._address, timeout=60)
        self.connection.request(
            "GET", f"/{server.playground.token}/events" + (f"?session={session}" if session else "")
        )
        self.reply = self.connection.getresponse()
        self.session = self.event("hello")["session"] if self.reply.status == 200 else ""

    def next(self) -> tuple[str, Any]:
        """Read the next event: its name and value."""
        name = ""
        while line := self.reply.readline():
            if line.startswith(b"event: "):
                name = line[7:-1].decode()
            elif line.startswith(b"data: "):
                return name, json.loads(line[6:])
        raise EOFError

    def event(self, name: str, until: Callable[[Any], bool] = lambda value: True) -> Any:
        """Read events until one of a name whose value is the wanted one; return it."""
        while True:
            found, value = self.next()
            if found == name and until(value):
                return value
            assert found != "trouble" or name == "trouble", value

    def do(self, name: str, **given: Any) -> tuple[int, Any]:
        """Send a command; return the status and what was answered."""
        return self.post(json.dumps({"session": self.session, "do": name, **given}))

    def post(self, body: Any, headers: Any = JSON, path: str = "do") -> tuple[int, Any]:
        """Send a body; return the status and what was answered."""
        with contextlib.closing(http.client.HTTPConnection(*self._address, timeout=60)) as connection:
            connection.request("POST", f"/{self.server.playground.token}/{path}", body, headers)
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())

    def get(self, path: str, headers: Any = {}) -> tuple[int, dict[str, str], bytes]:  # noqa: B006
        """Ask for a path; return the status, the headers and the body."""
        with contextlib.closing(http.client.HTTPConnection(*self._address, timeout=60)) as connection:
            connection.request("GET", path, headers=headers)
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()

    def close(self) -> None:
        """Leave."""
        self.reply.close()
        self.connection.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(get_backend("cpu")) as found:
        yield found


@pytest.fixture
def page(server: Server) -> Iterator[Page]:
    found = Page(server)
    yield found
    found.close()

"""A server that listens, answers in threads, and ends without losing a request."""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
from collections.abc import Callable
from typing import Self

from xpnet import arguments
from xpnet.errors import ConfigError
from xpnet.serving.transport import Service, Transport

__all__ = ["Listener"]

_GRACE = 10.0  # seconds in which requests under way are answered at the end


class Listener:
    """Answers requests over HTTP, in threads of its own, from when it is made until it is closed.

    Args:
        name: of what is served, for errors.
        service: answers requests.
        host: the address to listen on. port: 0 picks one.
        say: called with a line for each request; None: nothing.
    Raises:
        ConfigError: the address cannot be used.
    """

    def __init__(
        self, name: str, service: Service, host: str, port: int, say: Callable[[str], None] | None = None
    ) -> None:
        self.is_local = _is_loopback(host)
        hosts = frozenset(("localhost", "127.0.0.1", "::1", host.lower())) if self.is_local else None
        try:
            self._transport = Transport((host, port), service, hosts, say)
        except OSError as error:
            do = "choose another port, or 0 for any that is free" if port else ""
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
            raise ConfigError.event(name, f"cannot listen on {host} port {port}", do, error=reason) from error
        self.host, self.port = host, int(self._transport.server_address[1])
        self._thread = threading.Thread(
            target=self._transport.serve_forever, args=(0.05,), name=f"xpnet-{name}", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it is reached, such as http://127.0.0.1:8000."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def close(self, seconds: float = _GRACE) -> bool:
        """Listen no more, answer the requests under way, and end; return whether all were answered.

        Args:
            seconds: in which they are answered.
        """
        seconds = arguments.number("Server.close", "seconds", seconds, 0)
        self._transport.shutdown()
        self._transport.server_close()
        self._thread.join()
        return self._transport.drain(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM) if host else []
    except (OSError, UnicodeError):
        found = []
    return bool(found) and all(ipaddress.ip_address(str(each[4][0]).partition("%")[0]).is_loopback for each in found)

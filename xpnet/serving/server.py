"""A server of one source: it listens, answers in threads, and ends without losing a request."""

from __future__ import annotations

import ipaddress
import os
import socket
import threading
from collections.abc import Callable
from typing import Any, Self

from xpnet import arguments
from xpnet.errors import ConfigError
from xpnet.serving.answers import Service
from xpnet.serving.limits import Limits
from xpnet.serving.sources import Source
from xpnet.serving.transport import Transport

__all__ = ["Server"]

_GRACE = 10.0  # seconds in which requests under way are answered at the end


class Server:
    """Serves predictions over HTTP, in threads of its own, from when it is made until it is closed.

    Args:
        source: what open_source gave.
        host: the address to listen on; others than loopback ones let anyone use it who reaches the machine.
        port: 0 picks one.
        limits: of requests; the defaults of Limits by default.
        say: called with a line for each request; None: nothing.
    Raises:
        ConfigError: the address cannot be used, or an argument is of another kind.
    """

    def __init__(
        self,
        source: Source,
        host: str = "127.0.0.1",
        port: int = 8000,
        limits: Limits | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        arguments.instance("Server", "source", source, kind=Source, rule="what open_source gives")
        host = arguments.text("Server", "host", host)
        port = arguments.count("Server", "port", port, 0, 65535)
        bounds = Limits() if limits is None else _limits("Server", "limits", limits)
        say = arguments.optional(arguments.function)("Server", "say", say)
        self.is_local = _is_loopback(host)
        hosts = frozenset(("localhost", "127.0.0.1", "::1", host.lower())) if self.is_local else None
        source.warm_up()
        self._service = Service(source, bounds)
        try:
            self._transport = Transport((host, port), self._service, hosts, say)
        except OSError as error:
            self._service.batcher.close()
            do = "choose another port, or 0 for any that is free" if port else ""
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
            raise ConfigError.event("serve", f"cannot listen on {host} port {port}", do, error=reason) from error
        except BaseException:
            self._service.batcher.close()
            raise
        self.host, self.port = host, int(self._transport.server_address[1])
        self._thread = threading.Thread(
            target=self._transport.serve_forever, args=(0.05,), name="xpnet-serve", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it is reached, such as http://127.0.0.1:8000."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def batches(self) -> int:
        """How many batches were predicted."""
        return self._service.batcher.batches

    def close(self, seconds: float = _GRACE) -> bool:
        """Listen no more, answer the requests under way, and end; return whether all were answered.

        Args:
            seconds: in which they are answered.
        """
        seconds = arguments.number("Server.close", "seconds", seconds, 0)
        self._transport.shutdown()
        self._transport.server_close()
        self._thread.join()
        done = self._transport.drain(seconds)
        self._service.batcher.close()
        return done

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _limits(where: str, name: str, value: Any) -> Any:
    return arguments.instance(where, name, value, kind=Limits, rule="a Limits")


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

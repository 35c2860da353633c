"""A server of one source: predictions over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet import arguments
from xpnet.serving.answers import Service
from xpnet.serving.limits import Limits
from xpnet.serving.listening import Listener
from xpnet.serving.sources import Source

__all__ = ["Server"]


class Server(Listener):
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
        source.warm_up()
        self._service = Service(source, bounds)
        try:
            super().__init__("serve", self._service, host, port, say)
        except BaseException:
            self._service.batcher.close()
            raise

    @property
    def batches(self) -> int:
        """How many batches were predicted."""
        return self._service.batcher.batches

    def close(self, seconds: float = 10.0) -> bool:
        """Listen no more, answer the requests under way, and end; return whether all were answered.

        Args:
            seconds: in which they are answered.
        """
        done = super().close(seconds)
        self._service.batcher.close()
        return done


def _limits(where: str, name: str, value: Any) -> Any:
    return arguments.instance(where, name, value, kind=Limits, rule="a Limits")

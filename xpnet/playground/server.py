"""The server of a playground: on this machine only, at an address with a random token."""

from __future__ import annotations

from collections.abc import Callable

from xpnet import arguments, kernels
from xpnet.backend import Backend
from xpnet.playground.service import Playground
from xpnet.serving.listening import Listener

__all__ = ["Server"]


class Server(Listener):
    """Serves the page, and trains what it asks for, from when it is made until it is closed.

    Args:
        backend: where networks are trained.
        port: 0 picks one.
        say: called with a line for each request; None: nothing.
    Raises:
        ConfigError: the port cannot be used.
    """

    def __init__(self, backend: Backend, port: int = 0, say: Callable[[str], None] | None = None) -> None:
        backend = arguments.instance("Server", "backend", backend, kind=Backend, rule="a Backend")
        port = arguments.count("Server", "port", port, 0, 65535)
        say = arguments.optional(arguments.function)("Server", "say", say)
        kernels.prepare(backend.xp.empty(0, device=backend.device))
        self.playground = Playground(backend)
        super().__init__("playground", self.playground, "127.0.0.1", port, say)

    @property
    def address(self) -> str:
        """The page's address, with the token without which nothing is answered."""
        return f"{self.url}/{self.playground.token}/"

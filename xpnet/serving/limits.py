"""How much of the server a client may use."""

from __future__ import annotations

from dataclasses import dataclass

from xpnet import arguments

__all__ = ["Limits"]

_DAY = 86_400.0  # seconds


@dataclass(frozen=True)
class Limits:
    """What a server takes of its clients; all else is answered by an error of one line.

    Args:
        max_bytes: of the body of a request, >= 1: 413.
        images: in a request, >= 1: 413. The pixels of each are limited as load_image limits them: 400.
        rows: in a request, >= 1: 413.
        timeout: seconds in which a request must have arrived (408), and those in which it is answered (503), > 0, less
            than a day.
        idle: seconds that a connection may wait for its next request before it is closed, > 0, less than a day.
        connections: at a time, >= 1: 503.
        queue: examples that wait for the model, >= 1: 503.
        batch: examples that are predicted at once, >= 1.
        wait: seconds that a batch waits for requests which are being read, 0 to 1.
    """

    max_bytes: int = 32 << 20
    images: int = 32
    rows: int = 10_000
    timeout: float = 30.0
    idle: float = 15.0
    connections: int = 64
    queue: int = 1024
    batch: int = 64
    wait: float = 0.004

    def __post_init__(self) -> None:
        for name in ("max_bytes", "images", "rows", "connections", "queue", "batch"):
            object.__setattr__(self, name, arguments.count("Limits", name, getattr(self, name)))
        for name in ("timeout", "idle"):
            value = arguments.number("Limits", name, getattr(self, name), 0, _DAY, above=True)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "wait", arguments.number("Limits", "wait", self.wait, 0, 1))

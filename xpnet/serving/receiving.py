"""What a connection receives, within limits of time and size."""

from __future__ import annotations

import io
import socket
import time
from typing import Any

from xpnet.serving.messages import HttpError

__all__ = ["HEAD", "Timed"]

HEAD = 1 << 16  # bytes of the first line and the headers of a request


class Timed(io.RawIOBase):
    """What a socket receives, until a point in time, and at most so many bytes."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket, self._until, self._left = connection, 0.0, 0

    def allow(self, seconds: float, size: int) -> None:
        """Start the time limit of the next bytes: so many must arrive in so many seconds."""
        self._until, self._left = time.monotonic() + seconds, size

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Receive into a buffer, and return how many bytes; TimeoutError where the time is over."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if self._left <= 0:
            raise HttpError(431, f"request: expected headers of at most {HEAD:,} bytes")
        self._socket.settimeout(left)
        count = self._socket.recv_into(buffer)
        self._left -= count
        return count

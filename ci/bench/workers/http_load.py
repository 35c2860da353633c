"""Clients of an HTTP server, each with a connection of its own that it keeps: one process, which waits by select.

{"do": "measure", "url", "body": a file, "clients", "seconds"} -> {"rate", "p50", "p99"}   requests a second, ms
"""

import re
import selectors
import socket
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

WARM = 0.3  # seconds that do not count
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Client:
    """One connection: sends a request and reads its answer."""

    def __init__(self, address: tuple[str, int], request: bytes) -> None:
        self.connection, self.request = socket.create_connection(address, timeout=30), request
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.begun, self.answer = 0.0, b""

    def send(self) -> None:
        """Begin a request."""
        self.begun, self.answer = perf_counter(), b""
        self.connection.sendall(self.request)

    def receive(self) -> bool:
        """Read what has arrived; return whether the answer is complete. ValueError: it is no success."""
        part = self.connection.recv(1 << 16)
        self.answer += part
        head, blank, body = self.answer.partition(b"\r\n\r\n")
        if not part or (blank and not head.startswith(b"HTTP/1.1 200 ")):
            raise ValueError(f"expected an answer with status 200, got {head[:80]!r}")
        length = _LENGTH.search(head) if blank else None
        return length is not None and len(body) >= int(length[1])


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Answer a request."""
    url, body = urlsplit(request["url"]), Path(request["body"]).read_bytes()
    lines = [f"POST {url.path} HTTP/1.1", f"Host: {url.netloc}", "Content-Type: image/png"]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
    address = (str(url.hostname), int(url.port or 80))
    with selectors.DefaultSelector() as ready:
        clients = [Client(address, head.encode() + body) for _ in range(request["clients"])]
        for client in clients:
            ready.register(client.connection, selectors.EVENT_READ, client)
            client.send()
        start = perf_counter() + WARM
        end, took = start + request["seconds"], []
        while (now := perf_counter()) < end:
            for key, _ in ready.select(30):
                if key.data.receive():
                    if now >= start:
                        took.append(perf_counter() - key.data.begun)
                    key.data.send()
        for client in clients:
            client.connection.close()
    took.sort()
    return {
        "rate": len(took) / request["seconds"],
        "p50": 1e3 * took[len(took) // 2],
        "p99": 1e3 * took[min(len(took) - 1, len(took) * 99 // 100)],
    }

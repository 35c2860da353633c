"""Server-sent events: messages to a page, one after another, over a connection that stays open."""

from __future__ import annotations

from typing import Any

from xpnet.output import to_json

__all__ = ["BEAT", "encode_event"]

BEAT = b":\n\n"  # a comment, which pages pass over: it shows whether the page is still there


def encode_event(name: str, value: Any) -> bytes:
    """Return an event with a value as JSON on one line; NaN and infinite numbers are null."""
    return f"event: {name}\ndata: {to_json(value)}\n\n".encode()

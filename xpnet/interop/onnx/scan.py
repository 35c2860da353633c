"""A look at a file before it is parsed: whether it is cut, and whether it unpacks to far more than its bytes.

An empty message takes two bytes of a file and a hundred of memory, so a parser must not see a file of millions of them.
This follows the framing only: numbers of fields and lengths.
"""

from __future__ import annotations

from typing import Any

from xpnet.errors import DataError

__all__ = ["scan"]

_MOST_FIELDS = 3_000_000  # of messages within messages; a network of 1,000 nodes has some 20,000
_DEEPEST = 60  # messages within messages


def scan(where: str, data: bytes, descriptor: Any) -> None:
    """Go over the fields of a message.

    Args:
        where: the file, for messages.
        data: its bytes.
        descriptor: of the message, which says what fields hold messages.
    Raises:
        DataError: the bytes end within a field or hold none, or there are too many fields or levels.
    """
    messages: dict[str, dict[int, Any]] = {}
    spans = [(0, len(data), descriptor, 0)]
    count = 0
    while spans:
        at, end, kind, level = spans.pop()
        if level > _DEEPEST:
            raise DataError(where, f"messages nested {_DEEPEST} deep at most")
        fields = messages.get(kind.full_name)
        if fields is None:
            fields = messages[kind.full_name] = {f.number: f.message_type for f in kind.fields if f.message_type}
        while at < end:
            count += 1
            if count > _MOST_FIELDS:
                raise DataError(where, f"a file of at most {_MOST_FIELDS:,} fields", bytes=f"{len(data):,}")
            tag, at = _varint(where, data, at, end)
            wire, number = tag & 7, tag >> 3
            if wire == 0:
                _, at = _varint(where, data, at, end)
            elif wire == 1 or wire == 5:
                at += 8 if wire == 1 else 4
            elif wire == 2:
                size, at = _varint(where, data, at, end)
                if number in fields and at + size <= end:
                    spans.append((at, at + size, fields[number], level + 1))
                at += size
            else:
                raise _cut(where, data)
            if at > end:
                raise _cut(where, data)


def _varint(where: str, data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise _cut(where, data)


def _cut(where: str, data: bytes) -> DataError:
    do = "it may be truncated: use another copy"
    return DataError.event(where, "not a complete ONNX file", do, bytes=f"{len(data):,}")

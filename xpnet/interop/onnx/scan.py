"""A look at a file before it is parsed: whether it is cut, and whether it unpacks to far more than its bytes.

An empty message takes two bytes of a file and a hundred of memory, so a parser must not see a file of millions of them.
This follows the framing only: numbers of fields and lengths.
"""

from __future__ import annotations

from typing import Any

from xpnet.errors import DataError

__all__ = ["scan"]

_MOST_FIELDS = 2_000_000  # of messages within messages; a network of 1,000 nodes has some 20,000
_TEXT = "text"
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
    open_messages = [(len(data), _messages(messages, descriptor))]
    at = count = 0
    while open_messages:
        end, fields = open_messages.pop()
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
                kind = fields.get(number)
                if kind is _TEXT:
                    if not _is_text(data[at : min(end, at + size)]):
                        raise DataError(where, "texts in UTF-8", field=number)
                    at += size
                elif kind is not None and 0 < size <= end - at:
                    open_messages.append((end, fields))
                    end, fields = at + size, _messages(messages, kind)
                    if len(open_messages) > _DEEPEST:
                        raise DataError(where, f"messages nested {_DEEPEST} deep at most")
                else:
                    at += size
            else:
                raise _cut(where, data)
            if at > end:
                raise _cut(where, data)


def _messages(known: dict[str, dict[int, Any]], kind: Any) -> dict[int, Any]:
    """Return which fields of a message hold messages, and of what kind, and which hold texts."""
    found = known.get(kind.full_name)
    if found is None:
        found = known[kind.full_name] = {
            f.number: f.message_type or _TEXT for f in kind.fields if f.message_type or f.type == f.TYPE_STRING
        }
    return found


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


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

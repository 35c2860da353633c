"""A strict reader of multipart/form-data (RFC 7578), the form in which browsers and curl -F send several files."""

from __future__ import annotations

import re
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import NamedTuple

from xpnet.serving.messages import HttpError

__all__ = ["Part", "read_multipart"]

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")  # RFC 2046, section 5.1.1
_HEAD = 4096  # bytes of the header of a part


class Part(NamedTuple):
    """One file of a form: its name, which may be "", and its content."""

    name: str
    content: bytes


def read_multipart(body: bytes, content_type: str, most: int) -> list[Part]:
    """Split a body into its files.

    Args:
        body: with CRLF lines.
        content_type: the header, which names the boundary.
        most: how many files.
    Raises:
        HttpError: 400, the body does not have this form, or a part is no file; 413, there are more than most.
    """
    boundary = _parameter("Content-Type", content_type, "boundary")
    if boundary is None or not _BOUNDARY.fullmatch(boundary):
        raise HttpError(400, "Content-Type: expected multipart/form-data with a boundary of 1 to 70 characters")
    mark = b"\r\n--" + boundary.encode()
    sections = (b"\r\n" + body).split(mark, most + 2)  # before the first, each part, and what follows the last
    if len(sections) == 1:
        raise HttpError(400, "body: expected the boundary that Content-Type names")
    *sections, last = sections[1:]
    if len(sections) > most:
        raise HttpError(413, f"body: expected at most {most:,} files")
    if not last.startswith(b"--"):
        raise HttpError(400, "body: expected the boundary and -- at its end")
    if not sections:
        raise HttpError(400, "body: expected files, got none")
    return [_part(section) for section in sections]


def _part(section: bytes) -> Part:
    line, _, rest = section.partition(b"\r\n")  # what follows a boundary: nothing but white space
    head, blank, content = rest.partition(b"\r\n\r\n")
    if line.strip(b" \t") or not blank or len(head) > _HEAD:
        raise HttpError(400, f"body: expected parts with a header of at most {_HEAD} bytes and an empty line after it")
    values: dict[str, str] = {}
    for each in head.decode("utf-8", "replace").split("\r\n"):
        name, colon, value = each.partition(":")
        values[name.strip().lower()] = value.strip()
        if not colon:
            raise HttpError(400, "body: expected lines of name: value in the header of a part")
    disposition = values.get("content-disposition", "")
    if not disposition.lower().startswith("form-data") or values.get("content-transfer-encoding", "binary") != "binary":
        raise HttpError(400, "body: expected parts with Content-Disposition: form-data, not encoded")
    name = _parameter("Content-Disposition", disposition, "filename")
    if name is None:
        raise HttpError(400, "body: expected files only, got a part without filename; top=K belongs into the query")
    return Part(name, content)


def _parameter(header: str, value: str, name: str) -> str | None:
    message = Message()
    message[header] = re.sub(r"[\r\n]", " ", value)
    found = message.get_param(name, header=header)
    return None if found is None else collapse_rfc2231_value(found)

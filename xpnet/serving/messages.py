"""What goes over the wire: JSON both ways, and the errors of HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple, NoReturn

from xpnet.output import printable, to_json

__all__ = ["Answer", "HttpError", "Request", "json_answer", "read_json", "rows_of"]

JSON = "application/json"


class Request(NamedTuple):
    """What is known of a request before its body.

    Args:
        method, path, query: of its first line. headers: by name, in lower case.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]

    @property
    def kind(self) -> str:
        """The type of the content, in lower case, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Answer(NamedTuple):
    """The answer to a request.

    Args:
        status: of HTTP. body: bytes. kind: the type of the content. headers: further ones.
        stream: gives the parts of a body that has no end, instead of body; closed once the client has gone, which is
            seen when it gives a part, b"" too.
    """

    status: int
    body: bytes
    kind: str = JSON
    headers: Mapping[str, str] = {}
    stream: Iterator[bytes] | None = None


class HttpError(Exception):
    """A request that is answered by an error.

    Args:
        status: of HTTP, 400 or above.
        message: one line for the client.
        headers: further ones, such as Allow.
    """

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message = int(status), printable(message)
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    @property
    def answer(self) -> Answer:
        """The answer: {"error": one line}."""
        return json_answer({"error": self.message}, self.status, self.headers)


def json_answer(value: Any, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an answer of JSON, on one line; NaN and infinite numbers are null."""
    return Answer(int(status), to_json(value).encode() + b"\n", JSON, headers or {})


def read_json(body: bytes) -> Any:
    """Read a body of JSON: UTF-8, without NaN, and no name twice in an object.

    Raises:
        HttpError: 400, it is no JSON.
    """
    try:
        return json.loads(
            body.decode("utf-8-sig"), object_pairs_hook=_object, parse_int=_integer, parse_constant=_refuse
        )
    except UnicodeDecodeError as error:
        raise HttpError(400, f"body: expected JSON in UTF-8, got byte {error.object[error.start]:#x}") from None
    except RecursionError:
        raise HttpError(400, "body: expected JSON of fewer nested lists") from None
    except ValueError as error:
        raise HttpError(400, f"body: expected JSON: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"the name {twice[:80]!r} occurs twice in an object")
    return found


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < 400 else float(digits)  # infinite


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON; of a table, null is a missing value")


def rows_of(value: Any, most: int) -> list[Any]:
    """Return the rows of a request: the list itself, or that under "rows".

    Raises:
        HttpError: 400, there are none; 413, there are more than most.
    """
    if isinstance(value, dict):
        if other := [name for name in value if name != "rows"]:
            raise HttpError(400, f'body: expected {{"rows": [...]}}, got the name {other[0][:80]!r}')
        value = value.get("rows", value)
    if not isinstance(value, list) or not value:
        raise HttpError(400, f'body: expected {{"rows": [...]}} or a list of rows, got {_kind(value)}')
    if len(value) > most:
        raise HttpError(413, f"body: expected at most {most:,} rows, got {len(value):,}")
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an empty list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")

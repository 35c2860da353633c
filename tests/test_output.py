"""Text for people: escapes, JSON, streams that fail."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest

from xpnet.errors import ConfigError
from xpnet.output import Lenient, printable, to_json

HOSTILE = ["\x1b[2J", "\x07", "a\rb", "\x9b31m", "\x7f", "\u202egnp", "\u2028", "\udc80", "\0", "a\nb"]


@pytest.mark.parametrize("text", HOSTILE)
def test_control_characters_are_escaped_and_other_letters_stay(text):
    shown = printable(f"é猫 {text}")
    assert shown.startswith("é猫 ")
    assert shown.isprintable()
    assert str(ConfigError("where", "rule", name=text)).isprintable()


def test_json_holds_null_for_what_is_no_number_at_any_depth():
    value = {"a": [math.nan, (1.5, math.inf)], "b": {"c": float(np.float64(-np.inf))}}
    assert json.loads(to_json(value)) == {"a": [None, [1.5, None]], "b": {"c": None}}


class Full(io.StringIO):
    """A stream on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


def closed_file() -> io.TextIOWrapper:
    stream = io.TextIOWrapper(io.BytesIO())
    stream.close()
    return stream


@pytest.mark.parametrize("make", [Full, closed, closed_file, lambda: None], ids=["full", "closed", "file", "none"])
def test_a_stream_that_fails_takes_text_and_drops_it(make):
    stream = Lenient(make())
    print("text", file=stream, flush=True)
    print("more", file=stream, flush=True)


def test_characters_that_an_encoding_lacks_are_written_as_escapes():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "cp1252")
    print("é猫\udc80", file=Lenient(stream), flush=True)
    assert raw.getvalue().split() == [b"\xe9\\u732b\\udc80"]

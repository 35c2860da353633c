"""Text for people: escapes, JSON, streams that fail."""

from __future__ import annotations

import ast
import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from xpnet import output
from xpnet.errors import ConfigError
from xpnet.output import Lenient, counted, printable, to_json

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


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [(0, "file", "0 files"), (1, "class", "1 class"), (2, "class", "2 classes"), (3, "batch", "3 batches"),
     (1, "batch", "1 batch"), (1000, "epoch", "1,000 epochs")],
)  # fmt: skip
def test_what_is_counted_is_one_or_several(count, noun, text):
    assert counted(count, noun) == text


_PLURALS = (
    "arrays batches cells channels classes columns epochs examples files filters folders groups images inputs labels "
    "layers lines models neurons nodes numbers outputs parameters pictures rows runs scores steps targets texts "
    "threads updates values weights workers"
).replace(" ", "|")
_TEXTS = ("name", "part", "what", "counts", "examples", "most")  # variables that hold no number


def _plurals(file: Path) -> Iterator[str]:
    """Find texts that put a number before a noun in the plural, unless it is a constant, or one of several."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and re.search(rf"(?<! of )%d ({_PLURALS})\b", str(node.value)):
            yield f"{file.name}: {node.value}"
        values = node.values if isinstance(node, ast.JoinedStr) else []
        for before, value, after in zip([None, *values], values, values[1:], strict=False):
            if not (isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant)):
                continue
            if not re.match(rf" ({_PLURALS})\b(?!/)", str(after.value)):
                continue
            name = ast.unparse(value.value)
            is_share = isinstance(before, ast.Constant) and str(before.value).endswith((" of ", " to "))
            is_constant = name in _TEXTS or ".join(" in name or re.fullmatch(r"[A-Z_\d /<>*+-]+", name)
            if not is_share and not is_constant:
                yield f"{file.name}: {name} {after.value}"


def test_every_count_in_a_message_is_written_by_one_function():
    folder = Path(output.__file__).parent
    assert [line for file in sorted(folder.rglob("*.py")) for line in _plurals(file)] == []

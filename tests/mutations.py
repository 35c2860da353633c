"""Mutations of files and of JSON, drawn by hypothesis: what damage, a bad program or an enemy leaves behind."""

from __future__ import annotations

import copy
import json
import struct
from typing import Any

from hypothesis import strategies as st

NUMBERS = (0, 1, 2, 127, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
NESTED: Any = []
for _ in range(300):
    NESTED = [NESTED]
WORDS = ("", "x", "cpu", "\x1b[31mred\x1b[0m", "a\nb", "../../x", "\ud800")
LEAVES = (None, True, False, 0, -1, 1, 1.5, 10**9, 10**12, 10**30, 1e308, float("nan"), float("inf"), *WORDS,
          [], [0], [-1, 2], ["x", "x"], {}, {"x": 1}, [[[]]], NESTED)  # fmt: skip


@st.composite
def mutated_bytes(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file's bytes after one to three mutations, half of them within the first 200 bytes, where headers are."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        top = len(data) if draw(st.booleans()) else min(200, len(data))
        at = draw(st.integers(0, max(0, top - 1)))
        kind = draw(st.sampled_from(("flip", "cut", "number", "remove", "repeat", "insert", "zero", "digits")))
        size = draw(st.sampled_from((1, 2, 3, 4, 8, 16, 100)))
        if kind == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[at:]
        elif kind == "number":
            code = draw(st.sampled_from(("<B", ">H", "<H", ">I", "<I", ">Q", "<Q")))
            number = draw(st.sampled_from(NUMBERS)) % 2 ** (8 * struct.calcsize(code))
            data[at : at + struct.calcsize(code)] = struct.pack(code, number)
        elif kind == "remove":
            del data[at : at + size]
        elif kind == "repeat":
            data[at:at] = data[at : at + size]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=size))
        elif kind == "zero":
            data[at : at + size] = bytes(len(data[at : at + size]))
        else:  # a number in text, such as a shape or a size, becomes a large one
            places = [i for i, byte in enumerate(data[:2000]) if 48 <= byte <= 57]
            if places:
                i = draw(st.sampled_from(places))
                data[i : i + 1] = draw(st.sampled_from((b"999999999999", b"-1", b"0", b"9", b"1e99")))
    return bytes(data)


@st.composite
def mutated_json(draw: st.DrawFn, document: dict[str, Any]) -> dict[str, Any]:
    """A JSON document in which one or two entries, at any depth, are replaced, removed or added."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 2))):
        places = list(_places(document))
        holder, key = draw(st.sampled_from(places))
        kind = draw(st.sampled_from(("replace", "replace", "replace", "remove", "add", "near")))
        value = holder[key]
        if kind == "remove":
            del holder[key]
        elif kind == "add" and isinstance(holder, dict):
            holder["unknown"] = copy.deepcopy(draw(st.sampled_from(LEAVES)))
        elif kind == "near" and isinstance(value, int | float) and not isinstance(value, bool):
            holder[key] = draw(
                st.sampled_from((value + 1, -value, value * 1000, float(value) + 0.5, str(value), [value]))
            )
        else:
            holder[key] = copy.deepcopy(draw(st.sampled_from(LEAVES)))
        if not document:
            break
    return document


def _places(value: Any) -> Any:
    """Each entry of a document, as (the dictionary or list that holds it, its key)."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in [*entries][:40]:
        yield value, key
        yield from _places(inner)


def as_text(document: Any) -> str:
    """JSON as Python writes it: with NaN, infinities and single surrogates."""
    return json.dumps(document)

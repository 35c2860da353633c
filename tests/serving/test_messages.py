"""JSON as it is read and written."""

from __future__ import annotations

import math

import pytest

from xpnet.serving.messages import HttpError, json_answer, read_json, rows_of


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "Expecting value"),
        (b"[1, 2", "delimiter"),
        (b"[NaN]", "NaN is no number of JSON"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b'{"a": 1, "a": 2}', "'a' occurs twice"),
        (b"[" * 100_000, "fewer nested lists"),
        (b"\xff\xfe", "UTF-8, got byte 0xff"),
        (b"[1] x", "Extra data"),
    ],
    ids=range(8),
)
def test_what_is_no_json_is_one_line(body, words):
    with pytest.raises(HttpError, match=words) as error:
        read_json(body)
    assert error.value.status == 400
    assert error.value.answer.body.count(b"\n") == 1


def test_whole_numbers_are_exact_and_those_beyond_all_floats_infinite():
    assert read_json(b"[12345678901234567890, -7, 1e400]") == [12345678901234567890, -7, math.inf]
    assert read_json(b"[" + b"1" * 5000 + b"]") == [math.inf]


def test_rows_are_a_list_or_under_their_name():
    assert rows_of([[1]], 1) == rows_of({"rows": [[1]]}, 1) == [[1]]
    with pytest.raises(HttpError, match="got an object"):
        rows_of({}, 1)
    with pytest.raises(HttpError) as error:
        rows_of([1, 2], 1)
    assert error.value.status == 413


def test_numbers_that_json_lacks_are_null():
    assert json_answer({"a": [math.nan, math.inf, 1.5]}).body == b'{"a": [null, null, 1.5]}\n'

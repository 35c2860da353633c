"""Damaged and odd tables and files of labels: a set of finite numbers, or one line that says what is wrong.

XPNET_FUZZ=50 tries 50 times as many; ci/test-long does.
"""

from __future__ import annotations

import json
import logging
import os

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tests.data.test_image import picture
from xpnet.data import LoadOptions, splits
from xpnet.errors import XpnetError

FIELDS = ["", "nan", "inf", "-1e999", "9" * 400, "\0", '"', '""', "a,b", "\n", "\r", "é", "-", "1,5", "2020-01-01",
          "True", "=1+1", " ", "\ufeff", "1e-320", "0x10", "../x.png", "/etc/passwd", "0.png", "x" * 5000, "none",
          "\U0001d7d9"]  # fmt: skip
ROWS = [["name", "size", "kind", "weight"]]
ROWS += [[f"{i}.png", str(i / 4), "ab"[i % 2], str(i % 3)] for i in range(12)]
KINDS = ("t.csv", "labels.csv", "labels.jsonl")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    for i in range(12):
        picture(folder / "photos" / f"{i}.png", 20 * i)
    return folder


def text_of(kind: str, rows: list[list[str]]) -> str:
    if kind.endswith(".csv"):
        return "\n".join(",".join(row) for row in rows)
    return "\n".join(json.dumps(dict(zip(rows[0], row, strict=False))) for row in rows[1:])


edits = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3), st.sampled_from(FIELDS)), max_size=6)
cuts = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 40), st.binary(max_size=6)), max_size=3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_table_is_a_set_or_is_refused_in_one_line(folder, kind, caplog):
    caplog.set_level(logging.CRITICAL, "xpnet")

    @hypothesis.settings(max_examples=150 * int(os.environ.get("XPNET_FUZZ", "1")), deadline=None, derandomize=True)
    @hypothesis.given(edits, cuts, st.sampled_from(["kind", "weight", "size", "kind,weight", "nothing", None]))
    def check(edits, cuts, target):
        rows = [list(row) for row in ROWS]
        for row, column, value in edits:
            rows[row][column] = value
        raw = text_of(kind, rows).encode()
        for place, length, new in cuts:
            raw = raw[:place] + new + raw[place + length :]
        path = folder / ("photos" if kind != "t.csv" else "") / kind
        path.write_bytes(raw)
        try:
            found = splits(
                folder / "t.csv" if kind == "t.csv" else folder / "photos", options=LoadOptions(target=target)
            )
            for part in (found.train, found.validation, found.test):
                if part is not None:
                    assert len(part.x) == len(part.y) > 0
                    assert np.isfinite(np.asarray(part.x[:], np.float64)).all()
                    assert part.labelled == (part.y.dtype.kind != "f")
                    assert np.isfinite(part.y).all()
        except XpnetError as error:
            said = str(error)
        else:
            said = ""
        finally:
            path.unlink()
        assert said == "" or said.isprintable(), said
        assert len(said) < 4000, said

    check()

"""xpnet data: what is found, as lines, a page or JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("typer")

from xpnet.cli.commands import run


def call(capsys, *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        run(["data", *words])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_lines_say_what_was_found(capsys):
    code, out, err = call(capsys, "digits")
    assert (code, err) == (0, "")
    assert "1,293 training, 144 validation, 360 test examples" in out


def test_a_page_is_written(capsys, tmp_path):
    code, out, _ = call(capsys, "digits", "-o", str(tmp_path / "page.html"), "--augment", "none")
    assert code == 0
    assert "page.html" in out
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")


def test_json_is_one_document(capsys):
    code, out, _ = call(capsys, "moons", "--json")
    assert code == 0
    assert json.loads(out)["parts"] == {"training": 2880, "validation": 320, "test": 800}


def test_a_table_needs_no_target(capsys, tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "\n".join(f"{i},{i % 3}" for i in range(20)))
    code, out, _ = call(capsys, str(tmp_path / "t.csv"))
    assert code == 0
    assert "20 rows, 2 columns" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("digits", "--augment", "lihgt"), "did you mean 'light'"),
        (("digits", "-o", "page.png"), "ends in .html"),
        (("digist",), "did you mean 'digits'"),
        (("digits", "--image-size", "0"), "--image-size"),
        (("digits", "-o", "no/such/folder/page.html"), "cannot be written"),
    ],
)
def test_bad_input_is_one_line(capsys, words, told):
    code, out, err = call(capsys, *words)
    assert code == 2
    assert told in err
    assert err.count("\n") == 1
    assert "Traceback" not in out + err


def test_duplicates_are_counted(capsys, tmp_path):
    x = np.arange(400, dtype=np.uint8).reshape(25, 4, 4, 1)
    np.savez(tmp_path / "d.npz", x=np.concatenate([x, x[:2]]), y=np.arange(27) % 3)
    assert "duplicates: " in call(capsys, str(tmp_path / "d.npz"))[1]

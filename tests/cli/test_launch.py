"""xpnet launch: its options, and runs in several processes."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["-n", 2, "--", "trian"], "launch: expected train, evaluate, predict or a Python file, got command 'trian'; "
                                   "did you mean 'train'?"),
        (["-n", 2, "--", "none.py"], "none.py: no such file"),
        (["-n", 0, "--", "train"], "launch: expected a whole number processes >= 1, got --processes 0"),
        (["-n", 2, "--restarts", -1, "--", "train"], "launch: expected a whole number restarts >= 0, got "
                                                      "--restarts -1"),
        (["-n", "two", "--", "train"], "--processes: expected a whole number, got --processes 'two'"),
        (["--", "train"], "launch: an argument is missing: --processes; see xpnet launch --help"),
        (["-n", 2], "launch: an argument is missing: COMMAND; see xpnet launch --help"),
    ],
    ids=["command", "no file", "no process", "restarts", "no number", "no count", "nothing"],
)  # fmt: skip
def test_bad_options_are_one_line(refused, words, line):
    assert refused(["launch", *words]) == f"xpnet: {line}\n"

"""xpnet launch: its options, and runs in several processes."""

from __future__ import annotations

import sys

import pytest

from xpnet.distributed.program import check_shards


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["-n", 2, "--", "trian"], "launch: expected train, evaluate, predict or a Python file, got command 'trian'; "
                                   "did you mean 'train'?"),
        (["-n", 2, "--", "python3", "a.py"], "launch: expected train, evaluate, predict or a Python file, got command "
                                             "'python3'; leave out 'python3': a Python file follows -- directly"),
        (["-n", 2, "--", sys.executable, "a.py"], "launch: expected train, evaluate, predict or a Python file, got "
                                                  f"command {sys.executable!r}; leave out {sys.executable!r}: a Python "
                                                  "file follows -- directly"),
        (["-n", 2, "--", "none.py"], "none.py: no such file"),
        (["-n", 0, "--", "train"], "launch: expected a whole number processes >= 1, got --processes 0"),
        (["-n", 2, "--restarts", -1, "--", "train"], "launch: expected a whole number restarts >= 0, got "
                                                      "--restarts -1"),
        (["-n", 9, "--", "train", "cnn"], "launch: expected at most as many processes as shards, got --processes 9, "
                                          "--shards 8; ask for more shards, or --shards 1 for none"),
        (["-n", 3, "--", "train", "--shards=2"], "launch: expected at most as many processes as shards, got "
                                                 "--processes 3, --shards 2; ask for more shards, or --shards 1 for "
                                                 "none"),
        (["-n", "two", "--", "train"], "--processes: expected a whole number, got --processes 'two'"),
        (["--", "train"], "launch: an argument is missing: --processes; see xpnet launch --help"),
        (["-n", 2], "launch: an argument is missing: COMMAND; see xpnet launch --help"),
    ],
    ids=["command", "python", "this Python", "no file",
         "no process", "restarts", "shards", "given shards", "no number", "no count", "nothing"],
)  # fmt: skip
def test_bad_options_are_one_line(refused, words, line):
    assert refused(["launch", *words]) == f"xpnet: {line}\n"


def test_as_many_processes_as_a_training_may_have_are_started():
    for words in ("--shards 1", "--shards 16", "--resume run", "--shards x"):
        check_shards(["train", *words.split()], 9)
    check_shards(["evaluate", "run"], 9)


COMMANDS = (
    "devices", "summary mlp", "draw mlp -o net.svg", "runs", "compare a b -o both.svg", "data digits -o digits.html",
    "export run -o net.onnx", "serve run", "playground", "launch -n 2 -- train", "--help", "--version", "trian",
)  # fmt: skip


def test_of_several_processes_the_first_runs_what_they_do_not_run_together(xpnet, here, monkeypatch):
    alone = xpnet("summary", "mlp")
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setenv("PMI_RANK", "1")
    for words in COMMANDS:
        assert xpnet(*words.split()) == (0, "", ""), words
    assert list(here.iterdir()) == []
    monkeypatch.setenv("PMI_RANK", "0")
    assert xpnet("summary", "mlp") == alone
    assert xpnet("trian").code == 2

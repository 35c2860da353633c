"""The help of the command line."""

from __future__ import annotations

import re
import shlex

import pytest

from xpnet.cli.commands import _command
from xpnet.cli.help import EXAMPLES


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_lists_the_commands(xpnet, words):
    result = xpnet(*words)
    assert result.code == 0
    assert result.err == ""
    for command in ("train", "evaluate", "predict", "devices"):
        assert command in result.out


def test_help_of_train_lists_its_options(xpnet):
    result = xpnet("train", "--help")
    assert result.code == 0
    for option in ("data", "data-dir", "backend", "device", "epochs", "batch-size", "optimizer", "lr", "seed", "out",
                   "resume", "json"):  # fmt: skip
        assert f"--{option}" in result.out


def test_the_commands_are_described_in_full_with_an_example_of_each(xpnet):
    out = " ".join(xpnet("--help").out.split())
    for name, command in _command().commands.items():
        assert command.get_short_help_str(limit=1000) in out
        if name in EXAMPLES:
            assert EXAMPLES[name][0] in out
    assert "..." not in out.replace("[ARGS]...", "")


@pytest.mark.parametrize("name", _command().commands)
def test_h_is_help_of_each_command(name, xpnet):
    short, long = xpnet(name, "-h"), xpnet(name, "--help")
    assert short == long
    assert short.code == 0
    assert "-h, --help" in short.out


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_each_example_is_read_without_an_error_and_stands_in_one_line_of_its_help(line, xpnet):
    _, name, *words = shlex.split(line)
    _command().commands[name].make_context(name, words)
    assert f"  {line}\n" in xpnet(name, "--help").out


@pytest.mark.parametrize("columns", [40, 60, 80])
@pytest.mark.parametrize("name", ["", *_command().commands])
def test_no_line_of_the_help_ends_within_a_name_or_a_default(name, columns, xpnet, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = xpnet(*([name] if name else []), "--help").out.splitlines()
    assert [line for line in lines if line.endswith("-")] == []
    assert [line for line in lines if line.count("[default:") != len(re.findall(r"\[default: [^\]]+\]", line))] == []

"""The help of the command line."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("words", [(), ("--help",)])
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

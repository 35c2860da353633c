"""Which program the words after ``xpnet launch`` name, and whether so many processes can run it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from xpnet.distributed.launched import SHARDS
from xpnet.errors import ConfigError, nearest

__all__ = ["check_shards", "is_command", "program_of"]

_PYTHON = re.compile(r"(python|pypy)[\d.]*t?(\.exe)?")
_COMMANDS = ("train", "evaluate", "predict")


def program_of(words: Sequence[str]) -> list[str]:
    """Return the words that run a command of xpnet or a Python file in one process.

    Args:
        words: "train", "evaluate" or "predict" with their options, or a Python file with its own.
    Raises:
        ConfigError: they name neither.
    """
    if not words:
        raise ConfigError("launch", f"{', '.join(_COMMANDS)} or a Python file after --", command="none")
    first = words[0]
    if first in _COMMANDS:
        is_module = Path(sys.argv[0]).name == "__main__.py"  # python -m xpnet also finds xpnet in the folder it is in
        return [sys.executable, *([] if is_module else ["-P"]), "-m", "xpnet", *words]
    if not first.endswith(".py"):
        do = _advice(first)
        raise ConfigError("launch", "train, evaluate, predict or a Python file", do, command=repr(first))
    if not os.path.isfile(first):
        raise ConfigError.event(first, "no such file")
    return [sys.executable, *words]


def _advice(first: str) -> str:
    """Say what to write for a first word that is neither a command nor a Python file."""
    name = os.path.basename(first)
    if _PYTHON.fullmatch(name) or name == os.path.basename(sys.executable):
        return f"leave out {first!r}: a Python file follows -- directly"
    return nearest(first, _COMMANDS) if not os.path.exists(first) else "the name of a Python file ends in .py"


def is_command(words: Sequence[str]) -> bool:
    """Whether the words are a command of xpnet, not a Python file."""
    return words[0] in _COMMANDS


def check_shards(words: Sequence[str], processes: int) -> None:
    """Raise ConfigError where a training has more processes than shards; of one that is resumed, its run decides.

    Args:
        words: as program_of takes them.
        processes: how many.
    """
    joined = [word for option in words[1:] for word in option.split("=", 1)]
    if words[0] != "train" or "--resume" in joined:
        return
    given = joined[joined.index("--shards") + 1 :] if "--shards" in joined else [str(SHARDS)]
    if given and given[0].isdecimal() and 1 < int(given[0]) < processes:
        do = "ask for more shards, or --shards 1 for none"
        got = {"processes": processes, "--shards": given[0]}
        raise ConfigError("launch", "at most as many processes as shards", do, **got)

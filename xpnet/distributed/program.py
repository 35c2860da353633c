"""Which program the words after ``xpnet launch`` name."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from xpnet.errors import ConfigError, nearest

__all__ = ["program_of"]

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
        do = nearest(first, _COMMANDS) if not os.path.exists(first) else "the name of a Python file ends in .py"
        raise ConfigError("launch", "train, evaluate, predict or a Python file", do, command=repr(first))
    if not os.path.isfile(first):
        raise ConfigError.event(first, "no such file")
    return [sys.executable, *words]

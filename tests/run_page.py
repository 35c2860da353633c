"""Run a page in the current folder: its Python blocks and the commands after "$ ", in order, in one process.

    python run_page.py README.md

What a page shows below a command, and in a block of "text" below a Python block, is what it prints. Each difference and
each error is printed with its line of the page; the exit code is then 1.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import traceback
from typing import Any

from pages import Block, blocks, commands, difference, read

LOOKING = ("ls", "head", "cat")  # commands of the shell that a page may use to show a file
HOME = "/home/me"  # what a page shows in the place of the current folder
PROGRAMS = {"xpnet": [], "ci/train": ["train"]}  # what each is a command of xpnet for


def run_python(block: Block, page: str, names: dict[str, Any]) -> str:
    """Run a block of Python among the names of those before it; return what it printed."""
    printed = io.StringIO()
    code = compile("\n" * (block.line - 1) + block.text, page, "exec")
    with contextlib.redirect_stdout(printed):
        exec(code, names)
    return printed.getvalue()


def run_command(words: list[str]) -> str:
    """Run a command of xpnet, or one that looks at files; return what it printed on both streams."""
    if words[0] in LOOKING:
        done = subprocess.run(" ".join(words), shell=True, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr
    from xpnet.cli.commands import run

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), contextlib.suppress(SystemExit):
        run([*PROGRAMS[words[0]], *words[1:]])
    return printed.getvalue()


def run_page(page: str) -> list[str]:
    """Run a page; return a text for each difference."""
    names: dict[str, Any] = {"__name__": "__main__"}
    found, all_blocks = [], blocks(read(page))
    for block, after in zip(all_blocks, [*all_blocks[1:], None], strict=True):
        if block.language == "python":
            printed = run_python(block, page, names)
            if after is not None and after.language == "text":
                what = difference(after.text, printed)
                found += [f"{page}, line {after.line}: {what}"] if what else []
        for command in commands(block):
            if command.output is not None and command.words[0] in (*PROGRAMS, *LOOKING):
                printed = run_command(command.words).replace(os.getcwd(), HOME)
                what = difference(command.output, printed)
                found += [f"{page}, line {command.line}: {what}"] if what else []
    return found


if __name__ == "__main__":
    try:
        different = run_page(sys.argv[1])
    except BaseException:
        traceback.print_exc()
        sys.exit(1)
    print("\n".join(different))
    sys.exit(bool(different))

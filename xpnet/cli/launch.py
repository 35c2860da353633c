"""xpnet launch."""

from __future__ import annotations

import subprocess
from functools import partial
from typing import Annotated

import typer

from xpnet.cli.options import print_line

__all__ = ["launch"]


def launch(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="COMMAND", help="train, evaluate or predict with their options; or a Python file with its own."
        ),
    ],
    processes: Annotated[int, typer.Option("-n", "--processes", help="How many processes.", metavar="N")],
    hosts: Annotated[
        str | None, typer.Option(help="Machines to run on, which share the folder; this one by default.", metavar="A,B")
    ] = None,
    restarts: Annotated[
        int, typer.Option(help="Start again so often after a fault, from the last checkpoint.", metavar="N")
    ] = 0,
    elastic: Annotated[
        bool, typer.Option("--elastic", help="Start again with the processes that are left.", show_default=False)
    ] = False,
) -> int:
    """Run a command of xpnet, or a Python file, in several processes, by mpiexec."""
    from xpnet.distributed.program import check_shards, is_command, program_of
    from xpnet.distributed.supervisor import Group, supervise

    group = Group(processes, tuple(hosts.split(",")) if hosts else (), restarts, elastic)
    own = None if "-" in words else subprocess.DEVNULL  # predict reads names; else the input is left to a shell's loop
    say = partial(print_line, to_people_only=True)
    program = program_of(words)
    check_shards(words, processes)
    return supervise(program, group, say=lambda line: say(f"xpnet: launch: {line}"), stdin=own, joins=is_command(words))

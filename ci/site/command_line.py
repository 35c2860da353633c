"""The page of the command line: every command with its help, options and examples, from the program itself."""

from __future__ import annotations

import functools
from typing import Any

import typer.main

from xpnet.cli.commands import app
from xpnet.cli.help import EXAMPLES

__all__ = ["command_page", "commands", "groups_of"]


@functools.cache
def program() -> Any:
    """Return the whole program as click knows it."""
    return typer.main.get_command(app)


def commands() -> list[tuple[str, Any]]:
    """Return every command with its name, such as "train" or "exercises start"; a group comes before its commands."""
    found: list[tuple[str, Any]] = []
    for name, command in program().commands.items():
        found.append((name, command))
        found += [(f"{name} {inner}", below) for inner, below in getattr(command, "commands", {}).items()]
    return found


def command_page() -> str:
    """Write the page."""
    lines = ["Commands and options", "====================", "", program().help, ""]
    for name, command in commands():
        title = f"xpnet {name}"
        lines += [f".. _command-{name.replace(' ', '-')}:", "", title, "-" * len(title), "", *_text(command.help), ""]
        lines += [".. code-block:: console", "", f"   {_usage(name, command)}", ""]
        for group, records in groups_of(name, command).items():
            lines += [f".. rubric:: {group}", "", ".. list-table::", "   :widths: 35 65", "   :class: options", ""]
            for names, meaning in records:
                lines += [f"   * - ``{names}``", f"     - {_escape(meaning) or chr(92) + ' '}"]
            lines.append("")
        if name in EXAMPLES:
            lines += [".. rubric:: Examples", "", ".. code-block:: console", ""]
            lines += [*(f"   {line}" for line in EXAMPLES[name]), ""]
    return "\n".join(lines) + "\n"


def _context(name: str, command: Any) -> Any:
    return command.make_context(f"xpnet {name}", [], resilient_parsing=True)


def _usage(name: str, command: Any) -> str:
    return " ".join([f"xpnet {name}", *command.collect_usage_pieces(_context(name, command))])


def groups_of(name: str, command: Any) -> dict[str, list[tuple[str, str]]]:
    """Return the names and meanings of arguments and options by group, as the command's help shows them."""
    context = _context(name, command)
    command.get_help(context)  # some list names in it that are looked up only then
    groups: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        if record := parameter.get_help_record(context):
            is_option = parameter.opts[0].startswith("-")
            group = getattr(parameter, "rich_help_panel", None) or ("Options" if is_option else "Arguments")
            groups.setdefault(group, []).append(record)
    return groups


def _text(help: str) -> list[str]:
    return [_escape(line) for line in help.splitlines()]


def _escape(text: str) -> str:
    for sign in "\\*`|":
        text = text.replace(sign, "\\" + sign)
    return text.replace("_ ", "\\_ ")

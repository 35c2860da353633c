"""The page of the command line: every command with its help, options and examples, from the program itself."""

from __future__ import annotations

from typing import Any

import typer.main

from xpnet.cli.commands import app
from xpnet.cli.help import EXAMPLES

__all__ = ["command_page", "groups_of", "program"]


def program() -> Any:
    """Return the commands as click knows them."""
    return typer.main.get_command(app)


def command_page() -> str:
    """Write the page."""
    root = program()
    lines = [
        "Command line",
        "============",
        "",
        root.help,
        "",
        ".. contents::",
        "   :local:",
        "   :class: commands",
        "",
    ]
    for name, command in root.commands.items():
        title = f"xpnet {name}"
        lines += [f".. _command-{name}:", "", title, "-" * len(title), "", *_text(command.help), ""]
        lines += [".. code-block:: console", "", f"   {_usage(name, command)}", ""]
        for group, records in groups_of(command).items():
            lines += [f".. rubric:: {group}", "", ".. list-table::", "   :widths: 35 65", "   :class: options", ""]
            for names, meaning in records:
                lines += [f"   * - ``{names}``", f"     - {_escape(meaning) or chr(92) + ' '}"]
            lines.append("")
        lines += [".. rubric:: Examples", "", ".. code-block:: console", ""]
        lines += [*(f"   {line}" for line in EXAMPLES.get(name, ())), ""]
    return "\n".join(lines) + "\n"


def _context(name: str, command: Any) -> Any:
    return command.make_context(f"xpnet {name}", [], resilient_parsing=True)


def _usage(name: str, command: Any) -> str:
    return " ".join([f"xpnet {name}", *command.collect_usage_pieces(_context(name, command))])


def groups_of(command: Any) -> dict[str, list[tuple[str, str]]]:
    """Return the names and meanings of arguments and options by group, as the command's help shows them."""
    context = _context(command.name, command)
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

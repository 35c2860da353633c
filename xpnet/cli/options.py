"""What the commands share: options, the lists in their help, progress of loading, and errors in terms of options."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import typer
import typer.core

from xpnet import __version__
from xpnet.cli.help import EXAMPLES, write_examples, write_rows
from xpnet.errors import ConfigError, XpnetError, nearest
from xpnet.output import printable, to_json

__all__ = [
    "BackendName",
    "Command",
    "DataDir",
    "Device",
    "Group",
    "Input",
    "Json",
    "ModelOrRun",
    "NamesAll",
    "Version",
    "in_options",
    "in_our_form",
    "loading",
    "print_json",
    "print_line",
]

DataDir = Annotated[
    str | None,
    typer.Option(help="Folder of the data files; XPNET_DATA_DIR by default.", metavar="FOLDER", rich_help_panel="Data"),
]
BackendName = Annotated[
    str | None,
    typer.Option("--backend", help="numpy, cupy, torch, jax or a registered one.", rich_help_panel="Machine"),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N.", rich_help_panel="Machine")]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document, alone on standard output.", rich_help_panel="Output"),
]
Version = Annotated[
    bool,
    typer.Option(
        "--version",
        callback=lambda asked: _print_version(asked),
        is_eager=True,
        help="Print the version.",
        rich_help_panel="Output",
    ),
]
ModelOrRun = Annotated[str, typer.Argument(metavar="MODEL|RUN", help="{models}, the folder of a run, or an ONNX file.")]
Input = Annotated[str | None, typer.Option(metavar="HxWxC", help="Another input than its own; HxW keeps the channels.")]


def _print_version(asked: bool) -> None:
    if asked:
        print_line(f"xpnet {__version__}")
        raise typer.Exit


class Command(typer.core.TyperCommand):
    """A command to which no option or argument is given as an empty text, such as a shell variable that is not set."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of a command; an empty one is an error."""
        rest = super().parse_args(ctx, args)
        for name, value in ctx.params.items():
            if value == "" or (isinstance(value, list | tuple) and "" in value):
                raise ConfigError(str(name), "a text that is not empty", **{str(name): "''"})
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; Ctrl-C, which Typer makes a mere exit code, is an Abort."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Abort from None

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options in their groups, in the order in which they stand."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                is_option = parameter.opts[0].startswith("-")
                group = getattr(parameter, "rich_help_panel", None) or ("Options" if is_option else "Arguments")
                groups.setdefault(group, []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                write_rows(formatter, records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the command's examples."""
        write_examples(formatter, EXAMPLES.get(self.name or "", ()))


class Group(typer.core.TyperGroup):
    """A command that has commands of its own."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List them with their arguments; a long description is wrapped."""
        with formatter.section("Commands"):
            write_rows(
                formatter,
                [(name, self.commands[name].get_short_help_str(limit=1000)) for name in self.list_commands(ctx)],
            )

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples."""
        write_examples(formatter, EXAMPLES.get(self.name or "", ()))


_NAMES = {
    "{models}": ("xpnet.models", "MODELS"),
    "{datasets}": ("xpnet.data", "DATASETS"),
    "{optimizers}": ("xpnet.optim", "OPTIMIZERS"),
    "{steps}": ("xpnet.playground", "STEPS"),
}  # a place in the help: where the names are that stand there


class NamesAll(Command):
    """A command whose help lists names, such as {models}, which are imported only then."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        for parameter in self.params:
            for place, (module, names) in _NAMES.items():
                if place in (text := getattr(parameter, "help", None) or ""):
                    known = getattr(importlib.import_module(module), names)
                    parameter.help = text.replace(place, ", ".join(known))  # pyright: ignore[reportAttributeAccessIssue]
        super().format_help(ctx, formatter)


def _command_of(app: Any, arguments: Sequence[str]) -> Any:
    """The command that words call: of the program, or of a group of commands; the program if they name none."""
    found = app
    for word in arguments:
        found = getattr(found, "commands", {}).get(word, found)
    return found


def in_options(error: XpnetError, app: Any, arguments: Sequence[str]) -> XpnetError:
    """Return an error that names the options of a command where the program's error names its arguments.

    lr becomes --lr among the values, as the place, at the start of the rule, after <= or a verb such as "lower", and in
    advice such as lr=0.1; a name with an underscore, such as batch_size, becomes --batch-size everywhere.
    """
    command = _command_of(app, arguments)
    options = {p.name: max(p.opts, key=len) for p in command.params if p.opts[0].startswith("-")}

    def option(name: str) -> str:
        return options.get(name, name)

    def named(text: str) -> str:
        text = re.sub(r"^\w+", lambda m: option(m[0]), text)
        text = re.sub(r"\b(\w+)='?([\w.-]+)'?", lambda m: f"{option(m[1])} {m[2]}" if m[1] in options else m[0], text)
        return re.sub(r"(?<=\blower )\w+|(?<=\bomit )\w+|(?<=<= )[a-z]\w*|\b\w+_\w+", lambda m: option(m[0]), text)

    found = type(error)(named(error.where), named(error.rule), named(error.do))
    found.path, found.is_event = error.path, error.is_event
    found.got = {option(name): value for name, value in error.got.items()}
    return found


def in_our_form(error: Any, app: Any, arguments: list[str]) -> XpnetError:
    """Return an error of click, which reads the words of a command, in the form of xpnet's errors."""
    words = [word for word in arguments if not word.startswith("-")]
    command = _command_of(app, words)
    where = "command line" if command is app else words[0]
    text = error.format_message().rstrip(".")
    if name := getattr(error, "option_name", None):
        if "No such option" not in text:
            what = "needs an argument" if "requires" in text else "takes no argument" if "does not take" in text else ""
            return ConfigError.event(name, f"the option {what}" if what else text)
        known = ["--help", *(o for p in command.params for o in p.opts if o.startswith("--"))]
        return ConfigError(where, "an option it has", nearest(name, known), option=name)
    parameter = getattr(error, "param", None)
    options = getattr(parameter, "opts", ())
    name = max(options, key=len, default="value")
    if not name.startswith("-"):
        name = getattr(parameter, "metavar", None) or name
    if parameter is not None and (kind := re.search(r"\binteger\b|\bnumber\b|\bfloat\b", text)):
        rule = "a whole number" if kind[0] == "integer" else "a number"
        name = max(options, key=len)
        return ConfigError(name, rule, **{name: repr(_value_of(options, arguments))})
    if text.startswith("Missing"):
        return ConfigError.event(
            where, f"an argument is missing: {name}", " ".join(["see xpnet", *words[:1], "--help"])
        )
    if unknown := re.search(r"No such command '(.*?)'", text, re.DOTALL):
        do = nearest(unknown[1], command.commands)
        return ConfigError("command", "the name of a command", do, command=repr(unknown[1]))
    if extra := re.search(r"unexpected extra argument\w*(?:\(s\))? \((.*)\)", text, re.DOTALL):
        return ConfigError.event(where, "more arguments than it takes", got=repr(extra[1]))
    return ConfigError.event(where, text)


def _value_of(names: Sequence[str], arguments: list[str]) -> str:
    """The value that words give an option of some names, as in --lr x or --lr=x."""
    for word, after in zip(arguments, [*arguments[1:], ""], strict=True):
        if word in names or word.startswith(tuple(f"{name}=" for name in names)):
            return after if word in names else word.partition("=")[2]
    return ""


def print_line(text: str, to_people_only: bool = False) -> None:
    """Print a line at once, also into a pipe, its control characters escaped.

    Args:
        text: one line: a name in it may hold a newline, which is escaped too.
        to_people_only: on standard error, as standard output is for JSON alone.
    """
    file = sys.stderr if to_people_only else sys.stdout
    print(printable(text), flush=True, file=file)


def print_json(value: Any) -> None:
    """Print the result of a command, in which NaN is null."""
    print(to_json(value), flush=True)


@contextlib.contextmanager
def loading() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error, shown when loading takes long enough to report."""
    from rich.console import Console
    from rich.progress import Progress

    bar: Any = None
    task: Any = None
    console = Console(stderr=True)

    def report(done: int, total: int) -> None:
        nonlocal bar, task
        if not console.is_terminal:
            return
        if bar is None:
            bar = Progress(console=console, transient=True)
            bar.start()
            task = bar.add_task("loading", total=total or None)
        if not bar.live.is_started:  # another pass
            bar.start()
        bar.update(task, completed=done, total=total or None)  # 0: not known yet
        if 0 < total <= done:
            bar.stop()

    try:
        yield report
    finally:
        if bar is not None:
            bar.stop()

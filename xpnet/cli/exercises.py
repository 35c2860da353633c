"""xpnet exercises."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from subprocess import list2cmdline
from typing import TYPE_CHECKING, Annotated

import typer

from xpnet.cli.options import BackendName, Command, Device, Group, Json, print_json, print_line
from xpnet.errors import ConfigError, DataError
from xpnet.output import counted, printable

if TYPE_CHECKING:
    from xpnet.exercises.catalog import Exercise
    from xpnet.exercises.judging import Result

__all__ = ["exercises"]

exercises = typer.Typer(cls=Group, rich_markup_mode=None)

_STATES = {  # how a state is shown: mark, the mark where there is ASCII only, style, words
    "right": ("✓", "+", "green", "right"),
    "wrong": ("✗", "x", "red", "not right yet"),
    "open": ("…", "~", "yellow", "not finished"),
    "changed": ("?", "?", "yellow", "changed since the last check"),
    "untouched": ("·", "-", "dim", "to do"),
    "missing": ("·", "-", "dim", "no such file"),
}


@exercises.callback(invoke_without_command=True)
def listing(context: typer.Context, as_json: Json = False) -> None:
    """Learn with twelve small files, from the perceptron to a replayed step: an equation, a gap and a test each."""
    if context.invoked_subcommand is not None:
        return
    from xpnet.exercises.folder import find_folder, states

    folder = find_folder()
    _show(states(folder), folder, as_json)
    if folder is None:
        print_line("Begin with: xpnet exercises start FOLDER", as_json)


@exercises.command(cls=Command)
def start(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="It is made if it is missing.")] = "exercises",
    again: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Write this file anew; a changed one is kept under another name."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write all files anew, as --again does.")] = False,
) -> None:
    """Write the twelve files; those that are there stay as they are."""
    from xpnet.exercises.catalog import EXERCISES, find
    from xpnet.exercises.folder import start

    done = start(folder, EXERCISES if force else [find(name) for name in again or ()])
    print_line(f"{counted(len(done.written), 'file')} written to {folder}")
    if done.kept:
        print_line(f"{counted(len(done.kept), 'file')} there already, not changed")
    for name, copy in done.copies.items():
        print_line(f"{name} was changed: that is in {copy} now")
    first = Path(folder) / EXERCISES[0].file
    command = list2cmdline(["python", str(first)]) if os.name == "nt" else shlex.join(["python", str(first)])
    print_line(f"Complete {first}, then run: {command}")


@exercises.command(cls=Command)
def check(
    folder: Annotated[
        str | None,
        typer.Argument(metavar="FOLDER", help="This folder, exercises in it, or the only one in it, by default."),
    ] = None,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One exercise, by its number, name or file; all by default.")
    ] = None,
    time_limit: Annotated[float, typer.Option(metavar="SECONDS", help="After which the test of a file is ended.")] = 20,
    as_json: Json = False,
    backend: BackendName = None,
    device: Device = None,
) -> int:
    """Test what was written, and give a hint where it is not right yet.

    Each file is tested in a process of its own. The exit code is 0 if all is right, 1 if not.
    """
    from xpnet.backend import get_backend
    from xpnet.exercises.catalog import EXERCISES
    from xpnet.exercises.folder import check
    from xpnet.exercises.progress import record
    from xpnet.train.runs.config import resolve_backend

    if not 0 < time_limit < float("inf"):
        raise ConfigError("time_limit", "a number of seconds above 0", time_limit=time_limit)
    place, one = _place([word for word in (folder, name) if word is not None])
    spec = get_backend(resolve_backend(backend, device)).spec
    found = check(place, EXERCISES if one is None else [one], spec, time_limit, _print_output if one else None)
    _show(found, place, as_json)
    if lost := record(place, found):
        print_line(lost, as_json)
    return int(any(result.state != "right" for result in found.values()))


@exercises.command(cls=Command)
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The number or the name of an exercise.")],
) -> None:
    """Print the code of xpnet that solves an exercise."""
    import inspect

    from rich.console import Console
    from rich.syntax import Syntax

    from xpnet.exercises.catalog import find

    console = Console(highlight=False, soft_wrap=True)
    exercise = find(name)
    console.print(f"{exercise.stem}: {exercise.title}, as xpnet does it")
    for place, thing in exercise.solutions():
        lines, first = inspect.getsourcelines(thing)
        file = Path(inspect.getsourcefile(thing) or "")
        source = inspect.cleandoc("\n" + "".join(lines))
        console.print(f"\n[bold]{place}[/], line {first} of {file}\n")
        if console.is_terminal:
            console.print(Syntax(source, "python", background_color="default"))
        else:
            print(source)


def _print_output(text: str) -> None:
    """Print what a file printed, on standard error: standard output may be for JSON alone."""
    for line in text.splitlines():
        print_line(line, to_people_only=True)


def _place(words: list[str]) -> tuple[Path, Exercise | None]:
    """Read [FOLDER] [NAME], of which either may be left out: the folder, and the exercise or None for all."""
    from xpnet.exercises.folder import find_folder

    folder: Path | None = None
    one: Exercise | None = None
    for word in words:
        path = Path(word)
        if path.is_dir() and folder is None:
            folder = path
        elif one is None and (not path.parent.name or path.exists()):
            one = _exercise(word)
            folder = path.parent if path.is_file() and folder is None else folder
        else:
            raise DataError("exercises", "a folder of exercises, which xpnet exercises start writes", folder=repr(word))
    folder = folder or find_folder()
    if folder is None:
        do = "name theirs, xpnet exercises check FOLDER, or write new ones, xpnet exercises start FOLDER"
        raise DataError.event("exercises", "no exercises in this folder", do)
    return folder, one


def _exercise(word: str) -> Exercise:
    """Return the exercise of a name; where there is none, the word may be a folder that is missing too."""
    from xpnet.exercises.catalog import find

    try:
        return find(word)
    except ConfigError as error:
        if word.isdecimal():
            raise
        if Path(word).exists():
            rule = "a folder of exercises, or the file of one"
            raise DataError("exercises", rule, file=repr(word)) from None
        what = "no such folder, and no such exercise"
        raise DataError.event("exercises", what, str(error).rpartition("; ")[2], name=repr(word)) from None


def _show(found: dict[Exercise, Result], folder: Path | None, as_json: bool) -> None:
    """Print a table of exercises with their states, how many are right, and what is next."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if as_json:
        print_json([{"exercise": e.stem, "title": e.title, **result._asdict()} for e, result in found.items()])
        return
    console = Console(highlight=False, soft_wrap=True)
    ascii_only = console.options.ascii_only
    table = Table(box=None, pad_edge=False, show_header=False)
    for fold in (False, False, True):
        table.add_column(no_wrap=not fold, overflow="fold")
    for exercise, result in found.items():
        mark, ascii_mark, style, words = _STATES[result.state]
        text = f"[{style}]{words}[/]"
        if result.text:
            text += f": {escape(printable(result.text))}"
        if result.hint:
            text += f"\n[bold]hint:[/] {escape(printable(result.hint))}"
        if folder is None:
            table.add_row(exercise.stem, exercise.title)
        else:
            table.add_row(f"[{style}]{ascii_mark if ascii_only else mark}[/]", exercise.stem, text)
    if not console.is_terminal:
        console.width = 1000
    console.print(table, soft_wrap=False)
    if folder is None:
        return
    right = [e for e, result in found.items() if result.state == "right"]
    left = [e for e in found if e not in right]
    if len(found) > 1:
        bar = f"[green]{('#' if ascii_only else '━') * len(right)}[/][dim]{('-' if ascii_only else '━') * len(left)}[/]"
        console.print(f"\n{bar} {len(right)} of {len(found)} right" + ("" if left else ": all done"))
    if left:
        path = folder / left[0].file
        console.print(f"{'Next' if len(found) > 1 else 'File'}: {escape(str(path))}, {left[0].title}")
        console.print(f"Read more: examples/{left[0].page}, examples/{left[0].example}")

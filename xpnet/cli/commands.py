"""The commands, and what happens around each: its output, and errors as one line."""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn

import typer

from xpnet.backend import keep_freed_memory
from xpnet.cli import (
    compare,
    data,
    devices,
    draw,
    evaluate,
    exercises,
    export,
    launch,
    playground,
    predict,
    processes,
    runs,
    serve,
    summary,
    train,
)
from xpnet.cli.help import Program
from xpnet.cli.options import Command, NamesAll, Version, in_options, in_our_form
from xpnet.errors import XpnetError
from xpnet.output import Lenient, printable

__all__ = ["app", "run"]

app = typer.Typer(
    cls=Program,
    help="Train neural networks on NumPy, CuPy, torch or jax: the same layers, written once.",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command(cls=NamesAll)(train.train)
app.command(cls=Command, context_settings={"allow_interspersed_args": False})(launch.launch)
app.command(cls=Command)(evaluate.evaluate)
app.command(cls=Command)(predict.predict)
app.command(cls=Command)(serve.serve)
app.command(cls=NamesAll)(playground.playground)
app.add_typer(exercises.exercises, name="exercises")
app.command(cls=NamesAll)(data.data)
app.command(cls=NamesAll)(summary.summary)
app.command(cls=NamesAll)(draw.draw)
app.command(cls=Command)(export.export)
app.command(cls=Command)(runs.runs)
app.command(cls=Command)(compare.compare)
app.command(cls=Command)(devices.devices)


@app.callback()
def _options(version: Version = False) -> None:
    pass


_SILENT = logging.NullHandler()  # for what threads log after the command


class _OneLine(logging.Formatter):
    """Messages of the log, which may hold names from files."""

    def format(self, record: logging.LogRecord) -> str:
        return f"xpnet: {record.levelname.lower()}: {printable(super().format(record))}"


def _print_warning(message: Warning | str, *where: object) -> None:
    print(f"xpnet: warning: {printable(str(message).partition(chr(10))[0])}", file=sys.stderr)


def run(arguments: list[str]) -> NoReturn:
    """Run a command and exit with its code; a standard stream that is closed or full ends nothing.

    Where a command only prints and standard output is full, the exit code is 2. Of the processes of a launcher the
    first one prints.
    """
    if not processes.takes_part(arguments[0]):
        sys.exit(0)
    out, err = Lenient(sys.stdout), Lenient(sys.stderr)
    is_first, code, message = processes.is_first(), 0, ""
    try:
        with processes.joined(arguments[0]), _printing(out, err) if is_first else processes.silent():
            code = _call(arguments)
    except XpnetError as error:
        code, message = 2, str(error)
    except KeyboardInterrupt:
        code, message = 130, "interrupted"
    if is_first:
        out.flush()
        if out.error is not None and not isinstance(out.error, BrokenPipeError) and not message:
            code = 0 if arguments[0] == "train" and not code else code or 2
            message = f"standard output: cannot be written: {getattr(out.error, 'strerror', None) or out.error}"
        if message:
            print(f"xpnet: {printable(message.replace(chr(10), ' '))}", file=err)
        err.flush()
    sys.exit(code)


@contextlib.contextmanager
def _printing(out: Lenient, err: Lenient) -> Iterator[None]:
    """Print to two streams within a with-block, and there a line for each warning and for what the log warns of."""
    log = logging.StreamHandler(err)  # pyright: ignore[reportArgumentType]
    log.setFormatter(_OneLine())
    log.setLevel(logging.WARNING)
    logging.getLogger("xpnet").addHandler(log)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(out))  # pyright: ignore[reportArgumentType]
            stack.enter_context(contextlib.redirect_stderr(err))  # pyright: ignore[reportArgumentType]
            stack.enter_context(warnings.catch_warnings())
            warnings.showwarning = _print_warning  # one line, without the place in the code
            yield
    finally:
        logging.getLogger("xpnet").addHandler(_SILENT)
        logging.getLogger("xpnet").removeHandler(log)


@functools.cache
def _command() -> Any:
    """Read the commands' signatures, which takes as long as importing NumPy, once."""
    return typer.main.get_command(app)


def _call(arguments: list[str]) -> int:
    """Run a command, and return its exit code.

    Raises:
        XpnetError: what the user should hear of, in terms of options. KeyboardInterrupt.
    """
    keep_freed_memory()
    command = _command()
    try:
        code = command(arguments, standalone_mode=False)
    except XpnetError as error:
        raise in_options(error, command, arguments) from error
    except typer.Abort:
        raise KeyboardInterrupt from None
    except OSError as error:
        raise XpnetError.event(str(error.filename or "system"), str(error.strerror or error)) from error
    except MemoryError as error:
        raise XpnetError.event("system", "out of memory") from error
    except Exception as error:
        if not hasattr(error, "format_message"):  # click's errors have it
            raise
        raise in_our_form(error, command, arguments) from error
    return code if isinstance(code, int) else 0

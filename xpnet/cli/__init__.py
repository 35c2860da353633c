"""The command line: one file a command, which parses, calls and prints. Every error is one line and exit code 2."""

from __future__ import annotations

import sys

import typer

from xpnet.backend import keep_freed_memory
from xpnet.cli import devices, draw, evaluate, predict, summary, train
from xpnet.cli.options import NamesAll, in_options
from xpnet.errors import XpnetError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Train neural networks on NumPy, CuPy, torch or jax: the same layers, written once.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command(cls=NamesAll)(train.train)
app.command()(evaluate.evaluate)
app.command()(predict.predict)
app.command(cls=NamesAll)(summary.summary)
app.command(cls=NamesAll)(draw.draw)
app.command()(devices.devices)


def main() -> None:
    """Run the command line and exit: 0 done, 2 bad input, 130 interrupted."""
    keep_freed_memory()
    arguments = sys.argv[1:] or ["--help"]
    try:
        code = app(arguments, standalone_mode=False)
    except XpnetError as error:
        _fail(in_options(error, typer.main.get_command(app), arguments[0]))
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130)
    except OSError as error:
        _fail(f"{error.filename or 'system'}: {error.strerror or error}")
    except Exception as error:
        if not hasattr(error, "format_message"):  # click's errors have it
            raise
        _fail(error.format_message())  # pyright: ignore[reportAttributeAccessIssue]
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _fail(message: object, code: int = 2) -> None:
    print(f"xpnet: {message}".replace("\n", " "), file=sys.stderr)
    sys.exit(code)

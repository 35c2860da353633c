"""What the commands share: options, the lists in their help, progress of loading, and errors in terms of options."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer
import typer.core

from xpnet.errors import XpnetError

__all__ = [
    "BackendName",
    "DataDir",
    "Device",
    "Input",
    "Json",
    "ModelOrRun",
    "NamesAll",
    "in_options",
    "loading",
    "print_line",
]

DataDir = Annotated[str | None, typer.Option(help="Folder of the data files; XPNET_DATA_DIR by default.")]
BackendName = Annotated[str | None, typer.Option("--backend", help="numpy, cupy, torch, jax or a registered one.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N.")]
Json = Annotated[bool, typer.Option("--json", help="End standard output with one JSON object.")]
ModelOrRun = Annotated[str, typer.Argument(metavar="MODEL|RUN", help="{models}, or the folder of a run.")]
Input = Annotated[str | None, typer.Option(metavar="HxWxC", help="Another input than its own; HxW keeps the channels.")]


class NamesAll(typer.core.TyperCommand):
    """A command whose help lists {models}, {datasets} and {optimizers}, which are imported only then."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from xpnet.data import DATASETS
        from xpnet.models import MODELS
        from xpnet.optim import OPTIMIZERS

        names = {"{models}": MODELS, "{datasets}": DATASETS, "{optimizers}": OPTIMIZERS}
        for parameter in self.params:
            for place, known in names.items():
                if text := getattr(parameter, "help", None):
                    parameter.help = text.replace(place, ", ".join(known))  # pyright: ignore[reportAttributeAccessIssue]
        super().format_help(ctx, formatter)


def in_options(error: XpnetError, app: Any, command: str) -> XpnetError:
    """Return an error that names the options of a command where the program's error names its arguments.

    lr becomes --lr among the values, as the place, at the start of the rule, after a verb such as "lower", and in
    advice such as lr=0.1; a name with an underscore, such as batch_size, becomes --batch-size everywhere.
    """
    parameters = app.commands[command].params if command in app.commands else []
    options = {p.name: max(p.opts, key=len) for p in parameters if p.opts[0].startswith("-")}

    def option(name: str) -> str:
        return options.get(name, name)

    def named(text: str) -> str:
        text = re.sub(r"^\w+", lambda m: option(m[0]), text)
        text = re.sub(r"\b(\w+)='?([\w.-]+)'?", lambda m: f"{option(m[1])} {m[2]}" if m[1] in options else m[0], text)
        return re.sub(r"(?<=\blower )\w+|\b\w+_\w+", lambda m: option(m[0]), text)

    found = type(error)(named(error.where), named(error.rule), named(error.do))
    found.path, found.is_event = error.path, error.is_event
    found.got = {option(name): value for name, value in error.got.items()}
    return found


def print_line(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)


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
            task = bar.add_task("loading", total=total)
        bar.update(task, completed=done, total=total)
        if done >= total:
            bar.stop()

    try:
        yield report
    finally:
        if bar is not None:
            bar.stop()

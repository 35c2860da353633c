"""xpnet runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from xpnet.cli.options import Json, print_json
from xpnet.output import printable

__all__ = ["runs"]


def runs(
    folder: Annotated[str, typer.Argument(help="Folder that holds runs, or a run.")] = "runs",
    sort: Annotated[
        str,
        typer.Option(
            help="Column to sort by, such as test_accuracy; date by default.", metavar="COLUMN", show_default=False
        ),
    ] = "date",
    as_json: Json = False,
) -> None:
    """List runs with their figures side by side."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from xpnet.train.runs.listing import list_runs
    from xpnet.train.runs.result import headline_text

    found = list_runs(folder, sort)
    table = Table(box=None, pad_edge=False)
    for name in ("run", "model", "data"):
        table.add_column(name, overflow="fold", min_width=8)
    for name in ("epochs", "train loss", "validation", "test", "time", "date"):
        table.add_column(name, justify="right")
    for run in found:
        place = escape(printable(run["run"]))
        if run["problem"]:
            table.add_row(place, "-", escape(printable(run["problem"])))
            continue
        data = escape(printable(Path(run["data"]).name or run["data"]))
        loss = "-" if run.get("train_loss") is None else f"{run['train_loss']:.4f}"
        figures = [headline_text(run, name).removeprefix(f"{name} ") or "-" for name in ("validation", "test")]
        date = time.strftime("%Y-%m-%d %H:%M", time.localtime(run["date"]))
        table.add_row(place, run["model"], data, _epochs(run), loss, *figures, f"{run['seconds']:,.0f} s", date)
    console = Console(stderr=as_json)
    if not console.is_terminal:  # a line a run, as wide as that is
        console.width = 1000
    console.print(table, highlight=False)
    if as_json:
        print_json(found)


def _epochs(run: dict[str, Any]) -> str:
    done = f"{run['epochs']}" if run["epochs"] == run["planned"] else f"{run['epochs']} of {run['planned']}"
    return done + (f", best {run['best_epoch']}" if run["best_epoch"] else "")

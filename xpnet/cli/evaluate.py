"""xpnet evaluate."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from xpnet.cli.options import BackendName, DataDir, Device, Json, loading, print_line

__all__ = ["evaluate"]


def evaluate(
    run: Annotated[str, typer.Argument(help="Folder of a run.")],
    data: Annotated[str | None, typer.Option(help="Data set to test on; the run's own by default.")] = None,
    data_dir: DataDir = None,
    backend: BackendName = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Measure a trained model on test data."""
    from xpnet.train.run import evaluate_run, resolve_backend

    with loading() as progress:
        result = evaluate_run(run, data, data_dir, resolve_backend(backend, device), progress=progress)
    print_line(
        f"{result['model']} on {result['data']}: test accuracy {result['test_accuracy']:.2%}, "
        f"test loss {result['test_loss']:.4f}, {result['examples']:,} examples"
    )
    _print_confusion(result["confusion"], result["classes"])
    if as_json:
        print_line(json.dumps(result))


def _print_confusion(counts: list[list[int]], classes: list[str]) -> None:
    """Print a table, rows true and columns predicted, where it fits; else the five most frequent confusions."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if len(classes) <= 12:
        table = Table(title="predicted as", title_style="dim", box=None, pad_edge=False)
        for name in ("true", *classes, "correct"):
            table.add_column(escape(name[:9]), justify="right")
        for i, (name, row) in enumerate(zip(classes, counts, strict=True)):
            cells = [f"[bold]{n}[/bold]" if i == j else (str(n) if n else "·") for j, n in enumerate(row)]
            table.add_row(escape(name[:9]), *cells, f"{row[i] / max(1, sum(row)):.1%}")
        Console().print(table)
        return
    worst = sorted(
        ((n, i, j) for i, row in enumerate(counts) for j, n in enumerate(row) if i != j and n), reverse=True
    )[:5]
    for n, i, j in worst:
        print_line(f"{n:>6} of {classes[i]} predicted as {classes[j]}")

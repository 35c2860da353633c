"""xpnet evaluate."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer

from xpnet.cli.options import BackendName, DataDir, Device, Json, loading, print_json, print_line
from xpnet.cli.trained import Mean, Scale, Std, open_trained
from xpnet.output import counted, printable

__all__ = ["evaluate"]


def evaluate(
    run: Annotated[str, typer.Argument(help="Folder of a run, or an ONNX file.")],
    data: Annotated[str | None, typer.Option(help="Data set to test on; the run's own by default.")] = None,
    data_dir: DataDir = None,
    csv: Annotated[
        str | None, typer.Option(help="Write a table with a line an example: true and predicted.", metavar="FILE")
    ] = None,
    skip_damaged: Annotated[bool, typer.Option("--skip-damaged", help="Leave out damaged images.")] = False,
    mean: Mean = None,
    std: Std = None,
    scale: Scale = None,
    backend: BackendName = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Measure a trained model on test data."""
    from xpnet.train.runs.config import resolve_backend
    from xpnet.train.runs.evaluation import evaluate_opened
    from xpnet.train.runs.prediction_csv import check_csv
    from xpnet.train.runs.result import headline_text

    if csv is not None:
        check_csv(csv, run, *([] if data is None else [data]))
    opened = open_trained(run, resolve_backend(backend, device), mean, std, scale)
    with loading() as progress:
        result = evaluate_opened(*opened, run, data, data_dir, progress=progress, csv=csv, skip_damaged=skip_damaged)
    examples = counted(result["examples"], "example")
    print_line(
        f"{result['model']} on {result['data']}: {headline_text(result, 'test')}, "
        f"test loss {result['test_loss']:.4f}, {examples}",
        as_json,
    )
    for line in _confusion(result["confusion"], result["classes"]) if "confusion" in result else []:
        print_line(line, as_json)
    if csv is not None:
        print_line(f"{counted(result['examples'], 'line')} written to {csv}", as_json)
    if as_json:
        print_json(result)


def _confusion(counts: list[list[int]], classes: list[str]) -> list[str]:
    """The lines of a table, rows true and columns predicted, where it fits; else the five most frequent confusions."""
    if len(classes) > 12:
        worst = sorted(
            ((n, i, j) for i, row in enumerate(counts) for j, n in enumerate(row) if i != j and n), reverse=True
        )
        return [f"{n:>6} of {printable(classes[i])} predicted as {printable(classes[j])}" for n, i, j in worst[:5]]
    shares = [f"{row[i] / max(1, sum(row)):.1%}" for i, row in enumerate(counts)]
    cells = [[str(n) if n else "·" for n in row] for row in counts]
    digits = max(len(cell) for row in cells for cell in row)
    # names are cut until the lines fit, numbers never
    room = (shutil.get_terminal_size().columns - max(map(len, shares)) - 2) // (len(classes) + 1) - 2
    names = [_cut(printable(name), max(3, digits, min(room, 12))) for name in classes]
    table = [["true", *names, "correct"], *([n, *row, s] for n, row, s in zip(names, cells, shares, strict=True))]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
    return [f"{'predicted as':>{len(lines[0]) // 2 + 6}}", *lines]


def _cut(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"

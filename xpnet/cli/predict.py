"""xpnet predict."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xpnet.cli.options import BackendName, Device, Json, print_json, print_line
from xpnet.cli.trained import Mean, Scale, Std, open_trained
from xpnet.output import counted

__all__ = ["predict"]


def predict(
    run: Annotated[str, typer.Argument(help="Folder of a run, or an ONNX file.")],
    images: Annotated[
        list[str],
        typer.Argument(
            help='Images, folders of images, patterns such as "*.jpg", - for names on standard input; tables; .npz.'
        ),
    ],
    top: Annotated[int | None, typer.Option(help="How many classes to name; 3 by default.", metavar="K")] = None,
    csv: Annotated[str | None, typer.Option(help="Write a table with a line an example.", metavar="FILE")] = None,
    mean: Mean = None,
    std: Std = None,
    scale: Scale = None,
    backend: BackendName = None,
    device: Device = None,
    as_json: Json = False,
) -> int:
    """Predict images, or the rows of a table, with a trained model.

    An image that cannot be read is named, and the others are predicted; the exit code is then 2.
    """
    from xpnet.distributed import by_first
    from xpnet.errors import DataError
    from xpnet.train.runs.config import resolve_backend
    from xpnet.train.runs.prediction import ask_opened
    from xpnet.train.runs.prediction_csv import check_csv, write_csv

    if csv is not None:
        check_csv(csv, run, *images)
    results: list[dict[str, Any]] = []
    errors: list[DataError] = []
    opened = open_trained(run, resolve_backend(backend, device), mean, std, scale)
    for result in ask_opened(*opened, images, top):
        if isinstance(result, DataError):
            print_line(f"xpnet: warning: {result}", to_people_only=True) if errors else None
            errors.append(result)
            results.append({"image": result.where, "error": str(result)})
            continue
        if csv is None:
            print_line(_line(result), as_json)
        results.append(result)
    if csv is not None:
        by_first(opened[0].processes.communicator, lambda: write_csv(csv, results))
        print_line(f"{counted(len(results), 'line')} written to {csv}", as_json)
    if as_json and len(errors) < len(results):
        print_json(results)
    if errors:
        raise errors[0] if len(errors) == 1 else _several(errors, len(results))
    return 0


def _several(errors: list[Any], count: int) -> Exception:
    from xpnet.errors import DataError

    what = f"{len(errors)} of {counted(count, 'image')} cannot be read"
    return DataError.event("predict", what, first=str(errors[0]))


_NUMBERED = (("table", "row"), ("file", "example"))


def _line(result: dict[str, Any]) -> str:
    name = result.get("image") or next(
        f"{result[file]}, {number} {result[number]}" for file, number in _NUMBERED if file in result
    )
    if "classes" in result:
        parts = [f"{c} {p:.1%}" for c, p in zip(result["classes"], result["probabilities"], strict=True)]
    elif "labels" in result:
        parts = [f"{label} {result['probabilities'][label]:.1%}" for label in result["labels"]] or ["none"]
    elif "values" in result:
        parts = [f"{key} {value:.6g}" for key, value in result["values"].items()]
    else:
        parts = [f"mean squared error {result['mse']:.6g}"]
    return f"{name}: " + ", ".join(parts)

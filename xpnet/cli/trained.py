"""What the commands open: the folder of a run, or an ONNX file; the one place that tells them apart."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from xpnet.errors import ConfigError

__all__ = ["Mean", "Scale", "Std", "normalization", "open_model", "open_trained"]

_NUMBERS = "ONNX files that do not store how pixels are normalized"
Mean = Annotated[
    str | None,
    typer.Option(help="Mean of each channel, such as 0.485,0.456,0.406.", metavar="N,...", rich_help_panel=_NUMBERS),
]
Std = Annotated[
    str | None, typer.Option(help="Standard deviation of each channel.", metavar="N,...", rich_help_panel=_NUMBERS)
]
Scale = Annotated[
    str | None,
    typer.Option(help="Factor of pixels of 0..255, before mean and std.", metavar="N|1/N", rich_help_panel=_NUMBERS),
]


def _is_file(path: str) -> bool:
    return path.lower().endswith(".onnx")


def open_trained(
    path: str, backend: Any, mean: str | None = None, std: str | None = None, scale: str | None = None
) -> tuple[Any, dict[str, Any]]:
    """Open a run or a file: a Trainer, and what is known of its data."""
    given = normalization(mean, std, scale)
    if _is_file(path):
        from xpnet.interop.onnx.trained import open_onnx

        return open_onnx(path, backend, **given)
    if name := next((name for name, value in given.items() if value is not None), None):
        raise ConfigError.event(name, "a run knows how its data is normalized", f"omit {name}")
    from xpnet.train.runs.evaluation import open_run

    return open_run(path, backend)


def normalization(mean: str | None, std: str | None, scale: str | None) -> dict[str, Any]:
    """Read the options of files that do not say it: {mean, std, scale}."""
    return {"mean": _numbers("mean", mean), "std": _numbers("std", std), "scale": _fraction(scale)}


def open_model(path: str, input: str | None) -> tuple[Any, tuple[int, ...], str]:
    """Open a model by its name, that of a run, or a file: the module, the shape of an example, and a title."""
    from xpnet.train.describe import open_model as open_by_name

    if not _is_file(path):
        return open_by_name(path, input)
    from pathlib import Path

    from xpnet.interop.onnx.trained import open_graph
    from xpnet.train.describe import parse_input

    model, shape = open_graph(path)
    return model, shape if input is None else parse_input(input, shape), Path(path).name


def _numbers(name: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(name, "numbers with commas between them", **{name: repr(text)}) from None


def _fraction(text: str | None) -> float | None:
    if text is None:
        return None
    if re.fullmatch(r"1/\d{1,6}(\.\d{1,9})?", text, re.ASCII) and float(text[2:]):
        return 1 / float(text[2:])
    try:
        return float(text)
    except ValueError:
        raise ConfigError("scale", "a number, such as 1 or 1/255", scale=repr(text)) from None

"""xpnet summary."""

from __future__ import annotations

from typing import Annotated

import typer

from xpnet.cli.options import Input, Json, ModelOrRun, print_json, print_line
from xpnet.cli.trained import open_model

__all__ = ["summary"]


def summary(
    model_or_run: ModelOrRun,
    input: Input = None,
    batch: Annotated[int, typer.Option(metavar="N", help="Examples of a training batch, for the memory column.")] = 1,
    as_json: Json = False,
) -> None:
    """Count parameters, multiply-adds and memory of each layer."""
    from xpnet.train.describe import summarize_model

    title, found = summarize_model(model_or_run, input, batch, open_model)
    for line in (title, "", *str(found).split("\n")):
        print_line(line, as_json)
    if as_json:
        print_json({"model": title, **found.to_json()})

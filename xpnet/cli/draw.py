"""xpnet draw."""

from __future__ import annotations

from typing import Annotated

import typer

from xpnet.cli.options import Input, Json, ModelOrRun, print_json, print_line
from xpnet.cli.trained import open_model

__all__ = ["draw"]


def draw(
    model_or_run: ModelOrRun,
    style: Annotated[
        str, typer.Option(metavar="blocks|volumes", help="A column of layers, or boxes in three dimensions.")
    ] = "blocks",
    input: Input = None,
    out: Annotated[
        str | None, typer.Option("-o", "--out", help="FILE.svg, .png or .pdf; MODEL-STYLE.svg by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw a model into a file."""
    from xpnet.train.describe import draw_model

    title, path = draw_model(model_or_run, style, input, out, open_model)
    size = path.stat().st_size
    print_line(f"{title} drawn in {path}, {size / 1000:,.0f} kB", as_json)
    if as_json:
        print_json({"model": title, "picture": str(path), "bytes": size})

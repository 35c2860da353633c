"""xpnet draw."""

from __future__ import annotations

from typing import Annotated

import typer

from xpnet.cli.options import Input, ModelOrRun, print_line

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
) -> None:
    """Draw a model into a file."""
    from xpnet.train.describe import draw_model

    title, path = draw_model(model_or_run, style, input, out)
    print_line(f"{title} drawn in {path}, {path.stat().st_size / 1000:,.0f} kB")

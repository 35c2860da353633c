"""xpnet compare."""

from __future__ import annotations

from typing import Annotated

import typer

from xpnet.cli.options import Json, print_json, print_line

__all__ = ["compare"]


def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Folders of runs.")],
    out: Annotated[
        str,
        typer.Option(
            "-o", "--out", help="FILE.svg, .png or .pdf; compare.png by default.", metavar="FILE", show_default=False
        ),
    ] = "compare.png",
    as_json: Json = False,
) -> None:
    """Draw the curves of several runs in one picture."""
    from xpnet.train.runs.listing import compare_runs

    histories = compare_runs(runs, out)
    print_line(f"the curves of {', '.join(histories)} drawn in {out}", as_json)
    if as_json:
        print_json({"picture": out, "runs": histories})

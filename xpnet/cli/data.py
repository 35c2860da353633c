"""xpnet data."""

from __future__ import annotations

from typing import Annotated

import typer

from xpnet.cli.options import DataDir, Json, loading, print_json, print_line
from xpnet.errors import ConfigError

__all__ = ["data"]


def data(
    path: Annotated[
        str, typer.Argument(metavar="DATA", help="{datasets}, a folder of images, a table or an .npz file.")
    ],
    out: Annotated[str | None, typer.Option("-o", "--out", metavar="PAGE.html", help="Write a page of it.")] = None,
    augment: Annotated[
        str | None, typer.Option(metavar="none|light|strong", help="Augmentation to show; light and strong by default.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column to predict, of tables and labels.")
    ] = None,
    image_size: Annotated[
        str | None, typer.Option(metavar="N|HxW", help="Size of images; N: the shorter side.")
    ] = None,
    fit: Annotated[
        str | None, typer.Option(metavar="crop|pad|stretch", help="How images get it; crop by default.")
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show what a data set holds: counts, sizes, duplicates, columns, and a page of its pictures."""
    from xpnet.data import LoadOptions
    from xpnet.data import augment as preset
    from xpnet.data.survey import survey
    from xpnet.viz.contact import contact_sheet
    from xpnet.writing import write_atomically

    if out is not None and not out.lower().endswith((".html", ".htm")):
        raise ConfigError("out", "a file that ends in .html", out=repr(out))
    if augment is not None:
        preset(augment)  # before anything is read
    options = LoadOptions(image_size=image_size, target=target, fit=fit or "crop")
    with loading() as progress:
        found = survey(path, data_dir, options=options, progress=progress)
        content = None if out is None else contact_sheet(found, augment)
    for line in found.notes:
        print_line(line, as_json)
    if found.problem:
        print_line(f"cannot be learned from: {found.problem}", as_json)
    if found.duplicates is not None and found.duplicates.extra:
        print_line(f"duplicates: {found.duplicates.extra:,} have the same bytes as another", as_json)
    if out is not None and content is not None:
        write_atomically(out, content.encode())
        print_line(f"page: {out}, {len(content) / 1000:,.0f} kB", as_json)
    if as_json:
        print_json({**found.to_json(), "page": out})

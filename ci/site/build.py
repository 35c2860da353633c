"""Build the site: gather the pages, generate the API, and let Sphinx make HTML, warnings being errors.

python -m ci.site.build build/site       # from the folder of the repository
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from ci.site.api import write_api
from ci.site.command_line import command_page
from ci.site.docstrings import DocstringError
from ci.site.kernel_table import kernel_page
from ci.site.pages import LinkError, Pages
from ci.site.public import ROOT, Public
from ci.site.sources import write_sources
from ci.site.structure import add_cards, add_navigation, pages

__all__ = ["build"]

_MARK = ".made-by-ci-docs"


def build(out: Path, work: Path) -> int:
    """Build the site.

    Args:
        out: the folder of the HTML; emptied first.
        work: a folder for the gathered sources and for what Sphinx keeps; emptied first.
    Returns: an exit code; 0: built without a warning.
    Raises:
        DocstringError: a block of a docstring is neither Python nor an equation.
        LinkError: a link of a page leads nowhere, or a page is missing.
    """
    from sphinx.cmd.build import build_main

    for folder in (out, work):
        _empty(folder)
    source = work / "source"
    Pages(ROOT, pages(ROOT), source).take()
    write_api(source, Public())
    (source / "api/command-line.rst").write_text(command_page())
    (source / "api/kernel-table.rst").write_text(kernel_page())
    add_cards(source)
    add_navigation(ROOT, source)
    options = ["-W", "--keep-going", "-n", "-q", "-c", str(Path(__file__).parent), "-d", str(work / "doctrees")]
    code = build_main(["-b", "html", *options, str(source), str(out)])
    write_sources(ROOT, out)
    return code


def _empty(folder: Path) -> None:
    """Remove what an earlier build left; a folder of anything else is kept."""
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).exists():
        raise FileExistsError(f"{folder}: not empty, and not of an earlier build; give another folder, or remove it")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / _MARK).touch()


def main() -> int:
    """Build into a folder and print where the first page is."""
    parser = argparse.ArgumentParser(description="Build the site of xpnet.")
    parser.add_argument("out", type=Path, help="the folder of the HTML, which is emptied")
    out = parser.parse_args().out.resolve()
    try:
        code = build(out, out.with_name(f"{out.name}-work"))
    except (DocstringError, FileExistsError, LinkError) as error:
        print(error, file=sys.stderr)
        return 1
    if not code:
        print(out / "index.html")
    return code


if __name__ == "__main__":
    sys.exit(main())

"""The site's structure: its parts in the order of the navigation, and where each page stands in the repository."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

__all__ = ["PARTS", "Part", "pages"]


class Part(NamedTuple):
    """A part of the navigation.

    Args:
        title: its heading; "" for none.
        pages: of each page of the site its file in the repository; "" for a page that is generated.
        folder: of the repository: each further .md file of it is a page below the first page of the part.
    """

    title: str
    pages: dict[str, str]
    folder: str = ""


PARTS = (
    Part("", {"index": "README.md"}),
    Part("Guides", {
        f"guides/{name}": f"examples/guides/{name}.md"
        for name in ("photos", "table", "arrays", "training-loop", "command-line", "several-machines", "with-others",
                     "playground", "exercises", "included")
    }),
    Part("Course", {"course/index": "examples/course/README.md", "examples": "examples/README.md"}, "examples/course"),
    Part("Reference", {"api/index": "", "api/command-line": "", "api/kernel-table": ""}),
    Part("How it is built", {
        "built/index": "xpnet/README.md",
        "built/backend": "xpnet/backend/README.md",
        "built/kernels": "xpnet/kernels/README.md",
        "built/contributing": ".github/CONTRIBUTING.md",
    }),
    Part("Measured", {
        "measured/index": "ci/bench/README.md",
        "measured/tables": "ci/bench/results/TABLES.md",
        "measured/notes": "ci/bench/results/NOTES.md",
    }),
    Part("Versions", {"changes": ".github/CHANGES.md"}),
)  # fmt: skip


def pages(root: Path) -> dict[str, Path]:
    """Return the file of each page that is not generated, by its place in the site."""
    found: dict[str, Path] = {}
    for part in PARTS:
        found |= {page: Path(file) for page, file in part.pages.items() if file}
        found |= {page: path for page, path in _below(part, root).items() if path not in found.values()}
    return found


def _below(part: Part, root: Path) -> dict[str, Path]:
    """The further pages of a part's folder, in the order of their names."""
    if not part.folder:
        return {}
    place = next(iter(part.pages)).rpartition("/")[0]
    files = sorted((root / part.folder).glob("*.md"))
    return {
        f"{place}/{f.stem}": f.relative_to(root) for f in files if str(f.relative_to(root)) not in part.pages.values()
    }


def add_navigation(root: Path, source: Path) -> None:
    """Add the lists of pages: of all parts to the site's first page, of further pages to the first of their part."""
    for part in PARTS:
        first = next(iter(part.pages))
        if below := _below(part, root):
            _append(source / f"{first}.md", "", list(below))
        _append(
            source / "index.md", part.title, [p for p, f in part.pages.items() if p != "index" and (root / f).exists()]
        )


def _append(page: Path, caption: str, listed: list[str]) -> None:
    if listed:
        options = [":hidden:", *([f":caption: {caption}"] if caption else [])]
        with page.open("a") as file:
            file.write("\n".join(["", "```{toctree}", *options, "", *(f"/{name}" for name in listed), "```", ""]))

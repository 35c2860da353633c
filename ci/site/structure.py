"""The site's structure: its parts in the order of the navigation, and where each page stands in the repository."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

__all__ = ["PARTS", "Part", "pages"]


class Part(NamedTuple):
    """A heading of the navigation.

    Args:
        title: the heading.
        pages: of each page of the site its file in the repository. A page that is "api/..." is generated.
        folder: where further files may come from: each .md file of it is a page, in the order of their names.
    """

    title: str
    pages: dict[str, str]
    folder: str = ""
    to: str = ""


PARTS = (
    Part("Start", {"index": "README.md"}),
    Part("Guides", {"guides/index": "examples/guides/README.md"}, "examples/guides", "guides"),
    Part("Course", {"course/index": "examples/course/README.md", "course/examples": "examples/README.md"},
         "examples/course", "course"),
    Part("Reference", {"api/index": "", "api/command-line": "", "api/kernel-table": ""}),
    Part("How it is built", {
        "built/index": "xpnet/README.md",
        "built/backend": "xpnet/backend/README.md",
        "built/kernels": "xpnet/kernels/README.md",
        "built/distributed": "xpnet/distributed/README.md",
        "built/contributing": ".github/CONTRIBUTING.md",
    }),
    Part("Figures", {
        "figures/index": "ci/bench/README.md",
        "figures/tables": "ci/bench/results/TABLES.md",
        "figures/notes": "ci/bench/results/NOTES.md",
    }),
    Part("Changes", {"changes": ".github/CHANGES.md"}),
)  # fmt: skip


def pages(root: Path) -> dict[str, Path]:
    """Return the file of each page that is not generated, by its place in the site; files that do not exist too."""
    found: dict[str, Path] = {}
    for part in PARTS:
        named = {page: Path(file) for page, file in part.pages.items() if file}
        found |= named
        if part.folder:
            for path in sorted((root / part.folder).glob("*.md")):
                if path.relative_to(root) not in named.values():
                    found[f"{part.to}/{path.stem}"] = path.relative_to(root)
    return found


def add_navigation(source: Path) -> None:
    """Add to the first page of each part the list of its others, and to the site's the list of parts."""
    firsts = []
    for part in PARTS[1:]:
        if not (found := _pages_of(part, source)):
            continue
        first, *rest = found
        firsts.append(f"{part.title} </{first}>")
        if rest:
            _append(source, first, [f"/{page}" for page in rest])
    _append(source, "index", firsts)


def _pages_of(part: Part, source: Path) -> list[str]:
    more = sorted(path for path in (source / part.to).glob("*.md")) if part.to else []
    names = [*part.pages, *(path.relative_to(source).with_suffix("").as_posix() for path in more)]
    return [name for name in dict.fromkeys(names) if _file(source, name)]


def _file(source: Path, page: str) -> Path | None:
    return next((p for p in (source / f"{page}.md", source / f"{page}.rst") if p.exists()), None)


def _append(source: Path, page: str, listed: list[str]) -> None:
    path = _file(source, page)
    assert path is not None
    with path.open("a") as file:
        if path.suffix == ".md":
            file.write("\n".join(["", "```{toctree}", ":hidden:", "", *listed, "```", ""]))
        else:
            file.write("\n".join(["", ".. toctree::", "   :hidden:", "", *(f"   {line}" for line in listed), ""]))

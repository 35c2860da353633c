"""The site's structure: its parts in the order of the navigation, and where each page stands in the repository."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

__all__ = ["PARTS", "Listed", "Part", "add_cards", "add_navigation", "pages"]


class Listed(NamedTuple):
    """A page: its place in the site, its short title in the navigation, and its file, "" where it is generated."""

    page: str
    title: str
    file: str = ""


class Part(NamedTuple):
    """A part of the navigation.

    Args:
        title: its heading; "" for none.
        pages: its pages, in order.
        folder: of the repository: each further .md file of it is a page below the first page of the part.
    """

    title: str
    pages: tuple[Listed, ...]
    folder: str = ""


PARTS = (
    Part("", (Listed("index", "xpnet", "README.md"),)),
    Part("Guides", (
        Listed("guides/photos", "Photos", "examples/guides/photos.md"),
        Listed("guides/table", "Tables", "examples/guides/table.md"),
        Listed("guides/arrays", "Arrays", "examples/guides/arrays.md"),
        Listed("guides/training-loop", "Loops, layers and losses", "examples/guides/training-loop.md"),
        Listed("guides/command-line", "The command line", "examples/guides/command-line.md"),
        Listed("guides/several-machines", "Several machines", "examples/guides/several-machines.md"),
        Listed("guides/with-others", "With other libraries", "examples/guides/with-others.md"),
        Listed("guides/playground", "The playground", "examples/guides/playground.md"),
        Listed("guides/exercises", "Exercises", "examples/guides/exercises.md"),
        Listed("guides/included", "What is included", "examples/guides/included.md"),
        Listed("guides/glossary", "Glossary", "examples/guides/glossary.md"),
    )),
    Part("Course", (
        Listed("course/index", "From the perceptron to AlexNet", "examples/course/README.md"),
        Listed("examples", "Examples", "examples/README.md"),
    ), "examples/course"),
    Part("Reference", (
        Listed("api/index", "API"),
        Listed("api/command-line", "Commands and options"),
        Listed("api/kernel-table", "Table of kernels"),
    )),
    Part("How it is built", (
        Listed("built/index", "Files to read first", "xpnet/README.md"),
        Listed("built/backend", "Backends and devices", "xpnet/backend/README.md"),
        Listed("built/kernels", "On a CPU", "xpnet/kernels/README.md"),
        Listed("built/contributing", "Contributing", ".github/CONTRIBUTING.md"),
    )),
    Part("Measured", (
        Listed("measured/index", "How fast, and how good", "ci/bench/README.md"),
        Listed("measured/tables", "All figures", "ci/bench/results/TABLES.md"),
        Listed("measured/notes", "Expected and found", "ci/bench/results/NOTES.md"),
    )),
    Part("Versions", (Listed("changes", "Changes", ".github/CHANGES.md"),)),
)  # fmt: skip

CARDS = (
    ("guides/photos.md", "Photos", "Which class is on a picture: a folder for each class."),
    ("guides/table.md", "A table", "Predict a column from the others, in its own units."),
    ("guides/arrays.md", "Arrays", "Classes, several labels or numbers from NumPy arrays."),
    ("guides/training-loop.md", "Your own loop", "Loops, layers and losses that you write."),
    ("course/index.md", "The course", "From the perceptron to AlexNet, with equations and programs."),
    ("api/index.rst", "The API", "Every public name, with its equation, shapes and cost."),
)  # of the first page: what one comes for


def pages(root: Path) -> dict[str, Path]:
    """Return the file of each page that is not generated, by its place in the site."""
    found = {listed.page: Path(listed.file) for part in PARTS for listed in part.pages if listed.file}
    for part in PARTS:
        found |= _below(part, root)
    return found


def _below(part: Part, root: Path) -> dict[str, Path]:
    """The further pages of a part's folder, in the order of their names."""
    if not part.folder:
        return {}
    place, named = part.pages[0].page.rpartition("/")[0], {listed.file for listed in part.pages}
    files = [path.relative_to(root) for path in sorted((root / part.folder).glob("*.md"))]
    return {f"{place}/{file.stem}": file for file in files if file.as_posix() not in named}


def add_navigation(root: Path, source: Path) -> None:
    """Add the lists of pages: of all parts to the site's first page, of further pages to the first of their part."""
    for part in PARTS:
        if below := _below(part, root):
            _append(source / f"{part.pages[0].page}.md", "", [f"/{page}" for page in below])
        shown = [f"{p.title} </{p.page}>" for p in part.pages if p.page != "index"]
        _append(source / "index.md", part.title, shown)


def _append(page: Path, caption: str, listed: list[str]) -> None:
    if listed:
        options = [":hidden:", *([f":caption: {caption}"] if caption else [])]
        with page.open("a") as file:
            file.write("\n".join(["", "```{toctree}", *options, "", *listed, "```", ""]))


def add_cards(source: Path) -> None:
    """Put the cards behind the first paragraph of the site's first page."""
    index = source / "index.md"
    cards = [f"- [**{title}**]({page}) {text}" for page, title, text in CARDS]
    title, paragraph, rest = index.read_text().split("\n\n", 2)
    index.write_text("\n\n".join([title, paragraph, "\n".join(["```{container} cards", *cards, "```"]), rest]))

"""Pages that stand in the repository as Markdown, taken into the site with their pictures, their links led to it.

A link to a page of the site becomes a link to that page; one to a file of code, to a page that shows the file; one to a
folder, to the page of its README. Pictures and files to download are copied. Anything else is an error that names the
file and the line.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from ci.site.sources import address, is_source

__all__ = ["LinkError", "Pages", "links_of"]

_LINK = re.compile(r'(\]\(|src="|href="|^\[[^\]]+\]: )(<?)([^)\s">]+)')
_CODE = re.compile(r"^(```|~~~)")
COPIED = {".png", ".svg", ".jpg", ".gif", ".txt", ".csv", ".ipynb"}  # pictures, and files to download


class LinkError(ValueError):
    """A link that leads nowhere."""


def links_of(line: str) -> list[re.Match[str]]:
    """Return the links and pictures of a line of Markdown; those within inline code are none."""
    code = [match.span() for match in re.finditer(r"`[^`]*`", line)]
    return [m for m in _LINK.finditer(line) if not any(a <= m.start(3) < b for a, b in code)]


class Pages:
    """The pages and what they lead to.

    Args:
        root: the folder of the repository.
        pages: of each page of the site its file.
        folder: where the sources of the site are written.
    """

    def __init__(self, root: Path, pages: dict[str, Path], folder: Path) -> None:
        self.root, self.folder = root, folder
        self.by_file = {path: page for page, path in pages.items()}
        self.errors: list[str] = []

    def take(self) -> None:
        """Write every page, with its pictures.

        Raises:
            LinkError: links lead nowhere; the message has a line for each.
        """
        for path, page in self.by_file.items():
            if not (self.root / path).is_file():
                self.errors.append(f"{path}: no such page; see ci/site/structure.py")
                continue
            target = self.folder / f"{page}.md"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(self._rewritten(path, page))
        if self.errors:
            raise LinkError("\n".join(self.errors))

    def _rewritten(self, path: Path, page: str) -> str:
        lines, in_code = (self.root / path).read_text().splitlines(), False
        for number, line in enumerate(lines):
            in_code ^= bool(_CODE.match(line))
            if in_code:
                continue
            for match in reversed(links_of(line)):
                where = f"{path}:{number + 1}"
                new = self._target(match[3], path, page, where)
                line = line[: match.start(3)] + new + line[match.end(3) :]
            lines[number] = line
        return "\n".join(lines) + "\n"

    def _target(self, link: str, path: Path, page: str, where: str) -> str:
        if re.match(r"[a-z]+:", link):
            if not re.fullmatch(r"https://[\w.-]+(/[^\s]*)?|mailto:\S+|http://127\.0\.0\.1\S*", link):
                self.errors.append(f"{where}: no form of an address: {link}")
            return link
        file, mark, anchor = link.partition("#")
        if not file:
            return link
        found = Path(os.path.normpath(path.parent / file))
        if (self.root / found).is_dir():
            found = found / "README.md"
        if found in self.by_file:
            return _relative(self.by_file[found], page) + ".md" + mark + anchor
        if not (self.root / found).is_file():
            self.errors.append(f"{where}: no such file: {link}")
            return link
        if found.suffix in COPIED:
            copy = self.folder / "files" / found
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.root / found, copy)
            return _relative(f"files/{found.as_posix()}", page)
        if is_source(found):
            return "source:" + _relative(address(found), page)  # Sphinx does not look for it: see conf.py
        self.errors.append(f"{where}: neither a page, a picture nor code: {link}")
        return link


def _relative(target: str, page: str) -> str:
    return os.path.relpath(target, os.path.dirname(page) or ".").replace(os.sep, "/")

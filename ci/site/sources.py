"""Pages that show files of code, with coloured words and numbered lines that links may lead to. Plain HTML.

One pattern finds what is coloured: a highlighter that knows each language takes as long for xpnet as the rest of the
site, and the pages need no more than comments, texts, keywords, numbers and what is defined.
"""

from __future__ import annotations

import html
import keyword
import re
from pathlib import Path

__all__ = ["address", "is_source", "write_sources"]

_SUFFIXES = {".py", ".cu", ".cuh", ".toml", ".sh", ".json", ".js", ".html", ".css"}
_WORDS = "|".join(
    [*keyword.kwlist, *("const", "float", "int", "void", "return", "struct", "template", "function", "let")]
)
_COMMENT = {".py": r"#[^\n]*", ".toml": r"#[^\n]*", "": r"#[^\n]*", ".sh": r"#[^\n]*", ".json": r"(?!)"}
_SLASHES = r"//[^\n]*|/\*.*?\*/"
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{path}</title>
<link rel="stylesheet" href="{top}_static/source.css">
</head>
<body>
<header><a href="{top}index.html">xpnet</a> <b>{path}</b></header>
<pre>
{code}</pre>
</body>
</html>
"""


def is_source(path: Path) -> bool:
    """Whether a file is shown: code, or a script of ci/."""
    return path.suffix in _SUFFIXES or (path.parts[0] in ("ci", ".ci") and not path.suffix)


def address(path: Path, line: int = 0) -> str:
    """Return the address of the page of a file, or of a line of it, from the top of the site."""
    return f"source/{path.as_posix()}.html" + (f"#L{line}" if line else "")


def write_sources(root: Path, out: Path) -> None:
    """Write a page for each file that a page of the site leads to."""
    linked = re.compile(r'href="(?:\.\./)*source/([^"#]+)\.html')
    for path in sorted({Path(found) for page in out.rglob("*.html") for found in linked.findall(page.read_text())}):
        page = out / address(path)
        page.parent.mkdir(parents=True, exist_ok=True)
        lines = _coloured((root / path).read_text(), path.suffix).split("\n")
        code = "\n".join(f'<a id="L{n}" href="#L{n}">{n:4d}</a> {line}' for n, line in enumerate(lines[:-1], 1))
        page.write_text(_PAGE.format(path=html.escape(path.as_posix()), top="../" * len(path.parts), code=code))


def _coloured(text: str, suffix: str) -> str:
    """The text as HTML; what goes over several lines is coloured in each, so that lines stand alone."""
    pattern = re.compile(
        rf"(?P<c>{_COMMENT.get(suffix, _SLASHES)})"
        r"|(?P<s>\b[rbfRBF]{0,2}(?:\"{3}.*?\"{3}|'{3}.*?'{3})|\b[rbfRBF]{0,2}(?:\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')"
        r"|\"{3}.*?\"{3}|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')"
        rf"|(?P<k>\b(?:{_WORDS})\b)|(?P<n>\b\d[\w.]*)|(?<=\bdef )(?P<d>\w+)|(?<=\bclass )(?P<e>\w+)",
        re.DOTALL,
    )
    written, at = [], 0
    for match in pattern.finditer(text):
        written.append(html.escape(text[at : match.start()], quote=False))
        spans = (f'<i class="{match.lastgroup}">{html.escape(part, quote=False)}</i>' for part in match[0].split("\n"))
        written.append("\n".join(spans))
        at = match.end()
    return "".join(written) + html.escape(text[at:], quote=False)

"""Docstrings, read and written as reStructuredText: sentences, indented blocks, and sections such as ``Args:``.

A section begins with its name at the margin; what follows is indented. An indented block elsewhere is one of

    text, as it is      the line before it ends with ::
    a console           each line begins with xpnet, python or pip
    Python              it parses, and has a string, an attribute, a keyword argument, a statement or a class's name
    an equation         otherwise; see equations.py

and where it is none of them, that is an error which names the file and the line.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

from ci.site.equations import EquationError
from ci.site.latex import to_latex

__all__ = ["DocstringError", "Place", "clean", "equations_of", "first_sentence", "to_rest"]

SECTIONS = {"Args": "Arguments", "Attributes": "Attributes", "Returns": "Returns", "Yields": "Yields",
            "Raises": "Raises", "Cost": "Cost", "Source": "Source", "Sources": "Sources"}  # fmt: skip
_SECTION = re.compile(rf"({'|'.join(SECTIONS)})(, [^:]+)?:(?: (.*))?$")
_ITEM = re.compile(r"( *)(-|\d+\.) (.*)")
_ENTRY = re.compile(r"((?:\*{0,2}[A-Za-z_]\w*|\.\.\.)(?:, (?:\*{0,2}[A-Za-z_]\w*|\.\.\.))*): (.*)$")
_NAME = r"(?:[A-Z]\w*Error|Unsupported|KeyboardInterrupt)"
_ERROR = re.compile(rf"(?:^|(?<=[.;] ))((?:On call, )?{_NAME}(?:, {_NAME})*)(: |\. |\.$|$)")
_QUALIFIED = re.compile(r"(?<![\w.`/])(?:xpnet\.)?[a-z]\w*(?:\.\w+)+(?![\w`/(])")
_WORD = re.compile(r"(?<![\w.`/-])(?:[A-Z]\w*[a-z]\w*[A-Z]\w*|[A-Z]{3,}\w*|[A-Z]\w*Error)(?![\w`/(-])")


class DocstringError(ValueError):
    """A docstring that is not of the form that CONTRIBUTING describes."""


class Place:
    """Where a docstring stands: its file, and what to look for in it."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name

    def error(self, line: str, what: str) -> DocstringError:
        """Return an error at the line of the file that a docstring's line is."""
        numbered = enumerate(self.path.read_text().splitlines(), 1)
        at = next((n for n, text in numbered if text.strip().removeprefix('"""') == line.strip()), 1)
        return DocstringError(f"{self.path}:{at}: docstring of {self.name}: {what}")


def clean(docstring: str | None) -> str:
    """Take the margin off a docstring: that of its last line, where the quotes stand alone, else the smallest.

    inspect.cleandoc would take the indentation of a block, where nothing but the block follows the first line.
    """
    if not docstring:
        return ""
    first, *rest = docstring.expandtabs().splitlines()
    if rest and not rest[-1].strip():
        margin = len(rest[-1])
        rest = [line[margin:] if not line[:margin].strip() else line for line in rest]
        return "\n".join([first.strip(), *rest]).strip()
    return inspect.cleandoc(docstring)


def first_sentence(docstring: str | None) -> str:
    """Return the sentence that a docstring begins with."""
    paragraph = clean(docstring).split("\n\n")[0].replace("\n", " ")
    return re.split(r"(?<=[.:]) (?=[A-Z])", paragraph)[0].rstrip(":") if paragraph else ""


def to_rest(
    docstring: str, place: Place, known: Callable[[str], bool], types: dict[str, str] | None = None
) -> list[str]:
    """Write a docstring as lines of reStructuredText.

    Args:
        docstring: without its margin, as clean returns it.
        place: the file and the name, for errors.
        known: whether a name, as a sentence has it, is a public one, to which a link will lead.
        types: of arguments, as the signature has them.
    Raises:
        DocstringError: a block is neither Python nor an equation.
    """
    lines: list[str] = []
    for kind, part in _parts(docstring):
        if kind == "text":
            lines += [*_paragraph(part, known), ""]
        elif kind == "section":
            lines += [*_section(part, place, known, types or {}), ""]
        else:
            lines += [*_block(kind, part, place), ""]
    return lines


def equations_of(docstring: str, place: Place) -> list[str]:
    """Return the blocks of a docstring, without its margin, that are equations."""
    found = [text for kind, part in _parts(docstring) if kind == "block" for text in _chunks(part)]
    return [text for text in found if kind_of(text, place) == "equation"]


def _parts(docstring: str) -> Iterator[tuple[str, list[str]]]:
    """Divide a docstring: "text", "block", "literal" (after ::), "doctest" and "section" with their lines."""
    lines, at, literal = docstring.splitlines(), 0, False
    while at < len(lines):
        line, start = lines[at], at
        if not line.strip():
            at += 1
        elif _SECTION.match(line):
            at += 1
            while at < len(lines) and (lines[at].startswith(" ") or (not lines[at] and _indented_after(lines, at))):
                at += 1
            yield "section", lines[start:at]
        elif line.startswith(">>> "):
            while at < len(lines) and lines[at].strip():
                at += 1
            yield "doctest", lines[start:at]
        elif line.startswith(" "):
            while at < len(lines) and (lines[at].startswith(" ") or (not lines[at] and _indented_after(lines, at))):
                at += 1
            yield "literal" if literal else "block", textwrap.dedent("\n".join(lines[start:at])).splitlines()
            literal = False
        else:
            is_list = bool(_ITEM.match(line))
            while at < len(lines) and lines[at].strip() and (is_list or not lines[at].startswith(" ")):
                if _SECTION.match(lines[at]):
                    break
                at += 1
            literal = lines[at - 1].endswith("::")
            yield "text", lines[start:at]


def _indented_after(lines: list[str], at: int) -> bool:
    rest = next((line for line in lines[at:] if line.strip()), "")
    return rest.startswith(" ")


def _chunks(lines: list[str]) -> list[str]:
    """A block as one piece where it is Python, else its parts between empty lines."""
    whole = "\n".join(lines)
    return [whole] if _is_python(whole) else [part for part in whole.split("\n\n") if part.strip()]


def _block(kind: str, lines: list[str], place: Place) -> list[str]:
    if kind != "block":
        return _directive("code-block", "pycon" if kind == "doctest" else "text", lines)
    written: list[str] = []
    for text in _chunks(lines):
        found = kind_of(text, place)
        if found == "equation":
            written += [*_directive("math", "", ["   " + to_latex(text)]), ""]
        else:
            written += [*_directive("code-block", found, textwrap.dedent(text).splitlines()), ""]
    return written


def kind_of(text: str, place: Place) -> str:
    """Tell what a block is: "python", "console" or "equation".

    Raises:
        DocstringError: it is none of them.
    """
    if _is_python(text):
        return "python"
    lines = text.strip().splitlines()
    if all(line.startswith(("xpnet ", "python ", "pip ")) for line in lines):
        return "console"
    try:
        latex = to_latex(text)
    except EquationError as error:
        raise place.error(lines[0], f"no equation and no Python: {error}") from None
    if not any(sign in text for sign in "=~") and "<-" not in text:
        raise place.error(lines[0], f"an equation without a relation: {latex}")
    return "equation"


def _is_python(text: str) -> bool:
    """Whether it is Python and, of what equations may also be, has something that they never have."""
    try:
        tree = ast.parse(textwrap.dedent(text))
    except SyntaxError:
        return False
    return any(_marks_code(node) for node in ast.walk(tree))


def _marks_code(node: ast.AST) -> bool:
    match node:
        case ast.Constant(str()) | ast.Attribute() | ast.keyword() | ast.Import() | ast.ImportFrom() | ast.With():
            return True
        case ast.For() | ast.While() | ast.FunctionDef() | ast.ClassDef() | ast.Expr(ast.Constant()):
            return True
        case ast.Call(ast.Name(name), arguments):
            return not arguments or (name[0].isupper() and len(name) > 1)
    return False


def _directive(name: str, argument: str, lines: list[str]) -> list[str]:
    return [f".. {name}:: {argument}".rstrip(), "", *("   " + line if line.strip() else "" for line in lines)]


def _section(lines: list[str], place: Place, known: Callable[[str], bool], types: dict[str, str]) -> list[str]:
    match = _SECTION.match(lines[0])
    assert match
    title, inline = SECTIONS[match[1]] + (match[2] or ""), match[3]
    body = textwrap.dedent("\n".join(lines[1:])).splitlines()
    if inline:
        body = [inline, *body]
    if match[1] == "Raises":
        content = _raised(body, known)
    elif not inline and (entries := _entries(body)):
        content = []
        for names, text in entries:
            content += [_term(names, types), *("   " + line for line in _paragraph(text, known)), ""]
    else:
        content = _paragraph(body, known)
    return [f":{title}:", *("   " + line if line else "" for line in content)]


def _entries(lines: list[str]) -> list[tuple[str, list[str]]]:
    """Names and what is said of them; none where a line at the margin names nothing."""
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        match = _ENTRY.match(line)
        if match:
            found.append((match[1], [match[2]]))
        elif line and not line.startswith(" ") and not found:
            return []
        elif line.strip():
            found[-1][1].append(line.strip())
    return found


def _term(names: str, types: dict[str, str]) -> str:
    each = names.split(", ")
    kinds = {types.get(name.lstrip("*"), "") for name in each}
    kind = f" : :kind:`{_escape(kinds.pop(), code=True)}`" if len(kinds) == 1 and kinds != {""} else ""
    return ", ".join(f":arg:`{_escape(name, code=True)}`" for name in each) + kind


def _raised(lines: list[str], known: Callable[[str], bool]) -> list[str]:
    """Errors and when they are raised: several may stand in one line."""
    text = " ".join(line.strip() for line in lines if line.strip())
    ends = [*_ERROR.finditer(text)]
    if not ends or ends[0].start() > 0:
        return _paragraph([text], known)
    written = []
    for match, after in zip(ends, [*ends[1:], None], strict=True):
        when = text[match.end() : after.start() if after else len(text)].strip()
        prefix = "on call, " if match[1].startswith("On call, ") else ""
        names = match[1].removeprefix("On call, ").split(", ")
        written += [
            ", ".join(f"``{name}``" for name in names),
            "   " + (" ".join(_paragraph([prefix + when], known)) if when else "\\ "),
            "",
        ]
    return written


def _paragraph(lines: list[str], known: Callable[[str], bool]) -> list[str]:
    """Sentences, with public names as code; a list stays one."""
    if lines and _ITEM.match(lines[0]):
        return _list(lines, known)
    text = " ".join(line.strip() for line in lines)
    return [_inline(text.removesuffix("::") + ":" if text.endswith("::") else text, known)]


def _list(lines: list[str], known: Callable[[str], bool]) -> list[str]:
    """The items of a list, which may hold a list."""
    items: list[tuple[str, str]] = []
    for line in lines:
        if match := _ITEM.match(line):
            items.append((f"{match[1]}{match[2]} ", match[3]))
        else:
            items[-1] = (items[-1][0], f"{items[-1][1]} {line.strip()}")
    return [line for mark, text in items for line in (mark + _inline(text, known), "")]


def _inline(text: str, known: Callable[[str], bool]) -> str:
    """A sentence: what stands in backticks and public names are code, everything else is text."""
    written = []
    for piece in re.split(r"(``.+?``|`[^`]+`)", text):
        if piece.startswith("`"):
            written.append(f"``{piece.strip('`')}``")
            continue
        at = 0
        for match in sorted([*_QUALIFIED.finditer(piece), *_WORD.finditer(piece)], key=lambda m: m.start()):
            if match.start() >= at and known(match[0]):
                written += [_escape(piece[at : match.start()]), f"``{match[0]}``"]
                at = match.end()
        written.append(_escape(piece[at:]))
    return _spaced(written)


def _spaced(pieces: list[str]) -> str:
    """Join pieces so that inline code begins and ends where reStructuredText sees it."""
    joined = ""
    for piece in pieces:
        opens = piece.startswith("``") and joined and joined[-1] not in " ("
        closes = joined.endswith("``") and piece and (piece[0].isalnum() or piece[0] in "\\_*[")
        if opens or closes:
            joined += "\\ "
        joined += piece
    return joined


def _escape(text: str, code: bool = False) -> str:
    """Text without meaning to reStructuredText."""
    escaped = re.sub(r"([\\*`|])", r"\\\1", text)
    return escaped if code else re.sub(r"_(?=\W|$)", r"\\_", re.sub(r"(?<!\w)_", r"\\_", escaped))

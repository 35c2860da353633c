"""The Markdown pages of the repository, and what is in one: blocks of code, commands with what they print, links."""

from __future__ import annotations

import re
import shlex
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", ".github/**/*.md", "ci/**/*.md", "examples/**/*.md", "xpnet/**/*.md")
    for path in ROOT.glob(pattern)
)


class Block(NamedTuple):
    """A block between ``` lines: its language, its text, and the number of its first line in the page."""

    language: str
    text: str
    line: int


class Command(NamedTuple):
    """A command of a block: its words, the output shown below it (None where none is shown), and its line."""

    words: list[str]
    output: str | None
    line: int


def read(page: str) -> str:
    """The text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    """The blocks of a page, in order."""
    found = []
    for match in re.finditer(r"^```([\w-]*)[^\n]*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        found.append(Block(match[1], match[2], text.count("\n", 0, match.start(2)) + 1))
    return found


def commands(block: Block) -> list[Command]:
    """The commands of a block that is not Python.

    Where lines begin with "$ ", these are the commands, and the lines below each are what it prints; else each line is
    a command of its own, or text.
    """
    if block.language == "python":
        return []
    lines = [*enumerate(block.text.splitlines(), block.line)]
    if not re.search(r"^\$ ", block.text, re.MULTILINE):
        return [Command(words, None, number) for number, line in lines if (words := split(line))]
    found: list[Command] = []
    for number, line in lines:
        if line.startswith("$ "):
            found.append(Command(split(line[2:]), "", number))
        elif found:
            found[-1] = found[-1]._replace(output=f"{found[-1].output}{line}\n")
    return found


def split(line: str) -> list[str]:
    """The words of a line of a shell, without a comment; none of a line that is no command."""
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return []


def prose(text: str) -> str:
    """A page without its blocks, where # is no heading and brackets are no link."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def links(text: str) -> list[str]:
    """Where the links and pictures of a page lead, without addresses of the web."""
    found = re.findall(r'(?:\]\(|src=")([^)"\s]+)', re.sub(r"`[^`\n]*`", "", prose(text)))
    return [link for link in found if "://" not in link]


def anchors(text: str) -> list[str]:
    """The anchors that GitHub makes of a page's headings."""
    titles = re.findall(r"^#+ +(.*?) *$", prose(text), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


_DATE = re.compile(r"\d{4}-\d\d-\d\d(?: \d\d:\d\d)?")
_NUMBER = re.compile(r"\d+(?:,\d{3})+(?!\d)|\d+\.\d+|\d+")
_COMPILING = "xpnet: warning: loops are compiled for this processor"  # printed once on a machine
_MEASURED = re.compile(r"\s?(?:s|ms|examples/s|kB|bytes)\b")  # after a number that another machine has otherwise
_SECONDS = re.compile(r"seconds\W*$")  # before such a number


def difference(shown: str, printed: str) -> str:
    """How what a page shows differs from what was printed; empty where it does not.

    A line "..." stands for any number of lines. Words and whole numbers are equal, runs of spaces count as one. Numbers
    with a decimal point are results of training, which rounding changes: they agree to a tenth of them, or to 0.1.
    Times, speeds, sizes of files, dates, cells of a confusion matrix and the warning that loops are compiled are not
    compared.
    """
    actual = [line for line in printed.splitlines() if line.strip() and not line.startswith(_COMPILING)]
    any_number = False
    for line in shown.splitlines():
        if not line.strip():
            continue
        if line.strip() == "...":
            any_number = True
            continue
        place = next((i for i, found in enumerate(actual) if not _differ(line, found)), None) if any_number else 0
        if place is None or place >= len(actual):
            closest = get_close_matches(line, printed.splitlines(), 1, 0.0) or ["nothing"]
            return f"not printed: {line}\n  closest: {closest[0]}"
        if what := _differ(line, actual[place]):
            return f"{what}\n  shown:   {line}\n  printed: {actual[place]}"
        actual, any_number = actual[place + 1 :], False
    return "" if any_number or not actual else f"not shown: {actual[0]}"


def _differ(shown: str, printed: str) -> str:
    if "·" in shown:  # a row of a confusion matrix
        shown, printed = (line.split()[0] if line.strip() else "" for line in (shown, printed))
    shown, printed = (_DATE.sub("DATE", " ".join(line.split())) for line in (shown, printed))
    if _NUMBER.sub("#", shown) != _NUMBER.sub("#", printed):
        return "other words"
    for ours, theirs in zip(_NUMBER.finditer(shown), _NUMBER.finditer(printed), strict=True):
        if _MEASURED.match(shown, ours.end()) or _SECONDS.search(shown[: ours.start()]):
            continue
        a, b = (float(found[0].replace(",", "")) for found in (ours, theirs))
        is_whole = "." not in ours[0]
        if a != b and (is_whole or abs(a - b) > max(0.1, 0.1 * abs(a))):
            return f"{ours[0]} is not {theirs[0]}"
    return ""

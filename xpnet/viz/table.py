"""The table of a summary, as lines of text, for terminals of any width."""

from __future__ import annotations

import string
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

from xpnet.output import escape, html_table, printable
from xpnet.viz.kinds import kind_text, short

__all__ = ["html", "size", "table"]

_CUT = 14  # characters of a name that are shown before columns are left out


class _Column(NamedTuple):
    """A heading of two lines, how a layer's cell reads, and the cell of the totals; numbers are aligned right."""

    heading: tuple[str, str]
    cell: Callable[[Any], str]
    total: str = ""
    number: bool = True


def table(summary: Any, width: int) -> list[str]:
    """Write a summary as a heading, a line a layer, totals and notes, none longer than width."""
    layouts = [_columns(summary, *choice) for choice in _CHOICES]
    columns = next((c for c in layouts if _width(summary, c) <= width), None)
    columns = columns or next((c for c in layouts if _width(summary, c, _CUT) <= width), layouts[-1])
    cut = max(8, _width(summary, columns[:1]) - max(0, _width(summary, columns) - width))
    rows = [[_shortened(row[0], cut), *row[1:]] for row in _rows(summary, columns)]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]

    def line(row: list[str]) -> str:
        cells = zip(row, widths, columns, strict=True)
        return "  ".join(text.rjust(w) if c.number else text.ljust(w) for text, w, c in cells).rstrip()

    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    head, body, total = rows[:2], rows[2:-1], rows[-1]
    return [*map(line, head), rule, *map(line, body), rule, line(total), "", *_notes(summary, columns, width)]


def html(summary: Any) -> str:
    """Write a summary as a table in HTML, with all columns, and the notes."""
    columns = _columns(summary, *_CHOICES[0])
    _, _, *body, total = _rows(summary, columns)
    head = [" ".join(c.heading).strip().replace("- ", "-") for c in columns]
    numbers = [i for i, c in enumerate(columns) if c.number]
    notes = escape(" ".join(_notes(summary, columns, 1 << 20)))
    return html_table(head, body, total, numbers) + f"\n<p>{notes}</p>"


def size(shape: Any) -> str:
    """Write a shape as 227x227x3, and those of several inputs as "image 28x28x1, age 1"."""
    if isinstance(shape, dict):
        return ", ".join(f"{printable(name)} {size(sizes)}" for name, sizes in shape.items())
    if any(isinstance(sizes, tuple) for sizes in shape):
        return ", ".join(map(size, shape))
    return "x".join(map(str, shape))


# What is left out as the line gets shorter: a window in words, then any; exact multiply-adds; FLOPs; receptive fields.
_CHOICES = (
    (2, True, 2, True),
    (1, True, 2, True),
    (1, False, 2, True),
    (1, False, 1, True),
    (1, False, 0, True),
    (1, False, 0, False),
    (0, False, 0, False),
)


def _columns(summary: Any, detail: int, exact: bool, flops: int, field: bool) -> list[_Column]:
    places = 4 if summary.saved_bytes < 1e6 else 2 if summary.saved_bytes < 1e8 else 1

    def number(heading: tuple[str, str], name: str, write: Callable[[int], str]) -> _Column:
        return _Column(
            heading, lambda r: write(getattr(r, name)) if getattr(r, name) else "-", write(getattr(summary, name))
        )

    columns = [
        _Column(("", "layer"), lambda r: r.name, "total", False),
        _Column(("", "kind"), lambda r: _kind(r, detail), "", False),
        _Column(("", "output"), lambda r: size(r.output)),
        number(("", "parameters"), "parameters", "{:,}".format),
        number(("multiply-", "adds"), "macs", "{:,}".format if exact else short),
        number(("FLOPs", "forward"), "flops_forward", short),
        number(("FLOPs", "backward"), "flops_backward", short),
        number(("saved", "MB"), "saved_bytes", lambda n: f"{n / 1e6:,.{places}f}"),
    ]
    del columns[5 : 7 - flops]
    if field and any(r.receptive_field for r in summary.layers):
        columns.append(_Column(("receptive", "field"), lambda r: size(r.receptive_field or ()) or "-"))
    return columns


def _kind(layer: Any, detail: int) -> str:
    """Such as "conv 3x3, stride 2", shorter "conv 3x3/2", shortest "conv"."""
    text = ", ".join(kind_text(layer.kind, layer.details))
    return (layer.kind, text.replace(", stride ", "/"), text)[detail]


def _rows(summary: Any, columns: list[_Column]) -> list[list[str]]:
    head = [[c.heading[i] for c in columns] for i in range(2)]
    return [*head, *([c.cell(r) for c in columns] for r in summary.layers), [c.total for c in columns]]


def _width(summary: Any, columns: list[_Column], most: int = 1 << 30) -> int:
    """How long a line is, with names of at most so many characters."""
    widths = [max(map(len, cells)) for cells in zip(*_rows(summary, columns), strict=True)]
    return min(most, widths[0]) + sum(2 + w for w in widths[1:])


def _shortened(name: str, width: int) -> str:
    """Shorten a path from the left, as stage1.block2.body.conv1 to s1.b2.body.conv1, until it fits; then cut it."""
    parts = name.split(".")
    for i, part in enumerate(parts[:-1]):
        if len(".".join(parts)) <= width:
            break
        parts[i] = part[:1] + part.lstrip(string.ascii_letters + "_")[:3] if not part.isdigit() else part
    name = ".".join(parts)
    return name if len(name) <= width else "\u2026" + name[len(name) - width + 1 :]


def _notes(summary: Any, columns: list[_Column], width: int) -> list[str]:
    notes = [
        f"Input {size(summary.input)}; figures are those of one example.",
        f"Saved for the backward pass: by a batch of {summary.batch:,}, 4 bytes a number.",
    ]
    headings = {word for c in columns for word in c.heading}
    if "FLOPs" in headings:
        notes.insert(1, "FLOPs: two a multiply-add, other arithmetic not counted.")
    if summary.uncounted:
        names = ", ".join(map(printable, summary.uncounted))
        notes.append(f"Not counted: multiply-adds and saved numbers of {names}, which defines no cost.")
    return textwrap.wrap(" ".join(notes), width)

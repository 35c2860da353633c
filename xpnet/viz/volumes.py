"""A model as the volumes of its data: boxes of height H, width W and depth C, seen from the side."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from xpnet import arguments
from xpnet.errors import ShapeError
from xpnet.nn import Module
from xpnet.output import counted
from xpnet.viz.boxes import LABEL, TEXT, UP, Box, Scale, draw_box, filled, label, pieces
from xpnet.viz.flow import Fork, every
from xpnet.viz.groups import Group, Steps, folded, grouped
from xpnet.viz.kinds import short
from xpnet.viz.sheet import GREY, INK, Sheet, legend_height, text_width, tint
from xpnet.viz.style import FAMILIES
from xpnet.viz.summary import Summary, summarize
from xpnet.viz.table import size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["volumes"]

_PAGE, _TALL, _MARGIN = 7.0, 9.5, 0.12  # inches; in a taller picture what repeats is drawn once
_LINE, _BETWEEN = 0.108, 0.12  # from line to line, between rows
_GAP, _PLUS, _RADIUS = 0.27, 0.5, 0.075  # between boxes, between boxes with a sum between them, of a sum
_MORE = 0.24  # for the arrow to the next row


def volumes(model: Module, shape: tuple[int, ...], ax: Any = None, title: str | None = None) -> Figure:
    """Draw a model as the volumes of its data, with the windows that slide over them.

    A box is as high and wide as the image and as deep as it has channels; a row of features is a thin one. Sides
    and depths are drawn as powers of themselves, so that 227x227x3 and 1x1x4096 are both visible. The window of a
    layer is drawn on the volume it slides over, with lines to its output; activations, normalization and dropout, which
    change no shape, are named below the volume. The shortcut of a residual is an arc over its body to a +. A long model
    continues in further rows, each of which begins with the last volume of the row before; if that would be taller than
    a page, what repeats is drawn once, with the number of times.

    Args:
        model: any module whose layers define their cost.
        shape: the input of one example, without N: (H, W, C), (D,) or other.
        ax: a matplotlib axes to draw into; a new figure by default, 7 inches wide at most, unless a residual is wider.
        title: a heading; the model's class by default.
    Returns:
        The matplotlib figure.
    Raises:
        ConfigError: matplotlib is not installed, or a layer does not define its cost.
        ShapeError: a layer cannot take its input.
    Source: the drawing of AlexNet in Krizhevsky, Sutskever and Hinton (2012), figure 2.
    """
    summary, title = summarize(model, shape), arguments.optional(arguments.text)("volumes", "title", title)
    joined = ("activation", "normalization", "dropout")
    steps = grouped(summary.steps, lambda r: r.family in joined and r.input == r.output, lead=True)
    picture = _Picture(summary, steps, title or type(model).__name__)
    if picture.height > _TALL:
        picture = _Picture(summary, folded(steps), title or type(model).__name__)
    return picture.draw(ax)


class _Arc(NamedTuple):
    """The shortcut of a residual: from a volume to the sum before another, with the layers on it."""

    source: int
    target: int
    label: list[str]
    family: str


class _Picture:
    """The volumes in rows."""

    def __init__(self, summary: Summary, steps: Steps, title: str) -> None:
        self.title = title
        self.facts = f"{counted(summary.parameters, 'parameter')}, {short(summary.macs)} multiply-adds"
        if isinstance(summary.input, dict) or isinstance(summary.input[0], tuple):
            raise ShapeError("volumes", "a model of one input", "draw it with blocks", inputs=size(summary.input))
        groups = list(every(steps))
        self.scale = Scale([summary.input, *(g.main.output for g in groups)])
        self.families = {"input", *(g.main.family for g in groups)}
        self.cells = [self.cell(None, summary.input)]
        self.arcs: list[_Arc] = []
        self.add(steps)
        self.rows = self.broken()
        self.note = f"Heights and widths n are drawn as n^{self.scale.power:.2f}, depths as n^0.25."
        heading = max(text_width(self.title, 10, True), text_width(self.facts, 7.5), text_width(self.note, TEXT))
        widths = [self.place(row) + _MORE * (row is not self.rows[-1]) for row in self.rows]
        self.width = max(*widths, heading) + 2 * _MARGIN
        self.shift = (self.width - max(widths)) / 2
        self.legend = legend_height(self.families, self.width - 2 * _MARGIN)
        tall = 0.0
        for row in self.rows:
            self.place(row)
            tall += self.above(row) + self.below(row) + _BETWEEN
        self.height = 0.53 + tall + self.legend + 0.25 + 2 * _MARGIN

    def cell(self, group: Group | None, shape: tuple[int, ...], is_sum: bool = False) -> Box:
        """Measure a volume."""
        lines = [size(shape), *(label(group) if group else ["input"])]
        return Box(group, shape, *self.scale.sizes(shape), lines, is_sum)

    def add(self, steps: Sequence[Any]) -> None:
        """Add the volumes of steps, and the arcs over them."""
        for step in steps:
            if isinstance(step, Fork):
                source = len(self.cells) - 1
                self.add(step.body)
                over = list(every(step.shortcut))
                words = [w for g in over for w in pieces(g)]
                words += [f"{step.sum.times} times"] * (step.sum.times > 1)
                self.arcs.append(_Arc(source, len(self.cells), words, over[0].main.family if over else "sum"))
                self.cells.append(self.cell(step.sum, step.sum.main.output, True))
            else:
                self.cells.append(self.cell(step, step.main.output))

    def broken(self) -> list[list[int]]:
        """Break the volumes into rows, as few as the page allows, and those about as wide as each other."""
        limit = _PAGE - 2 * _MARGIN
        rows = self.filled(limit)
        low, high = 0.0, limit
        while high - low > 0.05:  # the narrowest page with as few rows
            middle = (low + high) / 2
            tried = self.filled(middle)
            if len(tried) == len(rows):
                rows, high = tried, middle
            else:
                low = middle
        return rows

    def filled(self, limit: float) -> list[list[int]]:
        """Fill rows up to a limit; no row ends under an arc. A row's first number is the volume shown repeated."""
        rows, start = [], 0
        while start < len(self.cells):
            first = [start - 1] if start else []
            ends = [e for e in range(start + 1, len(self.cells) + 1) if self.may_end(e)]
            end = ends[0]
            for tried in ends:
                more = _MORE if tried < len(self.cells) else 0.0
                if self.place([*first, *range(start, tried)]) + more > limit:
                    break
                end = tried
            rows.append([*first, *range(start, end)])
            start = end
        return rows

    def may_end(self, end: int) -> bool:
        """Whether a row may end before a volume: no arc comes from further left than the last one."""
        return all(not (a.source < end - 1 and end <= a.target) for a in self.arcs)

    def place(self, row: list[int]) -> float:
        """Place the volumes of a row beside each other; return its width."""
        right = middle = 0.0
        for i, n in enumerate(row):
            cell = self.cells[n]
            half = cell.label_width / 2
            if not i:
                cell.x = max(0.0, half - cell.breadth / 2)
            else:
                gap = _PLUS if cell.is_sum else _GAP
                cell.x = max(right + gap, middle + half + 0.07 - cell.breadth / 2)
            right, middle = cell.x + cell.breadth, cell.middle + half
        return max(right, middle)

    def draw(self, ax: Any) -> Any:
        """Draw the rows on a sheet."""
        sheet = Sheet(ax, self.width, self.height)
        y = self.height - _MARGIN - 0.08
        sheet.text(self.width / 2, y, self.title, 10, weight="bold")
        sheet.text(self.width / 2, y - 0.2, self.facts, 7.5, color=GREY)
        y -= 0.45
        for row in self.rows:
            self.place(row)
            for n in row:
                self.cells[n].x += self.shift
            self.draw_row(sheet, row, y - self.above(row))
            y -= self.above(row) + self.below(row) + _BETWEEN
        sheet.legend(self.families, _MARGIN, _MARGIN + self.legend + 0.18, self.width - 2 * _MARGIN)
        sheet.text(_MARGIN, _MARGIN + 0.03, self.note, TEXT, ha="left", color=GREY)
        return sheet.figure

    def arches(self, row: list[int]) -> list[tuple[_Arc, float, list[str]]]:
        """The arcs over a row, inner ones first, with their height over its middle and their labels in lines."""
        found: list[tuple[_Arc, float, list[str]]] = []
        for arc in (a for a in self.arcs if a.source in row and a.target in row):  # inner ones come first
            lines = filled(arc.label, max(LABEL, self.span(arc) - 0.3))
            under = [self.cells[n].tallness / 2 for n in range(arc.source, arc.target)]
            inner = [h for a, h, _ in found if arc.source <= a.source and a.target <= arc.target]
            height = max([*under, *inner]) + 0.14 + _LINE * len(lines) / 2
            found.append((arc, height, lines))
        return found

    def span(self, arc: _Arc) -> float:
        """How far an arc goes; inches."""
        return self.cells[arc.target].x - _PLUS / 2 - self.cells[arc.source].middle

    def above(self, row: list[int]) -> float:
        """How far a row goes up from its middle."""
        arcs = [h + _LINE * len(lines) / 2 + 0.05 for _, h, lines in self.arches(row)]
        return max([*(self.cells[n].tallness / 2 for n in row), *arcs])

    def below(self, row: list[int]) -> float:
        """How far a row goes down from its middle, with its labels."""
        return self.depth_of(row) + 0.06 + _LINE * max(len(self.lines(row, n)) for n in row)

    def lines(self, row: list[int], n: int) -> list[str]:
        """What is written below a volume; one that is shown repeated has less."""
        lines = self.cells[n].label
        return [lines[0], "as above"] if n and n == row[0] else lines

    def depth_of(self, row: list[int]) -> float:
        """How far the boxes of a row go down from its middle."""
        return max(self.cells[n].tallness / 2 for n in row)

    def draw_row(self, sheet: Sheet, row: list[int], y: float) -> None:
        """Draw a row whose middle is at y."""
        for i, n in enumerate(row):
            cell, repeated = self.cells[n], bool(n) and i == 0
            draw_box(sheet, cell, y, repeated)
            for k, text in enumerate(self.lines(row, n)):
                at = y - self.depth_of(row) - 0.06 - _LINE * (k + 0.5)
                style = {"weight": "normal" if repeated or k else "bold", "color": GREY if repeated else INK}
                sheet.text(cell.middle, at, text, TEXT, **style)
        for before, n in itertools.pairwise(row):
            self.draw_step(sheet, self.cells[before], self.cells[n], y)
        for arc, height, lines in self.arches(row):
            self.draw_arc(sheet, arc, y, height, lines)
        if row[-1] < len(self.cells) - 1:
            x, at = self.cells[row[-1]].exit(y)
            sheet.line([(x + 0.04, at), (x + 0.2, at)], arrow=True)

    def draw_step(self, sheet: Sheet, source: Box, target: Box, y: float) -> None:
        """Draw what is between two volumes: a window and its lines, a sum, or an arrow."""
        if target.is_sum:
            x = target.x - _PLUS / 2
            sheet.line([source.exit(y), (x - _RADIUS, y)], arrow=True)
            sheet.plus(x, y, _RADIUS)
            sheet.line([(x + _RADIUS, y), target.entry(y)], arrow=True)
            return
        part = self.window(source, target)
        if part is None:
            sheet.line([source.exit(y), target.entry(y)], arrow=True)
            return
        corners = source.face(y, part)
        colour = FAMILIES[target.family]
        if target.family != "pooling":  # a pool's window is one channel deep
            for x, at in corners:
                sheet.line([(x, at), (x - source.depth, at)], color=colour, linewidth=0.5, linestyle=(0, (2, 1.5)))
        sheet.polygon(corners, facecolor=(*tint(target.family, 0.6), 0.75), edgecolor=colour, linewidth=0.7)
        for corner in corners:
            sheet.line([corner, target.entry(y)], color=colour, linewidth=0.5)
        sheet.circle(*target.entry(y), 0.02, facecolor=colour, edgecolor=colour)

    def window(self, source: Box, target: Box) -> tuple[float, float] | None:
        """The part of a face, down and across, that one number of the next volume sees; None if there is no window."""
        main = target.group.main if target.group else None
        if main is None:
            return None
        if main.kernel_size is not None and len(source.shape) == 3:
            sides = (self.scale.side(k) for k in main.kernel_size)
            down, across = (min(1.0, s / of) for s, of in zip(sides, (source.height, source.width), strict=True))
            return down, across
        if main.family == "linear" and len(source.shape) > 1:  # each place separately
            return self.scale.side(1) / source.height, self.scale.side(1) / source.width
        return (1.0, 1.0) if main.family == "linear" or main.kind == "global average" else None

    def draw_arc(self, sheet: Sheet, arc: _Arc, y: float, height: float, lines: list[str]) -> None:
        """Draw the shortcut of a residual."""
        source, x = self.cells[arc.source], self.cells[arc.target].x - _PLUS / 2
        top = y + height
        start = source.middle, y + (source.tallness - UP * source.width) / 2  # on the lid
        sheet.line([start, (start[0], top), (x, top), (x, y + _RADIUS)], arrow=True, round=0.08)
        if lines:
            wide, tall = max(text_width(t, TEXT) for t in lines) + 0.12, _LINE * len(lines) + 0.05
            middle = (start[0] + x) / 2
            sheet.box(middle - wide / 2, top - tall / 2, wide, tall, arc.family, 0.03)
            for i, text in enumerate(lines):
                sheet.text(middle, top + _LINE * ((len(lines) - 1) / 2 - i), text, TEXT)

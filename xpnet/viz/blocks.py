"""A model as a column of blocks, from the input at the bottom to the output at the top."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from xpnet import arguments
from xpnet.nn import Module
from xpnet.output import counted
from xpnet.viz.flow import Fork, every
from xpnet.viz.groups import Group, Steps, folded, grouped
from xpnet.viz.kinds import short
from xpnet.viz.sheet import GREY, Sheet, legend_height, text_width
from xpnet.viz.summary import Summary, summarize
from xpnet.viz.table import size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["blocks"]

_TALL = 10.5  # inches; in a taller picture blocks that repeat are drawn once
_HEIGHT, _GAP, _SUM = 0.21, 0.14, 0.09  # of a block, of an arrow, radius of a sum
_TEXT, _SMALL = 7.5, 6.8  # points
_MARGIN, _PAD, _LANE = 0.12, 0.08, 0.3


def blocks(model: Module, shape: tuple[int, ...], ax: Any = None, title: str | None = None) -> Figure:
    """Draw a model as a column of blocks, each a layer with its window, stride and activation, and arrows between.

    Parameters are at the left, FLOPs of the forward pass and the output's shape at the right. Branches of a residual
    meet in a +; the figures of a shortcut's layers are in its block. If the picture is taller than a page, blocks
    that repeat are drawn once, with a x3 beside them; the figures are those of one.

    Args:
        model: any module whose layers define their cost.
        shape: the input of one example, without N.
        ax: a matplotlib axes to draw into; a new figure by default, as large as it needs to be.
        title: a heading; the model's class by default.
    Returns:
        The matplotlib figure.
    Raises:
        ConfigError: matplotlib is not installed, or a layer does not define its cost.
        ShapeError: a layer cannot take its input.
    """
    summary, title = summarize(model, shape), arguments.optional(arguments.text)("blocks", "title", title)
    steps = grouped(summary.steps, lambda r: r.family == "activation" or r.kind == "batch norm")
    picture = _Picture(summary, steps, title or type(model).__name__)
    if picture.height > _TALL:
        picture = _Picture(summary, folded(steps), title or type(model).__name__)
    return picture.draw(ax)


class _Picture:
    """The layout: shapes and texts to draw on a sheet, and its size."""

    def __init__(self, summary: Summary, steps: Steps, title: str) -> None:
        self.marks: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.lanes: dict[int, float] = {}
        self.measure(steps, 0)
        entry = f"input {size(summary.input)}"
        rows = [_row_width(g) for g in _middle(steps)]
        block = max([text_width(entry, _TEXT) + 2 * _PAD, *rows])
        facts = f"{counted(summary.parameters, 'parameter')}, {short(summary.macs)} multiply-adds"
        facts += f", {short(summary.flops_forward)} FLOPs"
        left = max(text_width(t, _TEXT) for t in ("parameters", *(f"{g.parameters:,}" for g in _middle(steps))))
        flops = max(text_width(t, _TEXT) for t in ("FLOPs", *(short(g.flops) for g in _middle(steps)), "000 M"))
        out = max(text_width(t, _TEXT) for t in ("output", *(size(g.main.output) for g in _middle(steps))))
        lanes = sum(self.lanes.values())
        bracket = 0.4 if any(_times(s) > 1 for s in steps) else 0.0
        width = 2 * _MARGIN + left + lanes + block + bracket + flops + out + 0.45
        heading = max(text_width(title, 10, True), text_width(facts, _TEXT)) + 2 * _MARGIN
        spare = max(0.0, heading - width) / 2
        self.width = width + 2 * spare
        self.left = _MARGIN + spare + left
        self.edges = (self.left + 0.15 + lanes, self.left + 0.15 + lanes + block)
        self.flops_at = self.edges[1] + bracket + 0.15 + flops
        self.out_at = self.flops_at + 0.15 + out
        self.families = {"input", *(r.family for g in every(steps) for r in g.layers)}
        self.legend = self.width - 2 * _MARGIN
        x, y = sum(self.edges) / 2, _MARGIN + legend_height(self.families, self.legend) + 0.14
        self.mark("box", self.edges[0], y, block, _HEIGHT, "input")
        self.mark("text", x, y + _HEIGHT / 2, entry, _TEXT)
        y = self.column(steps, x, y + _HEIGHT, 0, False) + 0.16
        for at, text in ((self.left, "parameters"), (self.flops_at, "FLOPs"), (self.out_at, "output")):
            self.mark("text", at, y, text, _TEXT, ha="right", color=GREY)
        self.mark("text", self.width / 2, y + 0.24, facts, _TEXT, color=GREY)
        self.mark("text", self.width / 2, y + 0.44, title, 10, weight="bold")
        self.height = y + 0.44 + 0.1 + _MARGIN

    def mark(self, what: str, *where: Any, **style: Any) -> None:
        """Record something to draw."""
        self.marks.append((what, where, style))

    def draw(self, ax: Any) -> Any:
        """Draw on a sheet."""
        sheet = Sheet(ax, self.width, self.height)
        for what, where, style in self.marks:
            getattr(sheet, what)(*where, **style)
        sheet.legend(self.families, _MARGIN, _MARGIN + legend_height(self.families, self.legend), self.legend)
        return sheet.figure

    def measure(self, steps: Sequence[Any], base: int) -> int:
        """Find how wide each lane beside the column is; return how many lanes the steps need beyond the base."""
        deepest = 0
        for fork in (s for s in steps if isinstance(s, Fork)):
            inner = self.measure(fork.body, base)
            lane = base + inner + 1
            texts = [t for g in every(fork.shortcut) for t in _lines(g)]
            wide = max((text_width(t, _SMALL) + 2 * _PAD + 0.16 for t in texts), default=_LANE)
            self.lanes[lane] = max(wide, self.lanes.get(lane, 0.0))
            deepest = max(deepest, inner + 1 + self.measure(fork.shortcut, lane))
        return deepest

    def lane(self, lane: int) -> float:
        """The middle of a lane."""
        return self.edges[0] - sum(w for k, w in self.lanes.items() if k < lane) - self.lanes[lane] / 2

    def column(self, steps: Sequence[Any], x: float, y: float, base: int, beside: bool) -> float:
        """Put steps above each other from y on, each with an arrow to it; return where they end."""
        for step in steps:
            bottom = y + 0.6 * _GAP
            y = self.fork(step, x, y, base, beside) if isinstance(step, Fork) else self.block(step, x, y, beside)
            if _times(step) > 1:
                at = self.edges[1] + 0.07
                self.mark("line", [(at - 0.04, bottom), (at, bottom), (at, y), (at - 0.04, y)], round=0.02)
                self.mark("text", at + 0.17, (bottom + y) / 2, f"\u00d7{_times(step)}", _TEXT)
        return y

    def block(self, group: Group, x: float, y: float, beside: bool) -> float:
        """Draw an arrow and a block."""
        self.mark("line", [(x, y), (x, y + _GAP)], arrow=True)
        y += _GAP
        if beside:
            lines = _lines(group)
            width, height = max(text_width(t, _SMALL) for t in lines) + 2 * _PAD, _box_height(group)
            self.mark("box", x - width / 2, y, width, height, group.main.family)
            for i, text in enumerate(lines):
                self.mark("text", x, y + height - 0.1 - 0.115 * i, text, _SMALL)
            return y + height
        cells = [(r.family, " ".join((r.kind, *r.details[:1]))) for r in group.after]
        right = self.edges[1]
        self.mark("box", self.edges[0], y, right - self.edges[0], _HEIGHT, group.main.family)
        for family, text in reversed(cells):
            width = text_width(text, _SMALL) + 2 * _PAD
            self.mark("box", right - width, y, width, _HEIGHT, family)
            self.mark("text", right - width / 2, y + _HEIGHT / 2, text, _SMALL)
            right -= width
        self.mark("text", (self.edges[0] + right) / 2, y + _HEIGHT / 2, ", ".join(group.text), _TEXT)
        self.figures(group, y + _HEIGHT / 2)
        self.mark("text", self.out_at, y + _HEIGHT / 2, size(group.main.output), _TEXT, ha="right", color=GREY)
        return y + _HEIGHT

    def figures(self, group: Group, y: float) -> None:
        """Write parameters and FLOPs beside a block, where it has any."""
        if group.parameters:
            self.mark("text", self.left, y, f"{group.parameters:,}", _TEXT, ha="right")
        if group.flops:
            self.mark("text", self.flops_at, y, short(group.flops), _TEXT, ha="right")

    def fork(self, fork: Fork[Group], x: float, y: float, base: int, beside: bool) -> float:
        """Draw both branches, and the sum where they meet."""
        split, lane = y + 0.35 * _GAP, base + 1 + _depth(fork.body)
        end = self.column(fork.body, x, y, base, beside)
        beside_height = sum(_tallness(s) for s in fork.shortcut)
        middle = max(end + _GAP + _SUM, split + beside_height + 0.1)
        self.mark("line", [(x, end), (x, middle - _SUM)], arrow=True)
        if fork.shortcut:
            at = self.lane(lane)
            start = split + (middle - split - beside_height) / 2 - 0.02
            self.mark("line", [(x, split), (at, split), (at, start)], round=0.05)
            top = self.column(fork.shortcut, at, start, lane, True)
            self.mark("line", [(at, top), (at, middle), (x - _SUM, middle)], arrow=True, round=0.05)
        else:
            at = self.lane(lane) + self.lanes[lane] / 2 - _LANE / 2  # as near as it can be
            self.mark("line", [(x, split), (at, split), (at, middle), (x - _SUM, middle)], arrow=True, round=0.05)
        self.mark("plus", x, middle, _SUM)
        right = x + _SUM + 0.05
        for layer in fork.sum.after:
            width = text_width(layer.kind, _SMALL) + 2 * _PAD
            self.mark("box", right, middle - 0.085, width, 0.17, layer.family)
            self.mark("text", right + width / 2, middle, layer.kind, _SMALL)
            right += width
        if not beside:
            self.figures(fork.sum, middle)
        return middle + _SUM


def _times(step: Group | Fork[Group]) -> int:
    return (step.sum if isinstance(step, Fork) else step).times


def _middle(steps: Sequence[Any]) -> Iterator[Group]:
    """The groups that stand in the column itself."""
    for step in steps:
        if isinstance(step, Fork):
            yield from _middle(step.body)
            yield step.sum
        else:
            yield step


def _row_width(group: Group) -> float:
    cells = [" ".join((r.kind, *r.details[:1])) for r in group.after]
    texts = text_width(", ".join(group.text), _TEXT) + sum(text_width(c, _SMALL) for c in cells)
    return texts + 2 * _PAD * (1 + len(cells)) + 0.06


def _lines(group: Group) -> list[str]:
    """A block of a shortcut in lines of text, with its figures."""
    first = 2 if group.main.family in ("convolution", "linear") else 1
    rest = [*group.text[first:], *(r.kind for r in group.after)]
    figures = [counted(group.parameters, "parameter")] * bool(group.parameters) + [
        f"{short(group.flops)} FLOPs"
    ] * bool(group.flops)
    return [", ".join(group.text[:first]), *([", ".join(rest)] if rest else []), *figures]


def _box_height(group: Group) -> float:
    return 0.085 + 0.115 * len(_lines(group))


def _tallness(step: Group | Fork[Group]) -> float:
    """How tall a step of a shortcut is, with the arrow to it."""
    if isinstance(step, Fork):
        branches = (sum(map(_tallness, branch)) for branch in (step.body, step.shortcut))
        return max(branches) + _GAP + 2 * _SUM + 0.2
    return _GAP + _box_height(step)


def _depth(steps: Sequence[Any]) -> int:
    """How many lanes steps need beside them."""
    return max((1 + _depth(s.body) + _depth(s.shortcut) for s in steps if isinstance(s, Fork)), default=0)

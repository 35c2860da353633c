"""Volumes as boxes: their sizes, their faces, and their labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from xpnet.viz.groups import Group
from xpnet.viz.sheet import Sheet, text_width, tint
from xpnet.viz.style import FAMILIES

__all__ = ["LABEL", "TEXT", "UP", "Box", "Scale", "draw_box", "filled", "label", "pieces"]

TEXT = 6.5  # points of a label
LABEL = 0.85  # a label's lines are filled to this width; inches
ACROSS, UP = 0.38, 0.27  # how far a box's width goes to the right and up


@dataclass
class Box:
    """One volume: its group of layers, None for the input; sizes and place in its row in inches."""

    group: Group | None
    shape: tuple[int, ...]
    height: float  # H
    width: float  # W
    depth: float  # C
    label: list[str]
    is_sum: bool = False
    x: float = 0.0
    label_width: float = 0.0

    def __post_init__(self) -> None:
        self.label_width = max(text_width(t, TEXT, i == 0) for i, t in enumerate(self.label))

    @property
    def family(self) -> str:
        """The kind of layer that made it."""
        return self.group.main.family if self.group else "input"

    @property
    def breadth(self) -> float:
        """How far the drawn box goes from left to right."""
        return self.depth + ACROSS * self.width

    @property
    def tallness(self) -> float:
        """How far the drawn box goes from bottom to top."""
        return self.height + UP * self.width

    @property
    def middle(self) -> float:
        """Where its label is centred."""
        return self.x + self.breadth / 2

    def face(self, y: float, part: tuple[float, float] = (1.0, 1.0)) -> list[tuple[float, float]]:
        """Corners of the right face, or of a part of it around its centre; y is the height of the box's centre."""
        x, low = self.x + self.depth, y - self.tallness / 2
        (v, u) = part
        return [
            (x + ACROSS * self.width * b, low + self.height * a + UP * self.width * b)
            for a, b in (
                ((1 - v) / 2, (1 - u) / 2),
                ((1 - v) / 2, (1 + u) / 2),
                ((1 + v) / 2, (1 + u) / 2),
                ((1 + v) / 2, (1 - u) / 2),
            )
        ]

    def entry(self, y: float) -> tuple[float, float]:
        """Where lines enter: the near left edge, as close to the middle as possible."""
        low = y - self.tallness / 2
        return self.x, min(max(y, low + 0.1 * self.height), low + 0.9 * self.height)

    def exit(self, y: float) -> tuple[float, float]:
        """Where lines leave: the far right edge."""
        low = y - self.tallness / 2 + UP * self.width
        return self.x + self.breadth, min(max(y, low + 0.1 * self.height), low + 0.9 * self.height)


class Scale:
    """The scale of sides and depths."""

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        largest = max(max(_extents(s)[:2]) for s in shapes)
        longest = 1.35 * min(1.0, (largest / 64) ** 0.4)
        self.power = min(0.8, math.log(longest / 0.07) / math.log(largest)) if largest > 1 else 0.5
        self.unit = longest / largest**self.power if largest > 1 else 0.09

    def side(self, n: float) -> float:
        """Inches of a height or width."""
        return self.unit * n**self.power

    def sizes(self, shape: tuple[int, ...]) -> tuple[float, float, float]:
        """Inches of H, W and C of a shape."""
        rows, columns, channels = _extents(shape)
        return self.side(rows), self.side(columns), 0.1 * channels**0.25


def _extents(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """H, W and C of any shape: other data than images is one pixel wide, and as high as it has rows."""
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    return math.prod(shape[:-1]), 1, shape[-1]


def draw_box(sheet: Sheet, cell: Box, y: float, repeated: bool) -> None:
    """Draw three faces; of a volume that is shown a second time, its outline."""
    low, up, across = y - cell.tallness / 2, UP * cell.width, ACROSS * cell.width
    left, right, top = cell.x, cell.x + cell.depth, low + cell.height
    front = [(left, low), (right, low), (right, top), (left, top)]
    lid = [(left, top), (right, top), (right + across, top + up), (left + across, top + up)]
    side = [(right, low), (right + across, low + up), (right + across, top + up), (right, top)]
    for face, strength in ((front, 0.35), (lid, 0.2), (side, 0.5)):
        colour = tint(cell.family, strength * (0.25 if repeated else 1.0))
        style = {"linestyle": (0, (2, 1.5))} if repeated else {}
        sheet.polygon(face, facecolor=colour, edgecolor=FAMILIES[cell.family], joinstyle="round", **style)


def pieces(group: Group) -> list[str]:
    """The layers of a group in words."""
    main = group.main
    first = [r.kind for r in group.before]
    name = " ".join((main.kind, *main.details[:1]))
    return [*first, name, *main.details[1:], *(" ".join((r.kind, *r.details[:1])) for r in group.after)]


def label(group: Group) -> list[str]:
    """The layers of a group in lines: the main layer in a line of its own."""
    before, words = len(group.before), pieces(group)
    times = [f"{group.times} times"] * (group.times > 1 and group.main.family != "sum")
    return [*filled(words[:before], LABEL), words[before], *filled(words[before + 1 :], LABEL), *times]


def filled(words: Sequence[str], width: float) -> list[str]:
    """Put words in lines of a width."""
    lines: list[str] = []
    for word in words:
        if lines and text_width(f"{lines[-1]}, {word}", TEXT) <= width:
            lines[-1] += f", {word}"
        else:
            lines.append(word)
    return lines

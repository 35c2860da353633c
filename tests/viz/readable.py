"""What makes a picture hard to read: letters that are small, cut off or over each other, and empty places."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.viz.drawn import overlap, rendered, within

SHOWN, LETTERS = 600, 8  # pixels that a picture is wide on a page, and that its letters then have at least
HOLE = 0.14  # the largest part of a picture, a rectangle, that may be empty


def unreadable(figure: Any) -> list[str]:
    """Say what is hard to read in a figure; that is drawn once more, to know where everything is."""
    renderer = rendered(figure)
    figure.draw(renderer)
    found, wide = [], figure.get_size_inches()[0]
    texts = [(t, t.get_window_extent(renderer)) for t in written(figure) if t.get_visible() and t.get_text().strip()]
    for text, at in texts:
        size = text.get_fontsize() / 72 * SHOWN / wide
        if size < LETTERS - 0.01:
            found.append(f"{text.get_text()!r} has {size:.1f} pixels")
        if not within(at, figure.bbox, 1.5):
            found.append(f"{text.get_text()!r} is cut off")
    for (one, a), (other, b) in itertools.combinations(texts, 2):
        if overlap(a, b, 1.0):
            found.append(f"{one.get_text()!r} is over {other.get_text()!r}")
    empty = [ax for ax in figure.axes if not (ax.has_data() or ax.texts or ax.patches or ax.child_axes)]
    found += [f"an axes is empty: {ax.get_title()!r}" for ax in empty]
    covered = [at for _, at in texts] + [ax.get_tightbbox(renderer) for ax in every_axes(figure) if ax not in empty]
    hole = largest_hole(figure.bbox, [box for box in covered if box is not None])
    return found + [f"a rectangle of {hole:.0%} is empty"] * (hole > HOLE)


def every_axes(figure: Any) -> Iterator[Any]:
    """The axes of a figure, and those within them, such as colour bars."""
    waiting = list(figure.axes)
    while waiting:
        ax = waiting.pop()
        yield ax
        waiting += ax.child_axes


def written(figure: Any) -> Iterator[Any]:
    """All texts that are drawn."""
    parts = [figure]
    for part in parts:
        parts += part.subfigs
        yield from part.texts
        yield from _of_legends(part.legends)
    for ax in every_axes(figure):
        yield from (*ax.texts, ax.title, ax._left_title, ax._right_title)
        yield from _of_legends([ax.get_legend()] if ax.get_legend() else [])
        for axis in (ax.xaxis, ax.yaxis) if ax.axison else ():
            low, high = sorted(axis.get_view_interval())
            room = 1e-6 * (high - low)
            ticks = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=False)
            yield from (label for place, label in ticks if low - room <= place <= high + room)
            yield from (axis.label, axis.offsetText)


def _of_legends(legends: list[Any]) -> Iterator[Any]:
    for legend in legends:
        yield from (*legend.get_texts(), legend.get_title())


def largest_hole(sheet: Any, covered: list[Any], rows: int = 40, columns: int = 60) -> float:
    """The area of the largest empty rectangle, as a share of the sheet, by cells of a grid."""
    free = np.ones((rows, columns), bool)
    for box in covered:
        x0, x1 = (int(np.clip(columns * (x - sheet.x0) / sheet.width, 0, columns)) for x in (box.x0, box.x1))
        y0, y1 = (int(np.clip(rows * (y - sheet.y0) / sheet.height, 0, rows)) for y in (box.y0, box.y1))
        free[y0 : y1 + 1, x0 : x1 + 1] = False
    best, heights = 0, np.zeros(columns, int)
    for row in free:
        heights = np.where(row, heights + 1, 0)  # of free cells below each other, up to this row
        for left in range(columns):
            low = np.minimum.accumulate(heights[left:])
            best = max(best, int((low * np.arange(1, len(low) + 1)).max()))
    return best / (rows * columns)

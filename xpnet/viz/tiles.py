"""Images, and mosaics of small ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet.errors import ShapeError
from xpnet.viz.sheet import text_width
from xpnet.viz.style import IMAGE, TEXT, signed, unsigned

__all__ = ["colours", "columns_for", "mosaic", "pixels", "show"]

_FINE = 24  # pixels that the shorter side of a tile is enlarged to at least, so that frames are thin beside it
_FRAME = 0.6


def pixels(image: np.ndarray, white: float | None = None) -> np.ndarray:
    """Return the brightness, 0 to 1, of an image as data sets have it.

    Args:
        image: (H, W, C), bytes or floating. Of one channel it is grey, of three a colour; of others the mean is grey.
        white: the value of full brightness; where it is not given, or values lie outside 0 .. white, the image's own
            lowest and highest value become 0 and 1.
    Returns: (H, W) or (H, W, 3), float64.
    Raises:
        ShapeError: the image is not (H, W, C).
    """
    if image.ndim != 3 or not image.size:
        raise ShapeError("viz", "an image (H, W, C)", shape=image.shape)
    values = image.astype(np.float64)
    values = values if image.shape[2] == 3 else values.mean(axis=2)
    low, high = float(values.min()), float(values.max())
    if white is None or low < 0 or high > white:
        return (values - low) / (high - low or 1.0)
    return values / white


def show(ax: Any, image: np.ndarray, white: float | None = None) -> None:
    """Draw an image (H, W, C) on an axes, without ticks."""
    ax.imshow(pixels(image, white), cmap=IMAGE, vmin=0.0, vmax=1.0, interpolation="nearest")
    ax.set_axis_off()


def columns_for(count: int, aspect: float = 1.6) -> int:
    """Return how many columns make a mosaic of `count` square tiles about `aspect` times as wide as high, with full
    rows where that is possible.
    """
    best = math.sqrt(count * aspect)
    whole = [c for c in range(1, count + 1) if count % c == 0 and best / 1.6 <= c <= best * 1.6]
    return min(whole, key=lambda c: abs(c - best)) if whole else max(1, round(best))


def colours(values: np.ndarray) -> tuple[np.ndarray, Any]:
    """Return colours of numbers on a common scale: that of both signs where some are negative, else that from 0 on.

    Returns: RGB of 0 to 1, (*values.shape, 3), and what a colour bar is made of.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    chosen = signed(values) if (values < 0).any() else unsigned(values)
    scale = ScalarMappable(Normalize(chosen["vmin"], chosen["vmax"]), chosen["cmap"])
    return np.asarray(scale.to_rgba(values.reshape(-1)))[:, :3].reshape(*values.shape, 3), scale


def mosaic(ax: Any, tiles: np.ndarray, columns: int, labels: Sequence[str] = ()) -> None:
    """Draw tiles on an axes, row by row, each in a thin frame, with a label above where there are labels.

    Args:
        ax: a matplotlib axes.
        tiles: RGB of 0 to 1, (n, h, w, 3).
        columns: how many stand side by side, >= 1.
        labels: up to n texts, each of a few lines. They are as large as fits above a tile, TEXT at most.
    """
    times = -(-_FINE // min(tiles.shape[1:3]))
    fine = tiles.repeat(times, axis=1).repeat(times, axis=2)
    fine = np.pad(fine, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=_FRAME)
    n, high, wide, _ = fine.shape
    gap, rows = max(1, min(high, wide) // 16), -(-n // columns)
    head, size = _heading(ax, labels, rows, columns, (high + gap, wide + gap))
    sheet = np.ones((rows * (high + head + gap) - gap, columns * (wide + gap) - gap, 3))
    for i, tile in enumerate(fine):
        top, left = (i // columns) * (high + head + gap) + head, (i % columns) * (wide + gap)
        sheet[top : top + high, left : left + wide] = tile
        if i < len(labels):
            ax.text(left + wide / 2, top - 0.12 * head, labels[i], ha="center", va="bottom", fontsize=size)
    ax.imshow(sheet, interpolation="nearest")
    ax.set_axis_off()


def _heading(ax: Any, labels: Sequence[str], rows: int, columns: int, pitch: tuple[int, int]) -> tuple[int, float]:
    """The height of the labels above each tile, in the sheet's pixels, and their size, in points."""
    if not labels:
        return 0, TEXT
    high, wide = pitch
    room = ax.get_window_extent()
    across, down = (72 * side / ax.figure.dpi for side in (room.width, room.height))  # points
    lines = 1.35 * max(label.count("\n") + 1 for label in labels)  # each with the space to the next
    longest = 72 * max(text_width(line, 1.0) for label in labels for line in label.split("\n"))  # at one point
    size = float(TEXT)
    while True:
        points = min(  # a pixel of the sheet, as the picture keeps its aspect
            across / (columns * wide), max(0.1, (down / rows - lines * size) / high)
        )
        if 1.1 * longest * size <= points * wide or size <= 2.0:  # small letters are rounded up to pixels
            return round(lines * size / points), size
        size -= 0.25

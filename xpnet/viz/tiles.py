"""Images, and mosaics of small ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpnet.errors import ShapeError

__all__ = ["bar", "colours", "columns_for", "mosaic", "pixels", "show"]

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
    ax.imshow(pixels(image, white), cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    ax.set_axis_off()


def columns_for(count: int, aspect: float = 1.6) -> int:
    """Return how many columns make a mosaic of `count` square tiles about `aspect` times as wide as high, with full
    rows where that is possible.
    """
    best = math.sqrt(count * aspect)
    whole = [c for c in range(1, count + 1) if count % c == 0 and best / 1.6 <= c <= best * 1.6]
    return min(whole, key=lambda c: abs(c - best)) if whole else max(1, round(best))


def colours(values: np.ndarray) -> tuple[np.ndarray, Any]:
    """Return colours of numbers on a common scale: red above 0 and blue below where some are negative; else from dark
    to bright.

    Returns: RGB of 0 to 1, (*values.shape, 3), and what a colour bar is made of.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    top = float(np.max(np.abs(values), initial=0.0)) or 1.0
    signed = bool((values < 0).any())
    scale = ScalarMappable(Normalize(-top if signed else 0.0, top), "RdBu_r" if signed else "viridis")
    return np.asarray(scale.to_rgba(values.reshape(-1)))[:, :3].reshape(*values.shape, 3), scale


def bar(ax: Any, scale: Any) -> None:
    """Draw a colour bar beside an axes, as high as its picture."""
    beside = ax.figure.colorbar(scale, cax=ax.inset_axes((1.02, 0.0, 0.03, 1.0)))
    beside.ax.tick_params(labelsize=8)
    beside.outline.set_linewidth(0.5)


def mosaic(ax: Any, tiles: np.ndarray, columns: int, labels: list[str] | None = None, lines: int = 1) -> None:
    """Draw tiles on an axes, row by row, each in a thin frame, with a label above where there are labels.

    Args:
        ax: a matplotlib axes.
        tiles: RGB of 0 to 1, (n, h, w, 3).
        columns: how many stand side by side, >= 1.
        labels: up to n texts, each of so many lines.
    """
    times = -(-_FINE // min(tiles.shape[1:3]))
    fine = tiles.repeat(times, axis=1).repeat(times, axis=2)
    fine = np.pad(fine, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=_FRAME)
    n, high, wide, _ = fine.shape
    gap = max(1, min(high, wide) // 16)
    head = round(wide * (0.1 + 0.18 * lines)) if labels else 0
    rows = -(-n // columns)
    sheet = np.ones((rows * (high + head + gap) - gap, columns * (wide + gap) - gap, 3))
    points = 72 / ax.figure.dpi * ax.get_window_extent().width * wide / sheet.shape[1]  # about the width of a tile
    size = min(9.0, points * (0.2 if lines == 1 else 0.115))
    for i, tile in enumerate(fine):
        top, left = (i // columns) * (high + head + gap) + head, (i % columns) * (wide + gap)
        sheet[top : top + high, left : left + wide] = tile
        if labels and i < len(labels):
            ax.text(left + wide / 2, top - wide * 0.04, labels[i], ha="center", va="bottom", fontsize=size)
    ax.imshow(sheet, interpolation="nearest")
    ax.set_axis_off()

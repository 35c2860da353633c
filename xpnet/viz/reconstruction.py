"""Inputs and what a model makes of them, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet import arguments
from xpnet.errors import ShapeError
from xpnet.viz.canvas import panels
from xpnet.viz.predicting import host
from xpnet.viz.style import PALETTE, TEXT, TITLE
from xpnet.viz.tiles import mosaic, pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["reconstruction"]

_CHUNK = 256  # examples compared at a time


def reconstruction(inputs: Any, outputs: Any, ax: Any = None, *, white: float | None = None, count: int = 6) -> Figure:
    """Draw inputs and outputs side by side: those with the smallest squared error, and those with the largest.

    Args:
        inputs: (N, ...): images (H, W, C), or others, which are drawn as lines; read in parts where it is Lazy.
        outputs: (N, ...), as many numbers an example, in the units of the inputs.
        ax: a matplotlib axes, of a grid, whose place they take; a new figure by default.
        white: the value of full brightness of images; by default each pair's own range is drawn.
        count: how many of each at most, >= 1.
    Returns: the matplotlib Figure; of each pair, the input is above or darker.
    Raises:
        ShapeError: inputs and outputs differ. ConfigError: count is out of range, or matplotlib is not installed.
    """
    count = arguments.count("reconstruction", "count", count)
    white = None if white is None else arguments.number("reconstruction", "white", white, 0, above=True)
    x = inputs if hasattr(inputs, "sample") else host(inputs)
    y = host(outputs)
    if x.ndim < 2 or not y.size or x.shape[:1] != y.shape[:1] or np.prod(x.shape[1:]) != np.prod(y.shape[1:]):
        rule = "inputs and outputs (N, ...) of as many numbers an example"
        raise ShapeError("reconstruction", rule, inputs=tuple(x.shape), outputs=y.shape)
    y = y.reshape(x.shape)
    errors = _errors(x, y)
    order = np.argsort(errors, kind="stable")
    count = min(count, max(1, len(x) // 2)) if len(x) > 1 else 1
    is_image = x.ndim == 4
    chosen = {"smallest errors": order[:count], "largest errors": order[-count:][::-1]}
    if len(x) == 1:
        del chosen["smallest errors"]
    high = 2 * (1.35 * x.shape[1] / x.shape[2] + 0.2) + 0.4 if is_image else 2.2
    figure, axes = panels(ax, len(chosen), 1, (1.35 * max(count, 4) if is_image else 9.0, high * len(chosen)))
    for panel, (words, rows) in zip(axes[:, 0], chosen.items(), strict=True):
        pairs = [(np.asarray(x[i : i + 1])[0], y[i]) for i in rows.tolist()]
        labels = [f"output: {errors[i]:.2g}" if is_image else f"{errors[i]:.3g}" for i in rows]
        panel.set_title(f"{words} (mean squared)", fontsize=TITLE, loc="left")
        (_images if is_image else _lines)(panel, pairs, labels, white)
    return figure


def _errors(x: Any, y: np.ndarray) -> np.ndarray:
    """Mean squared error of each example, (N,)."""
    found = np.empty(len(y))
    for start in range(0, len(y), _CHUNK):
        part = slice(start, start + _CHUNK)
        d = np.asarray(x[part], np.float64) - y[part]
        found[part] = np.square(d).reshape(len(d), -1).mean(axis=1)
    return np.where(np.isnan(found), np.inf, found)


def _images(ax: Any, pairs: list[tuple[np.ndarray, np.ndarray]], labels: list[str], white: float | None) -> None:
    above, below = [], []
    for image, made in pairs:
        both = np.concatenate([image.astype(np.float64), np.nan_to_num(made.astype(np.float64))])  # of one range
        shades = pixels(both if white is None else np.clip(both, 0, white), white)
        shades = shades if shades.ndim == 3 else shades[..., np.newaxis].repeat(3, axis=2)
        above.append(shades[: len(image)])
        below.append(shades[len(image) :])
    mosaic(ax, np.stack(above + below), len(pairs), ["input"] * len(pairs) + labels)


def _lines(ax: Any, pairs: list[tuple[np.ndarray, np.ndarray]], labels: list[str], white: float | None) -> None:
    """Draw each example as a line of its numbers, beside the others."""
    size = pairs[0][0].size
    for i, (line, made) in enumerate(pairs):
        at = i * 1.1 + np.arange(size) / max(1, size - 1)
        style = {"linewidth": 1.2, "marker": "." if size < 30 else ""}
        ax.plot(at, line.ravel(), color=PALETTE[0], label="input" if not i else None, **style)
        ax.plot(at, made.ravel(), color=PALETTE[1], label="output" if not i else None, **style)
        ax.text(
            i * 1.1 + 0.5, -0.02, labels[i], transform=ax.get_xaxis_transform(), ha="center", va="top", fontsize=TEXT
        )
    ax.set_xticks([])
    ax.tick_params(labelsize=TEXT)
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    ax.legend(frameon=False, fontsize=TEXT, loc="upper left", bbox_to_anchor=(1.0, 1.0))

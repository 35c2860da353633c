"""Figures, panels in the place of an axes, and picture files."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import arguments
from xpnet.errors import ConfigError, nearest
from xpnet.libraries import require
from xpnet.output import printable
from xpnet.writing import write_atomically

__all__ = ["FORMATS", "check_format", "figure_of", "need_matplotlib", "panels", "save", "to_png"]

FORMATS = ("svg", "png", "pdf")


def need_matplotlib() -> None:
    """Raise ConfigError, with the command that installs it, where matplotlib is missing."""
    require("viz", "matplotlib", "viz")


def panels(
    ax: Any = None, rows: int = 1, columns: int = 1, size: tuple[float, float] = (6.4, 4.0), **ratios: Any
) -> tuple[Any, np.ndarray]:
    """Make a figure of rows x columns panels, or panels in the place of an axes.

    Args:
        ax: a matplotlib axes: a single panel is drawn on it, several take its place; None: a new figure.
        rows, columns: how many panels, >= 1.
        size: width and height of a new figure, inches.
        ratios: width_ratios and height_ratios of the panels.
    Returns:
        The figure, and its axes, (rows, columns).
    Raises:
        ConfigError: matplotlib is not installed, or an axes that several panels should replace is in no grid.
    """
    need_matplotlib()
    from xpnet.viz.figure import Picture, shown_once

    if ax is None:
        figure = Picture(figsize=size, layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False, gridspec_kw=ratios)
    figure = figure_of(ax)
    if rows == columns == 1:
        return shown_once(figure.figure), np.array([[ax]], dtype=object)
    place = ax.get_subplotspec()
    if place is None:
        raise ConfigError("viz", "an axes of a grid for several panels", "make it by subplots()", ax=ax)
    ax.remove()
    grid = place.subgridspec(rows, columns, **ratios)
    axes = [[figure.add_subplot(grid[i, j]) for j in range(columns)] for i in range(rows)]
    return shown_once(figure.figure), np.array(axes, dtype=object)


def figure_of(ax: Any) -> Any:
    """Return the figure, or the part of a figure, that an axes is in.

    Raises:
        ConfigError: matplotlib is not installed, or it is no axes.
    """
    need_matplotlib()
    from matplotlib.figure import FigureBase

    figure = getattr(ax, "figure", None)
    if not isinstance(figure, FigureBase):
        raise ConfigError("viz", "ax, a matplotlib axes", ax=arguments.shown(ax))
    return figure


def check_format(path: str | Path) -> str:
    """Return the format that a file's ending names, one of FORMATS; ConfigError for any other."""
    kind = arguments.path("out", "path", path).suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        hint = nearest(kind, FORMATS)
        raise ConfigError("out", f"path, a file that ends in one of {', '.join(FORMATS)}", hint, file=repr(str(path)))
    return kind


def save(figure: Any, path: str | Path, *, dpi: int = 150) -> None:
    """Write a figure to a file, whose ending says the format; text in an SVG stays text.

    Args:
        figure: a matplotlib figure.
        path: a file in a folder that exists; written in one piece, or not at all.
        dpi: dots an inch of a PNG.
    Raises:
        ConfigError: the ending is none of FORMATS. CheckpointError: the folder cannot be written to.
    """
    from matplotlib import rc_context

    if not hasattr(figure, "savefig"):
        raise ConfigError("save", "figure, a matplotlib figure", figure=arguments.shown(figure))
    kind, content, dpi = check_format(path), io.BytesIO(), arguments.count("save", "dpi", dpi, 1, 10_000)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "xpnet"}):  # the salt makes ids, and so files, repeat
        figure.savefig(content, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else None)
    data = content.getvalue()
    write_atomically(path, "\n".join(map(printable, data.decode().split("\n"))).encode() if kind == "svg" else data)


def to_png(figure: Any, dpi: int = 100) -> bytes:
    """Return a figure as the bytes of a PNG."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a name in letters that the font lacks is drawn as boxes
        figure.savefig(content, format="png", dpi=dpi)
    return content.getvalue()

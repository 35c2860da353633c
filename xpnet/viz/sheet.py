"""A sheet to draw a model on: an axes measured in inches, text of known width, boxes, arrows and a legend."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from xpnet.viz.canvas import panels
from xpnet.viz.style import FAMILIES, rgb

__all__ = ["GREY", "INK", "Sheet", "legend_height", "text_width", "tint"]

INK, GREY = "#222222", "#666666"
_SWATCH = 0.13


def tint(family: str, strength: float = 0.35) -> tuple[float, float, float]:
    """Mix a family's colour with white: 0 is white, 1 the colour; beyond 1 with black, 2 is black."""
    colour = rgb(FAMILIES[family])
    red, green, blue = (colour * (2 - strength) if strength > 1 else 1 - strength * (1 - colour)).tolist()
    return red, green, blue


@lru_cache(maxsize=4096)
def text_width(text: str, size: float, bold: bool = False) -> float:
    """Measure a line of text of a size in points; inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=size, weight="bold" if bold else "normal")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a letter that the font lacks is drawn as a box
        return 1.03 * text_to_path.get_text_width_height_descent(text, font, False)[0] / 72  # screens round letters up


class Sheet:
    """A figure of its own of width x height inches, or that drawing fitted into an axes that is given.

    Args:
        ax: a matplotlib axes, or None for a new figure.
        width, height: inches.
    """

    def __init__(self, ax: Any, width: float, height: float) -> None:
        self.figure, axes = panels(ax, size=(width, height))
        self.ax = axes[0, 0]
        self.scale = 1.0
        if ax is None:
            self.figure.set_layout_engine("none")
            self.ax.set_position((0, 0, 1, 1))
        else:
            room = self.ax.get_window_extent()
            self.scale = min(room.width / width, room.height / height) / self.figure.dpi
        self.ax.set(xlim=(0, width), ylim=(0, height), aspect="equal")
        self.ax.set_axis_off()

    def text(self, x: float, y: float, text: str, size: float, **style: Any) -> None:
        """Write a line, by default centred on x and y."""
        style = {"ha": "center", "va": "center", "color": INK, "parse_math": False, **style}
        self.ax.text(x, y, text, fontsize=size * self.scale, **style)

    def box(self, x: float, y: float, width: float, height: float, family: str, round: float = 0.04) -> None:
        """Draw a box with rounded corners, in a family's colours."""
        from matplotlib.patches import FancyBboxPatch

        style = f"round,pad=0,rounding_size={round}"
        colours = {"facecolor": tint(family), "edgecolor": FAMILIES[family], "linewidth": self.scale}
        self.ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, **colours))

    def polygon(self, points: Sequence[tuple[float, float]], **style: Any) -> None:
        """Draw a polygon; linewidth in points."""
        from matplotlib.patches import Polygon

        style["linewidth"] = style.get("linewidth", 0.7) * self.scale
        self.ax.add_patch(Polygon(points, closed=True, **style))

    def circle(self, x: float, y: float, radius: float, **style: Any) -> None:
        """Draw a circle."""
        from matplotlib.patches import Circle

        style["linewidth"] = style.get("linewidth", 1.0) * self.scale
        self.ax.add_patch(Circle((x, y), radius, **style))

    def plus(self, x: float, y: float, radius: float) -> None:
        """Draw the sign of a sum."""
        self.circle(x, y, radius, facecolor=tint("sum"), edgecolor=FAMILIES["sum"])
        arm = 0.55 * radius
        self.line([(x - arm, y), (x + arm, y)], color=INK)
        self.line([(x, y - arm), (x, y + arm)], color=INK)

    def line(
        self, points: Sequence[tuple[float, float]], *, arrow: bool = False, round: float = 0.0, **style: Any
    ) -> None:
        """Draw a line through points, corners rounded, with an arrow's head at its end."""
        from matplotlib.patches import FancyArrowPatch, PathPatch
        from matplotlib.path import Path

        path = Path(*_rounded(points, round))
        style = {"color": GREY, "linewidth": 0.9, **style}
        style["linewidth"] *= self.scale
        if arrow:
            head = f"-|>,head_length={2.6 * self.scale},head_width={1.5 * self.scale}"
            patch = FancyArrowPatch(path=path, arrowstyle=head, mutation_scale=1, joinstyle="miter", **style)
        else:
            style["edgecolor"] = style.pop("color")
            patch = PathPatch(path, facecolor="none", **style)
        self.ax.add_patch(patch)

    def legend(self, families: Iterable[str], x: float, y: float, width: float, size: float = 7.0) -> None:
        """Say which colour is which kind, in lines of a width, downwards from y."""
        for row in _legend_rows(families, width, size):
            at = x
            for family in row:
                self.box(at, y - 0.5 * _SWATCH - 0.07, _SWATCH, _SWATCH, family, 0.02)
                self.text(at + _SWATCH + 0.06, y - 0.07, family, size, ha="left")
                at += _entry(family, size)
            y -= 0.2


def legend_height(families: Iterable[str], width: float, size: float = 7.0) -> float:
    """Measure the legend; inches."""
    return 0.2 * len(_legend_rows(families, width, size))


def _entry(family: str, size: float) -> float:
    return _SWATCH + 0.06 + text_width(family, size) + 0.2


def _legend_rows(families: Iterable[str], width: float, size: float) -> list[list[str]]:
    rows: list[list[str]] = [[]]
    left = width
    for family in (f for f in FAMILIES if f in set(families)):
        if rows[-1] and left < _entry(family, size):
            rows.append([])
            left = width
        rows[-1].append(family)
        left -= _entry(family, size)
    return rows


def _rounded(points: Sequence[tuple[float, float]], radius: float) -> tuple[list[tuple[float, float]], list[int]]:
    """Vertices and codes of a path through points, each corner cut and replaced by a curve."""
    from matplotlib.path import Path

    vertices, codes = [points[0]], [Path.MOVETO]
    for before, corner, then in zip(points, points[1:], points[2:], strict=False):
        ends = []
        for other in (before, then):
            length = max(1e-9, ((other[0] - corner[0]) ** 2 + (other[1] - corner[1]) ** 2) ** 0.5)
            share = min(radius / length, 0.5)
            ends.append((corner[0] + share * (other[0] - corner[0]), corner[1] + share * (other[1] - corner[1])))
        vertices += [ends[0], corner, ends[1]]
        codes += [Path.LINETO, Path.CURVE3, Path.CURVE3]
    return [*vertices, points[-1]], [int(c) for c in [*codes, Path.LINETO]]

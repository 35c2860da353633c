"""One language for every picture: colours, colour maps, markers and sizes. Reports take their colours from here too.

Red is positive and blue negative, in weights, filters, maps, residuals and decision boundaries alike. Numbers without a
sign go from dark (0) to bright. Classes and curves have the colours of PALETTE in order; classes have markers too.

    ax.imshow(weights, **style.signed(weights))     # one scale around 0, which is white
    style.bar(ax, "weight")                         # its colour bar
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

__all__ = [
    "CORRECT", "DENSE", "FAMILIES", "IMAGE", "MARKERS", "NEGATIVE", "ON_DARK", "PALETTE", "PARTS", "POSITIVE", "QUIET",
    "TEXT", "TITLE", "WIDTH", "WRONG", "bar", "despine", "rgb", "signed", "unsigned",
]  # fmt: skip

# Okabe and Ito (2008), but for a red that is one: under each kind of colour vision, any two are at least as far apart
# as theirs. On a dark page the first six are brighter. The playground has the same.
PALETTE = ("#0072B2", "#D1431F", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
ON_DARK = ("#3A96D6", "#EC6842", "#00B282", "#DC8EB8", "#F0B428", "#8CCEF5")
MARKERS = ("o", "s", "^", "D", "X", "v", "P", "*", "<", ">")  # of classes, in their order

NEGATIVE, POSITIVE = PALETTE[:2]
CORRECT, WRONG = PALETTE[:2]  # predictions
PARTS = {"train": PALETTE[0], "test": PALETTE[1], "validation": PALETTE[2]}  # of the data
FAMILIES = {  # of layers, by nn.Module.family: the entries of a legend, in their order
    "input": "#666666",
    "convolution": PALETTE[0],
    "linear": PALETTE[1],
    "pooling": PALETTE[2],
    "normalization": PALETTE[3],
    "activation": PALETTE[4],
    "sum": PALETTE[5],
    "other": PALETTE[6],
    "reshape": "#999999",
    "dropout": "#BBBBBB",
}
QUIET = "0.4"  # lines and words that are not the point
IMAGE = "gray"  # the colour map of images; that of numbers is signed or unsigned

# Inches and points: in a picture of WIDTH that is shown 600 pixels wide, letters of TEXT have 8 pixels.
WIDTH = 9.0
TITLE, TEXT, DENSE = 10, 9, 7  # DENSE: of many names below each other


def rgb(colour: str) -> np.ndarray:
    """Red, green and blue, 0 to 1, of a colour such as "#0072B2"."""
    return np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])


@cache
def _signed_map() -> Any:
    """The colour map from dark blue through white to dark red."""
    from matplotlib.colors import LinearSegmentedColormap

    stops = (0.0, "#043556"), (0.19, NEGATIVE), (0.5, "#F7F7F7"), (0.81, POSITIVE), (1.0, "#5C160A")
    return LinearSegmentedColormap.from_list("signed", stops)


def signed(*values: Any) -> dict[str, Any]:
    """Options of imshow for numbers of both signs: one scale for all the arrays given, around 0."""
    top = _largest(values)
    return {"cmap": _signed_map(), "vmin": -top, "vmax": top}


def unsigned(*values: Any) -> dict[str, Any]:
    """Options of imshow for numbers without a sign: one scale for all the arrays given, from 0 on."""
    return {"cmap": "viridis", "vmin": 0.0, "vmax": _largest(values)}


def _largest(values: tuple[Any, ...]) -> float:
    return max((float(np.abs(v).max(initial=0.0)) for v in values), default=0.0) or 1.0


def bar(ax: Any, label: str = "", scale: Any = None) -> Any:
    """Draw a colour bar at the right of an axes, as high as its picture, and return it.

    Args:
        ax: a matplotlib axes.
        label: what the numbers are, with their unit.
        scale: what has the colours and limits; by default the last picture drawn on the axes.
    """
    found = ax.figure.colorbar(scale or ax.get_images()[-1], cax=ax.inset_axes((1.03, 0.0, 0.03, 1.0)))
    found.ax.tick_params(labelsize=TEXT)
    found.outline.set_linewidth(0.5)
    if label:
        found.set_label(label, fontsize=TEXT)
    return found


def despine(*axes: Any, grid: str | None = "both") -> None:
    """Remove the lines of axes at the top and the right, and draw a faint grid over "x", "y", "both" or none."""
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        if grid:
            ax.grid(axis=grid, alpha=0.25)

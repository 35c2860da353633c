"""Figures that notebooks show as pictures, once. matplotlib is loaded with this file, when one is drawn."""

from __future__ import annotations

import functools
import io
from typing import Any

import matplotlib
from matplotlib.figure import Figure

__all__ = ["Picture", "shown_once"]


class Picture(Figure):
    """A matplotlib figure that shows itself where it is the last line of a notebook's cell."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png", dpi=100)
        return content.getvalue()

    def __repr__(self) -> str:
        width, height = self.get_size_inches()
        return f"<Figure of {width:.1f} x {height:.1f} inches: savefig(file) writes it>"


def shown_once(figure: Any) -> Any:
    """Return a figure that a notebook shows once: as the last line of a cell, or else where pyplot shows it.

    Without this, a figure of pyplot that a function returns is shown twice, as pyplot shows its open figures at the end
    of each cell too, and closes them.
    """
    if getattr(figure.canvas, "manager", None) is not None and "inline" in matplotlib.get_backend():
        figure._ipython_display_ = functools.partial(_show, figure)
    return figure


def _show(figure: Any) -> None:
    from IPython.display import display  # pyright: ignore[reportMissingImports]
    from matplotlib import pyplot

    del figure._ipython_display_
    display(figure)  # in the formats that are chosen for figures
    pyplot.close(figure)

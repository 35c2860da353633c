"""Figures that notebooks show as pictures, without pyplot. matplotlib is loaded with this file, when one is drawn."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

__all__ = ["Picture"]


class Picture(Figure):
    """A matplotlib figure that shows itself where it is the last line of a notebook's cell."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png", dpi=100)
        return content.getvalue()

    def __repr__(self) -> str:
        width, height = self.get_size_inches()
        return f"<Figure of {width:.1f} x {height:.1f} inches: savefig(file) writes it>"

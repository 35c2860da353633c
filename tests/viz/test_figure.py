"""Figures in a notebook, which looks for _repr_png_."""

from __future__ import annotations

import sys

from xpnet import viz

HISTORY = [{"epoch": n, "train_loss": 1 / n} for n in (1, 2)]


def test_a_figure_shows_itself_as_a_png_without_pyplot():
    figure = viz.curves(HISTORY)
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert "4.5 x 3.6 inches" in repr(figure)
    assert "matplotlib.pyplot" not in sys.modules or figure.canvas.manager is None

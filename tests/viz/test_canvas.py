"""Panels, formats and files."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from tests.harness import raises
from xpnet.errors import ConfigError
from xpnet.viz.canvas import check_format, need_matplotlib, panels, save


def test_panels_make_a_figure_of_the_size_asked_for():
    figure, axes = panels(None, 2, 3, (5.0, 2.0))
    assert axes.shape == (2, 3)
    assert tuple(figure.get_size_inches()) == (5.0, 2.0)
    assert figure.axes == list(axes.flat)


def test_a_single_panel_is_drawn_on_the_axes_given():
    ax = Figure().subplots()
    figure, axes = panels(ax)
    assert axes[0, 0] is ax
    assert figure is ax.figure


def test_several_panels_take_the_place_of_the_axes_given():
    figure = Figure(layout="constrained")
    left, right = figure.subplots(1, 2)
    _, axes = panels(right, 2, 2, width_ratios=(1, 3))
    assert right not in figure.axes
    assert left in figure.axes
    figure.draw_without_rendering()
    edge = left.get_position().x1
    assert all(a.get_position().x0 > edge for a in axes.flat)
    narrow, wide = axes[0, 0].get_position().width, axes[0, 1].get_position().width
    assert wide == pytest.approx(3 * narrow, rel=0.05)


def test_an_axes_without_a_grid_has_no_place_for_several_panels():
    ax = Figure().add_axes((0.1, 0.1, 0.8, 0.8))
    with raises(ConfigError, "viz", "Axes"):
        panels(ax, 2, 1)


@pytest.mark.parametrize(
    ("name", "hint"), [("a.jpg", "did you mean 'png'"), ("a", "pdf, png, svg"), ("a.pn", "did you mean 'png'")]
)
def test_a_format_that_is_not_known_is_refused(name, hint, tmp_path):
    with raises(ConfigError, "out", name, hint):
        check_format(name)
    with raises(ConfigError, "out", name):
        save(Figure(), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "start"), [("a.svg", b"<?xml"), ("a.PNG", b"\x89PNG"), ("a.pdf", b"%PDF")])
def test_the_ending_says_the_format(name, start, tmp_path):
    figure, axes = panels()
    axes[0, 0].set_title("a title")
    save(figure, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_text_in_an_svg_stays_text_and_the_file_repeats(tmp_path):
    for name in ("a.svg", "b.svg"):
        figure, axes = panels()
        axes[0, 0].set_title("receptive field")
        save(figure, tmp_path / name)
    content = (tmp_path / "a.svg").read_text()
    assert "receptive field" in content
    assert "<text" in content
    assert content == (tmp_path / "b.svg").read_text()


def test_without_matplotlib_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with raises(ConfigError, "viz", "matplotlib", "pip install 'xpnet[viz]'"):
        need_matplotlib()
    with raises(ConfigError, "viz", "pip install 'xpnet[viz]'"):
        panels()

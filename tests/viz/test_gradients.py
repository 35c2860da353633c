"""Gradient flow drawn: what each line is, what is said of it, and what cannot be drawn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from tests.harness import raises
from xpnet.errors import ConfigError
from xpnet.train import GradientFlow
from xpnet.viz import gradient_flow


class Flow(NamedTuple):
    """What a GradientFlow shows of itself."""

    layers: tuple[str, ...]
    norms: np.ndarray


def flow(steps: int = 30, *layers: str) -> Flow:
    """A flow whose norm at step s of layer l is (s + 1)^2 * 10^l."""
    layers = layers or ("first", "second", "third")
    return Flow(layers, (np.arange(steps) + 1.0)[:, None] ** 2 * 10.0 ** np.arange(len(layers)))


def lines(figure) -> list[np.ndarray]:
    return [np.asarray(line.get_ydata()) for line in figure.axes[0].get_lines() if line.get_marker() == "."]


def legend(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_lines_are_the_median_norms_of_the_first_the_middle_and_the_last_tenth():
    figure = gradient_flow(flow(30))
    powers = np.array([1.0, 10.0, 100.0])
    for got, middle in zip(lines(figure), (2.0, 15.0, 29.0), strict=True):  # of 1..3, 14..16, 28..30, squared
        np.testing.assert_allclose(got, middle**2 * powers)
    assert legend(figure) == ["first tenth of the steps", "middle tenth", "last tenth"]


def test_one_step_is_enough():
    for got in lines(gradient_flow(flow(1))):
        np.testing.assert_allclose(got, (1.0, 10.0, 100.0))


def test_layers_are_named_in_order_of_depth_on_a_logarithmic_axis():
    ax = gradient_flow(flow()).axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["first", "second", "third"]
    assert ax.get_yscale() == "log"
    low, high = ax.get_ylim()
    assert low < 4.0
    assert high > 84_000.0


def test_the_axis_spans_a_decade_even_if_the_norms_are_alike():
    low, high = gradient_flow(Flow(("a", "b"), np.full((4, 2), 3.0))).axes[0].get_ylim()
    assert high / low == pytest.approx(10.0)
    assert low < 3.0 < high


def test_of_several_flows_each_has_a_line_of_all_its_steps_and_a_shade_of_eight_of_ten():
    figure = gradient_flow({"sigmoid": flow(), "ReLU": flow(11, "only", "two")})
    first, second = [line for line in figure.axes[0].get_lines() if line.get_marker() == "."]
    assert first.get_color() != second.get_color()
    np.testing.assert_allclose(second.get_ydata(), 6.0**2 * np.array([1.0, 10.0]))  # the median of 1..11, squared
    shade = figure.axes[0].collections[1].get_paths()[0].vertices
    assert (shade[:, 1].min(), shade[:, 1].max()) == pytest.approx((2.0**2, 10 * 10.0**2))  # all but one at each end
    assert legend(figure) == ["sigmoid", "ReLU", "eight of ten steps"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["first", "second", "third"]


def test_layers_that_get_nothing_are_marked_at_the_bottom():
    norms = np.array([[0.0, 1.0, 0.0, 2.0]])
    figure = gradient_flow(Flow(("a", "b", "c", "d"), norms))
    assert np.isnan(lines(figure)[0]).tolist() == [True, False, True, False]
    marks = [line for line in figure.axes[0].get_lines() if line.get_marker() == "v"]
    assert [list(mark.get_xdata()) for mark in marks] == [[1, 3]] * 3
    assert gradient_flow(Flow(("a",), np.zeros((3, 1)))).axes[0].get_yscale() == "linear"


def test_layers_may_be_chosen():
    figure = gradient_flow(flow(), layers=["third", "first"])
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["third", "first"]
    np.testing.assert_allclose(lines(figure)[0], (400.0, 4.0))
    with raises(ConfigError, "gradient_flow", "'thrid'", "did you mean 'third'?", "first, second, third"):
        gradient_flow(flow(), layers=["thrid"])


def test_names_of_many_layers_stand_upright_and_some_are_left_out():
    names = tuple(f"stage.block{i}" for i in range(70))
    figure = gradient_flow(Flow(names, np.ones((2, 70))))
    labels = figure.axes[0].get_xticklabels()
    assert len(labels) <= 30
    assert {label.get_rotation() for label in labels} == {90.0}


def test_a_flow_that_has_seen_nothing_is_refused():
    with raises(ConfigError, "gradient_flow", "'deep'", "give it to a Trainer as a callback"):
        gradient_flow({"deep": GradientFlow()})
    with raises(ConfigError, "gradient_flow", "none"):
        gradient_flow({})


def test_an_axes_that_is_given_is_drawn_on_and_its_neighbour_keeps_its_place():
    figure = Figure(figsize=(8, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    assert gradient_flow(flow(), ax=right) is figure
    assert len(right.get_lines()) == 3
    assert not left.get_lines()
    figure.draw_without_rendering()
    assert left.get_position().width > 0.35

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.colors import to_rgb

from tests.harness import raises
from xpnet.errors import ShapeError
from xpnet.viz import regression
from xpnet.viz.style import NEGATIVE, POSITIVE

RNG = np.random.default_rng(1)


def dots(ax) -> np.ndarray:
    return np.asarray(ax.collections[0].get_offsets())


def test_points_are_true_and_predicted_with_residuals_below():
    true, predicted = np.array([1.0, 2.0, 4.0]), np.array([1.5, 1.0, 4.0])
    above, below = regression(predicted, true).axes
    assert np.allclose(dots(above), np.stack([true, predicted], axis=1))
    assert np.allclose(dots(below), np.stack([true, predicted - true], axis=1))
    assert above.get_ylabel() == "predicted"
    assert below.get_xlabel() == "true"


def test_what_is_too_high_is_red_and_what_is_too_low_is_blue():
    for ax in regression([1.5, 1.0, 4.5], [1.0, 2.0, 4.0]).axes:
        (points,) = ax.collections
        assert [tuple(c[:3]) for c in points.get_facecolors()] == [to_rgb(c) for c in (POSITIVE, NEGATIVE, POSITIVE)]


def test_the_title_holds_the_errors_of_all_points():
    sklearn = pytest.importorskip("sklearn.metrics")
    true = RNG.normal(50, 10, 5000)
    predicted = true + RNG.normal(1, 3, 5000)
    above, _ = regression(predicted, true, ["price"]).axes
    r2 = sklearn.r2_score(true, predicted)
    rmse, mae = sklearn.root_mean_squared_error(true, predicted), sklearn.mean_absolute_error(true, predicted)
    assert above.get_title() == f"price\nRMSE {rmse:.4g}, MAE {mae:.4g}, R2 {r2:.3f}"
    assert len(dots(above)) == 2000


@pytest.mark.parametrize(("targets", "drawn"), [(1, 1), (2, 2), (5, 5), (15, 12)])
def test_each_target_has_its_panel_up_to_twelve(targets, drawn):
    t = RNG.normal(0, 1, (20, targets))
    figure = regression(t * 0.5, t, [f"target {k}" for k in range(targets)])
    titles = [ax.get_title().partition("\n")[0] for ax in figure.axes if ax.get_title()]
    assert titles == [f"target {k}" for k in range(drawn)]


def test_points_that_are_nan_are_left_out():
    above, _ = regression([1.0, np.nan, 3.0], [1.0, 2.0, 3.0]).axes
    assert len(dots(above)) == 2


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_one_example_or_none_that_is_a_number_is_drawn(value):
    regression([value], [2.0]).draw_without_rendering()
    regression([5.0, 5.0], [5.0, 5.0]).draw_without_rendering()


def test_other_shapes_and_names_are_an_error():
    with raises(ShapeError, "regression", "(3,)", "(4,)"):
        regression([1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0])
    with raises(ShapeError, "regression", "names 2"):
        regression([1.0], [1.0], ["a", "b"])
    with raises(ShapeError, "regression"):
        regression([], [])

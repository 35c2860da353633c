"""Weights as images: which, in what order and colour, and what is said of weights that are no images."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from tests.harness import raises
from tests.viz.subjects import rgb, small_net, texts, untouched
from xpnet import models, nn
from xpnet.errors import ConfigError
from xpnet.train import Trainer
from xpnet.viz import filters


def layer_of(weights: np.ndarray, **options) -> nn.Module:
    """A layer of given weights: (F, KH, KW, C) or (M, D)."""
    if weights.ndim == 4:
        layer = nn.Conv2d(weights.shape[3], weights.shape[0], weights.shape[1:3], bias=False)
    else:
        layer = nn.Linear(weights.shape[1], weights.shape[0], **options)
    layer.load_state_dict(layer.state_dict() | {"weight": weights.astype(np.float32)})
    return layer


def tile_colours(figure, rows: int, columns: int, high: int, wide: int) -> np.ndarray:
    """The colour in the middle of each weight of a mosaic, found by its frames: (rows * columns, high, wide, 3)."""
    sheet = rgb(figure.axes[0])
    grey = np.all(np.isclose(sheet, 0.6), axis=2)
    down = np.flatnonzero(grey.sum(axis=1) > grey.shape[1] // 2).reshape(rows, 2)  # top and bottom of each row
    right = np.flatnonzero(grey.sum(axis=0) > grey.shape[0] // 2).reshape(columns, 2)
    found = []
    for top, bottom in down:
        for left, end in right:
            i = top + 1 + (np.arange(high) + 0.5) * (bottom - top - 1) / high
            j = left + 1 + (np.arange(wide) + 0.5) * (end - left - 1) / wide
            found.append(sheet[np.ix_(i.astype(int), j.astype(int))])
    return np.stack(found)


def test_each_filter_is_a_tile_of_one_scale_from_blue_through_white_to_red():
    weights = np.zeros((2, 1, 3, 1))
    weights[0, 0, :, 0] = (-1.9, 0.0, 2.0)
    weights[1, 0, :, 0] = (-1.0, 0.5, 1.0)
    figure = filters(layer_of(weights))
    first, second = tile_colours(figure, 1, 2, 1, 3)[:, 0]
    (blue, white, red), (pale_blue, _, pale_red) = first, second
    assert white == pytest.approx((0.97, 0.97, 0.97), abs=0.01)
    assert blue[2] > 0.3 > blue[0]
    assert red[0] > 0.3 > red[2]
    assert blue[0] < pale_blue[0] < white[0]
    assert red[2] < pale_red[2] < white[2]
    low, high = figure.axes[0].child_axes[0].get_ylim()
    assert (low, high) == (-2.0, 2.0)


def test_tiles_stand_in_the_order_of_the_filters():
    weights = np.linspace(0.1, 1.0, 6)[:, None, None, None] * np.ones((6, 2, 3, 1))
    figure = filters(layer_of(weights))
    shades = tile_colours(figure, 2, 3, 2, 3).mean(axis=(1, 2, 3))
    assert (np.diff(shades) > 0).all() or (np.diff(shades) < 0).all()
    assert "6 filters of 2x3" in texts(figure)[0]


def test_filters_of_three_channels_are_in_colour():
    weights = np.zeros((1, 1, 2, 3))
    weights[0, 0, 0] = (0.5, 0.25, -0.5)
    figure = filters(layer_of(weights))
    np.testing.assert_allclose(tile_colours(figure, 1, 1, 1, 2)[0, 0], [(1.0, 0.75, 0.0), (0.5, 0.5, 0.5)])
    assert "grey is 0" in texts(figure)[0]
    assert not figure.axes[0].child_axes


def test_of_deeper_filters_each_channel_is_a_tile_a_row_a_filter():
    weights = np.zeros((3, 2, 2, 4))
    weights[1, :, :, 2] = 1.0
    figure = filters(layer_of(weights))
    bright = tile_colours(figure, 3, 4, 2, 2).mean(axis=(1, 2, 3))
    assert np.flatnonzero(bright != bright[0]).tolist() == [1 * 4 + 2]
    assert "3 filters of 2x2 over 4 channels" in texts(figure)[0]
    assert "a row a filter, a column a channel" in texts(figure)[0]


def test_what_is_too_much_for_a_page_is_left_out_and_said():
    figure = filters(layer_of(np.ones((20, 1, 1, 40))))
    assert "the first 16 and 16" in texts(figure)[0]
    tile_colours(figure, 16, 16, 1, 1)
    figure = filters(layer_of(np.ones((300, 1, 1, 1))))
    assert "300 filters of 1x1, the first 256" in texts(figure)[0]
    tile_colours(figure, 16, 16, 1, 1)


@pytest.mark.parametrize("bias", [True, False, "augmented"])
def test_neurons_of_a_first_linear_layer_are_images_with_names_above(bias):
    weights = np.arange(8.0).reshape(2, 4) + 1
    if bias == "augmented":
        layer = nn.Linear(4, 2, bias)
        layer.load_state_dict({"weight": np.concatenate([weights, [[99.0], [99.0]]], axis=1)})
    else:
        layer = layer_of(weights, bias=bias)
    figure = filters(nn.Sequential(flatten=nn.Flatten(), scores=layer), labels=["cat", "dog"])
    assert {"cat", "dog"} <= set(texts(figure))
    shades = tile_colours(figure, 1, 2, 2, 2).reshape(8, 3)
    assert len(np.unique(shades, axis=0)) == 8
    assert figure.axes[0].child_axes[0].get_ylim()[1] == 8.0  # the bias is not among them
    assert "scores: 2 neurons" in texts(figure)[0]


def test_the_first_convolution_is_drawn_unless_another_layer_is_named(backend):
    net = small_net(backend)
    assert texts(filters(net))[0].startswith("conv: 4 filters of 3x3")
    assert texts(filters(net, "deep"))[0].startswith("deep: 6 filters of 3x3 over 4 channels")
    assert texts(filters(Trainer(net)))[0].startswith("conv: ")
    assert texts(filters(nn.Conv2d(1, 2, 3)))[0].startswith("Conv2d: 2 filters")
    assert texts(filters(net, "scores", shape=(2, 2, 6)))[0].startswith("scores: 3 neurons")


def test_weights_are_copied_once_and_nothing_changes(backend, transfers):
    net = small_net(backend)
    with untouched(net):
        transfers.clear()
        filters(net, "deep")
        seen = list(transfers)
    assert seen == [(6, 3, 3, 4)]


def test_an_axes_that_is_given_is_drawn_on():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert filters(models.build("lenet5"), ax=right) is figure
    assert right.get_images()
    assert not left.get_images()


def test_a_layer_that_is_not_there_is_answered_with_the_nearest_and_all_of_them():
    net = small_net("numpy")
    with raises(ConfigError, "filters", "'dep'", "did you mean 'deep'?", "conv, deep, scores"):
        filters(net, "dep")
    with raises(ConfigError, "filters", "'zzz'", "choose one of conv, deep, scores"):
        filters(net, "zzz")
    with raises(ConfigError, "filters", "none of that kind"):
        filters(nn.Sequential(nn.ReLU()))
    with raises(ConfigError, "viz", "str"):
        filters("lenet5")


def test_weights_that_are_no_images_are_refused():
    with raises(ConfigError, "filters", "D 24", "shape=(H, W, C)"):
        filters(small_net("numpy"), "scores")
    with raises(ConfigError, "filters", "D 5", "shape=(H, W, C)"):
        filters(nn.Linear(5, 2))
    with raises(ConfigError, "filters", "(2, 2, 2)", "D = 5"):
        filters(nn.Linear(5, 2), shape=(2, 2, 2))
    with raises(ConfigError, "filters", "scores", "D 16"):
        filters(nn.Sequential(hidden=nn.Linear(16, 16), scores=nn.Linear(16, 2)), "scores")
    assert "2 neurons, each an image of 4x4" in texts(filters(nn.Linear(48, 2)))[0]

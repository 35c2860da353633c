"""Histograms of all layers: which layers, what figures, and what is counted."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from tests.harness import raises
from tests.viz.subjects import halved, image, small_net, texts, untouched
from xpnet import nn
from xpnet.errors import ConfigError
from xpnet.train import Trainer
from xpnet.viz import activations


def rows(figure) -> dict[str, tuple[str, ...]]:
    """What is written beside each layer's name: mean, std and zeros."""
    ax = figure.axes[0]
    names = [label.get_text() for label in ax.get_yticklabels()]
    figures = [text.get_text() for text in ax.texts]
    assert figures[:3] == ["mean", "std", "zeros"]
    return {name: tuple(figures[3 * i + 3 : 3 * i + 6]) for i, name in enumerate(names)}


def curve(figure, row: int) -> np.ndarray:
    """The heights of a row's histogram, from 0 to 1."""
    heights, _, _ = figure.axes[0].patches[row].get_data()
    return (heights + row) / 0.85


class Given(nn.Module):
    """A layer that gives the same numbers whatever comes in."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = nn.Buffer(values.shape, lambda key, shape: values)

    def forward(self, x):
        return self.values * 1.0


def given(*layers: np.ndarray) -> nn.Sequential:
    return nn.Sequential(**{f"layer{i}": Given(values) for i, values in enumerate(layers)})


def test_every_layer_that_computes_is_a_row_from_the_first_to_the_last(backend):
    figure = activations(small_net(backend), np.stack([image(1), image(2)]), normalize=halved)
    assert list(rows(figure)) == ["conv", "norm", "relu", "pool", "deep", "scores"]


def test_mean_deviation_and_zeros_are_written_beside_each(backend):
    values = np.array([0.0, 0.0, 0.0, 4.0, -2.0, 1.0, 0.5, 0.5], np.float32).reshape(1, 2, 4)
    figure = activations(given(values).to(backend), np.zeros((1, 3), np.float32))
    assert rows(figure) == {"layer0": (f"{4 / 8:.2g}", f"{values.std():.2g}", "38%")}
    assert len(texts(figure)) == 1 + 6 + 1 + len(figure.axes[0].get_xticklabels())


def test_a_mean_that_is_rounding_is_written_as_0():
    values = np.array([-1.0, 1.0, 1e-6], np.float32)
    assert rows(activations(given(values), np.zeros((1, 3))))["layer0"][0] == "0"


def test_a_row_counts_its_numbers_but_the_zeros():
    low, high = np.linspace(-4, -3, 500), np.linspace(3, 4, 1000)
    figure = activations(given(np.concatenate([low, high, np.zeros(5000)]).astype(np.float32)), np.zeros((1, 3)))
    heights = curve(figure, 0)  # 80 bins from -4 to 4
    assert len(heights) == 80
    np.testing.assert_allclose(heights[70:79], 1.0, atol=0.1)
    np.testing.assert_allclose(heights[1:10], 0.5, atol=0.1)
    assert not heights[12:68].any()


def test_all_numbers_of_a_small_layer_are_counted():
    figure = activations(given(np.arange(1.0, 8.0, dtype=np.float32)), np.zeros((1, 3)))
    assert (curve(figure, 0) > 0).sum() == 7


def test_layers_share_one_axis_which_leaves_out_stray_numbers():
    narrow = np.linspace(-1.0, 1.0, 4001).astype(np.float32)
    stray = narrow.copy()
    stray[0] = 1e6
    figure = activations(given(narrow, stray), np.zeros((1, 3)))
    low, high = figure.axes[0].get_xlim()
    assert -1.5 < low < -0.9
    assert 0.9 < high < 1.5


def test_a_layer_of_which_only_some_numbers_are_counted_shows_every_channel():
    values = np.tile(np.array([1.0, 2.0, 3.0, 4.0], np.float32), (30_000, 1))
    figure = activations(given(values), np.zeros((1, 3)))
    heights = curve(figure, 0)
    np.testing.assert_allclose(heights[heights > 0], 1.0, atol=0.01)
    assert (heights > 0).sum() == 4
    assert rows(figure)["layer0"][0] == "2.5"


def test_a_layer_that_says_nothing_or_overflows_is_drawn_all_the_same():
    dead, burst = np.zeros(10, np.float32), np.array([np.inf, np.nan, 1.0], np.float32)
    figure = activations(given(dead, burst), np.zeros((1, 3)))
    assert rows(figure)["layer0"] == ("0", "0", "100%")
    assert "nan" in rows(figure)["layer1"]
    assert not curve(figure, 0).any()


def test_layers_may_be_chosen_and_residual_sums_count_as_layers():
    net = nn.Sequential(hidden=nn.Linear(4, 4), block=nn.Residual(nn.Sequential(nn.Linear(4, 4), nn.Tanh())))
    x = np.random.default_rng(0).random((5, 4)).astype(np.float32)
    assert list(rows(activations(net, x))) == ["hidden", "block.body.0", "block.body.1", "block"]
    assert list(rows(activations(net, x, layers=["block", "hidden"]))) == ["block", "hidden"]
    assert list(rows(activations(nn.Linear(4, 2), x))) == ["Linear"]
    with raises(ConfigError, "activations", "'hiden'", "did you mean 'hidden'?", "block.body.0"):
        activations(net, x, layers=["hiden"])


def test_a_trainers_normalization_is_used():
    net = nn.Sequential(scores=nn.Linear(3, 1, bias=False, init=nn.constant(1.0)))
    x = np.full((2, 3), 96.0, np.float32)
    assert rows(activations(Trainer(net, normalize=halved), x))["scores"][0] == "3"
    assert rows(activations(net, x))["scores"][0] == f"{288.0:.2g}"


def test_one_copy_is_made_and_nothing_changes(backend, transfers):
    net = small_net(backend)
    with untouched(net):
        transfers.clear()
        activations(net, image()[None], normalize=halved)
        seen = list(transfers)
    assert len(seen) == 1


def test_an_axes_that_is_given_is_drawn_on():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert activations(small_net("numpy"), image()[None], ax=right) is figure
    assert len(right.patches) == 6
    assert not left.patches

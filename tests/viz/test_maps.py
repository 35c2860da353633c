"""Feature maps and saliency, against what NumPy makes of the same weights and image."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from tests.harness import raises
from tests.viz.subjects import halved, image, rgb, small_net, texts, untouched
from xpnet import models, nn
from xpnet.backend import get_backend
from xpnet.errors import ConfigError, ShapeError
from xpnet.train import Trainer
from xpnet.viz import feature_maps, saliency


def first_maps(net: nn.Module, x: np.ndarray) -> np.ndarray:
    """What the first convolution of small_net gives of an image (8, 8, 1), by loops: (8, 8, F)."""
    weights, bias = net.conv.weight.numpy(), net.conv.bias.numpy()
    wide = np.pad(x[..., 0].astype(np.float64), 1)
    y = np.zeros((8, 8, len(weights)))
    for i, j, f in np.ndindex(y.shape):
        y[i, j, f] = bias[f] + (weights[f, :, :, 0] * wide[i : i + 3, j : j + 3]).sum()
    return y


def drawn(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The numbers that pictures of maps are made of, before they become colours."""
    from xpnet.viz import maps

    seen: list[np.ndarray] = []
    real = maps.colours
    monkeypatch.setattr(maps, "colours", lambda values: seen.append(values) or real(values))
    return seen


@pytest.mark.parametrize("way", ["trainer", "argument", "none"])
def test_maps_are_what_the_layer_gives_of_the_image_normalized(backend, way, monkeypatch):
    net, pixels, seen = small_net(backend), image(), drawn(monkeypatch)
    if way == "trainer":
        feature_maps(Trainer(net, normalize=halved), pixels)
    else:
        feature_maps(net, pixels, normalize=halved if way == "argument" else None)
    want = first_maps(net, pixels if way == "none" else pixels / 64 - 0.5)
    np.testing.assert_allclose(np.moveaxis(seen[0], 0, 2), want, atol=1e-4 * np.abs(want).max())


def test_the_image_is_at_the_left_and_the_maps_are_at_the_right():
    figure = feature_maps(small_net("numpy"), image())
    left, right = figure.axes[:2]
    np.testing.assert_allclose(rgb(left), image()[..., 0] / 63.0, atol=1e-12)
    assert left.get_title() == "image 8x8x1"
    assert right.get_title() == "conv: 4 maps of 8x8"
    assert rgb(right).shape[2] == 3


def test_another_layer_may_be_named_and_is_said(monkeypatch):
    net, seen = small_net("numpy"), drawn(monkeypatch)
    figure = feature_maps(net, image(), "deep")
    assert seen[0].shape == (6, 2, 2)
    assert figure.axes[1].get_title() == "deep: 6 maps of 2x2"
    feature_maps(net, image(), "relu")
    assert seen[1].min() == 0.0
    assert feature_maps(nn.MaxPool2d(2), image()).axes[1].get_title() == "MaxPool2d: 1 maps of 4x4"


def test_of_many_maps_the_first_64_are_drawn(monkeypatch):
    seen = drawn(monkeypatch)
    figure = feature_maps(nn.Conv2d(1, 80, 3), image())
    assert seen[0].shape[0] == 64
    assert "80 maps of 6x6, the first 64" in figure.axes[1].get_title()


def test_a_layer_without_maps_is_answered_with_those_that_have_them():
    net = small_net("numpy")
    for name in ("scores", "flatten", "", "conv2"):
        with raises(ConfigError, "feature_maps", repr(name), "conv", "norm", "relu", "pool", "deep"):
            feature_maps(net, image(), name)
    with raises(ConfigError, "feature_maps", "none of that kind"):
        feature_maps(models.build("mlp", (8, 8, 1), 10), image())


@pytest.mark.parametrize("picture", [feature_maps, saliency])
def test_one_image_is_wanted(picture):
    with raises(ShapeError, picture.__name__, "(2, 8, 8, 1)"):
        picture(small_net("numpy"), np.zeros((2, 8, 8, 1), np.uint8))


@pytest.mark.parametrize(("picture", "size"), [(feature_maps, [(1, 8, 8, 4)]), (saliency, [(3 + 64,)])])
def test_one_copy_is_made_and_nothing_changes(backend, transfers, picture, size):
    net = small_net(backend)
    with untouched(net):
        transfers.clear()
        picture(net, image(), normalize=halved)
        seen = list(transfers)
    assert seen == size


def test_nothing_changes_either_where_a_picture_fails():
    net = small_net("numpy")
    with untouched(net), pytest.raises(ShapeError):
        saliency(net, image(channels=3))
    with untouched(net), pytest.raises(ConfigError):
        saliency(net, image(), label=3)


@pytest.mark.parametrize("picture", [feature_maps, saliency])
def test_the_place_of_an_axes_is_taken(picture):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert picture(small_net("numpy"), image(), ax=right) is figure
    assert left in figure.axes
    assert right not in figure.axes
    assert not left.get_images()


def channels_net(backend) -> nn.Sequential:
    """A sum of all pixels, each times its own weight, for each of 3 classes; softened by a tanh."""
    return nn.Sequential(flatten=nn.Flatten(), scores=nn.Linear(192, 3), act=nn.Tanh()).to(backend).initialize(2)


@pytest.mark.parametrize("label", [None, 0, 2])
def test_saliency_is_the_largest_slope_of_a_pixels_channels(backend, label, monkeypatch):
    net, seen = channels_net(backend), drawn(monkeypatch)
    x = np.random.default_rng(1).random((8, 8, 3)).astype(np.float32)
    saliency(net, x, label=label)
    weights, bias = net.scores.weight.numpy().astype(np.float64), net.scores.bias.numpy()
    scores = np.tanh(weights @ x.reshape(-1) + bias)
    k = int(np.argmax(scores)) if label is None else label
    want = np.abs((1 - scores[k] ** 2) * weights[k]).reshape(8, 8, 3).max(axis=2)
    np.testing.assert_allclose(seen[0], want, rtol=1e-4)


def test_the_slope_of_a_network_that_pools_is_a_central_difference(monkeypatch):
    net, seen = small_net("numpy").to(dtype="float64"), drawn(monkeypatch)
    x = np.random.default_rng(3).random((8, 8, 1))
    saliency(net, x, label=1)
    from xpnet.autograd import Tensor

    def score(image: np.ndarray) -> float:
        return net.eval()(Tensor(image[None])).numpy()[0, 1]

    want = np.zeros((8, 8))
    for i, j in np.ndindex(8, 8):
        step = np.zeros((8, 8, 1))
        step[i, j] = 1e-6
        want[i, j] = abs(score(x + step) - score(x - step)) / 2e-6
    np.testing.assert_allclose(seen[0], want, atol=1e-7)


def test_the_predicted_class_and_the_one_asked_for_are_named():
    net = channels_net(get_backend("numpy"))
    net.load_state_dict(net.state_dict() | {"scores.bias": np.array([0.0, 0.0, 9.0], np.float32)})
    x = np.zeros((8, 8, 3), np.float32)
    share = f"{np.e / (np.e + 2):.0%}"  # the softmax of (0, 0, tanh 9)
    assert texts(saliency(net, x, classes=["cat", "dog", "cow"])) == [
        f"predicted: cow, {share}",
        "|d score of cow / d pixel|",
    ]
    assert texts(saliency(net, x, label=0)) == [f"predicted: 2, {share}", "|d score of 0 / d pixel|"]
    with raises(ConfigError, "saliency", "0 to 2, got label 3"):
        saliency(net, x, label=3)
    with raises(ShapeError, "saliency", "(1, 8, 8, 1)"):
        saliency(nn.ReLU(), image())

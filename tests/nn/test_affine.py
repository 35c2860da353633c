"""The one layer that several are: numbers by hand, every geometry against the model itself, and the fewest weights."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.harness import sample
from tests.nn.folding import IMAGES, filled, kinds, on_host, same
from xpnet import nn

# Numbers worked out by hand.


def test_two_linear_layers_are_the_product_of_their_matrices():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    for state, values in zip(model.states().values(), ([[1, 2], [3, 4]], [5, 6], [[10, 100]], [1000]), strict=True):
        state.data = np.asarray(values, np.float32)
    layer = nn.collapse(model)[0]
    assert layer.weight.numpy().tolist() == [[310, 420]]  # 10*1 + 100*3, 10*2 + 100*4
    assert layer.bias.numpy().tolist() == [1650]  # 10*5 + 100*6 + 1000


def test_a_batch_norm_becomes_scale_and_shift():
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm(1, eps=1.0))
    for state, value in zip(model.states().values(), (2, 5, 6, 7, 1, 3), strict=True):  # w, b, gamma, beta, mean, var
        state.data = np.full(state.shape, value, np.float32)
    layer = nn.collapse(model)[0]
    assert layer.weight.item() == 6  # 6 * 2 / sqrt(3 + 1)
    assert layer.bias.item() == 19  # 6 * (5 - 1) / 2 + 7


@pytest.mark.parametrize(
    ("first", "second", "filters"),
    [
        ({}, {}, [1, 12, 20]),  # y[i] = x[i] + 2 x[i+1], then y[i] + 10 y[i+1]
        ({"stride": (1, 2)}, {}, [1, 2, 10, 20]),
        ({"dilation": (1, 3)}, {}, [1, 10, 0, 2, 20]),
        ({}, {"flip": True}, [10, 21, 2]),
        ({"flip": True}, {}, [2, 21, 10]),
        ({"dilation": (1, 2)}, {"dilation": (1, 2)}, [1, 12, 20]),
    ],
    ids=["plain", "stride", "dilation", "flip second", "flip first", "dilation of both"],
)
def test_two_filters_in_a_row_are_one(first, second, filters):
    model = nn.Sequential(nn.Conv2d(1, 1, (1, 2), bias=False, **first), nn.Conv2d(1, 1, (1, 2), bias=False, **second))
    for layer, values in zip(model, ([1, 2], [1, 10]), strict=True):
        layer.weight.data = np.asarray(values, np.float32).reshape(1, 1, 2, 1)
    assert nn.collapse(model)[0].weight.numpy().ravel().tolist() == filters


# Every geometry against the model itself, in float64.

GEOMETRIES = list(itertools.product((1, 2, 3), (1, 2), (0, 1), (1, 2), (1, 2)))  # kernel, stride, padding, dilation, G


def chain(rng, layers):
    """Convolutions, each with a geometry of its own, and norms between; only the first has padding."""
    channels, made = 4, []
    for i in range(layers):
        filters = int(rng.choice([2, 4, 6]))
        (kh, sh, ph, dh, _), (kw, sw, pw, dw, g) = (GEOMETRIES[j] for j in rng.integers(len(GEOMETRIES), size=2))
        padding = (ph, pw) if i == 0 else 0
        made.append(nn.Conv2d(channels, filters, (kh, kw), (sh, sw), padding, (dh, dw), g, bool(rng.integers(2))))
        made[-1].flip = bool(rng.integers(2))
        made += [nn.BatchNorm(filters)] * int(rng.integers(2))
        channels = filters
    return nn.Sequential(*made)


@pytest.mark.parametrize("layers", [2, 3])
def test_convolutions_of_any_geometry_are_one_convolution(layers):
    rng = np.random.default_rng(layers)
    for _ in range(60):
        model = chain(rng, layers)
        collapsed = on_host(model, (2, 31, 32, 4))
        assert len(collapsed) == 1, model
        assert collapsed.cost((31, 32, 4)).output == model.cost((31, 32, 4)).output


def test_a_folded_filter_spans_what_both_saw():
    model = nn.Sequential(nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0)), nn.Conv2d(6, 8, (2, 3), (1, 3), 0, (1, 2)))
    layer = on_host(model, (1, 12, 13, 4))[0]
    assert layer.kernel_size == (5, 6)  # (3-1)*1 + (2-1)*1*2 + 1, (2-1)*1 + (3-1)*2*1 + 1
    assert (layer.stride, layer.padding, layer.dilation) == ((2, 3), (1, 0), (1, 1))
    assert layer.weight.shape == (8, 5, 6, 4)


def test_filters_dilated_alike_stay_dilated():
    layer = on_host(nn.Sequential(nn.Conv2d(2, 2, 3, dilation=2), nn.Conv2d(2, 2, 2, dilation=4)), (1, 12, 12, 2))[0]
    assert (layer.kernel_size, layer.dilation) == ((5, 5), (2, 2))  # 5 wide and 4 more, every second of 9


@pytest.mark.parametrize(
    ("first", "second", "groups"), [(2, 2, 2), (4, 2, 2), (2, 4, 2), (2, 3, 1), (1, 6, 1), (6, 4, 2)]
)
def test_channels_stay_in_the_groups_that_both_keep_apart(first, second, groups):
    model = nn.Sequential(nn.Conv2d(12, 12, 2, groups=first), nn.Conv2d(12, 12, 2, groups=second))
    assert on_host(model, (1, 4, 4, 12))[0].groups == groups


def test_a_norm_leaves_a_depthwise_convolution_depthwise():
    model = nn.Sequential(nn.BatchNorm(6), nn.Conv2d(6, 6, 3, groups=6, bias=False), nn.BatchNorm(6))
    layer = on_host(model, (1, 5, 5, 6))[0]
    assert (layer.groups, layer.weight.shape) == (6, (6, 3, 3, 1))


def test_a_norm_before_a_convolution_of_groups_scales_the_channels_that_each_sees():
    layer = on_host(nn.Sequential(nn.BatchNorm(6), nn.Conv2d(6, 12, 2, groups=3)), (1, 5, 5, 6))[0]
    assert (layer.groups, layer.weight.shape) == (3, (12, 2, 2, 2))


def test_zeros_around_an_image_stay_zeros_through_a_layer_without_shift():
    model = filled(nn.Sequential(nn.BatchNorm(4), nn.Linear(4, 5, False), nn.Conv2d(5, 3, 3, padding=1)), "float64")
    model[0].beta.data = model[0].mean.data = np.zeros(4)
    layer = same(model, sample(*IMAGES, seed=3))[0]
    assert (layer.kernel_size, layer.padding, layer.weight.shape) == ((3, 3), (1, 1), (3, 3, 3, 4))


# Only what gets smaller.


def test_a_bottleneck_is_folded_unless_only_smaller_is_asked_for():
    model = nn.Sequential(nn.Linear(784, 10), nn.Linear(10, 784))
    assert nn.collapse(model).parameter_count == 784 * 784 + 784
    kept = on_host(model, (2, 784), only_smaller=True)
    assert kinds(kept) == kinds(model)


def test_only_smaller_finds_the_cut_with_the_fewest_weights():
    sizes = (50, 4, 30, 3, 30, 5, 50)  # 4x30, 30x3 are 4x3; 3x30, 30x5 are 3x5: then 50x3 and 3x50 are the fewest
    model = nn.Sequential(*(nn.Linear(a, b, False) for a, b in itertools.pairwise(sizes)))
    collapsed = on_host(model, (2, 50), only_smaller=True)
    assert [layer.weight.shape for layer in collapsed] == [(3, 50), (50, 3)]
    assert list(kinds(collapsed)) == ["0", "3"]


def test_only_smaller_folds_what_stays_as_large():
    assert len(on_host(nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 2)), (3, 2), only_smaller=True)) == 1


def test_a_batch_norm_is_always_folded_by_only_smaller():
    model = nn.Sequential(nn.BatchNorm(3), nn.Linear(3, 100, False), nn.BatchNorm(100))
    assert kinds(on_host(model, (2, 3), only_smaller=True)) == {"1": "Linear"}


@pytest.mark.parametrize("seed", range(5))
def test_only_smaller_never_adds_weights(seed):
    model = chain(np.random.default_rng(seed), 4)
    fewer = on_host(model, (1, 60, 60, 4), only_smaller=True)
    count = [sum(p.numpy().size for p in m.parameters() if p.ndim > 1) for m in (model, fewer, nn.collapse(model))]
    assert count[1] <= min(count[0], count[2])

"""PadChannels: zeros beside the channels, and gradients that leave them out."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import put, raises, sample
from xpnet import nn
from xpnet.autograd import Tensor, backward
from xpnet.backend import backend_of
from xpnet.errors import ConfigError, ShapeError

SIZES = [(0, 0), (0, 2), (3, 0), (2, 1)]


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_zeros_lie_before_and_after_the_channels(backend, before, after):
    x = sample(2, 5, 7, 3)
    t = Tensor(put(backend, x, np.float32), requires_grad=True)
    y = nn.PadChannels(before, after)(t)
    want = np.pad(x, [(0, 0), (0, 0), (0, 0), (before, after)])
    assert backend_of(y.data) == backend
    assert y.dtype == t.dtype
    assert np.array_equal(y.numpy(), want.astype(np.float32))
    dy = sample(*want.shape, seed=1)
    got = backward(y, put(backend, dy, np.float32))[t]
    assert np.array_equal(backend.to_numpy(got), dy[..., before : before + 3].astype(np.float32))


def test_it_takes_rows_and_plain_arrays():
    x = np.ones((2, 3), np.float32)
    assert np.array_equal(nn.PadChannels(1)(x).numpy(), [[0, 1, 1, 1]] * 2)


@pytest.mark.parametrize("shape", [(3,), (5, 7, 3)], ids=str)
@pytest.mark.parametrize(("before", "after"), SIZES)
def test_its_cost_is_its_output_and_nothing_else(before, after, shape):
    layer = nn.PadChannels(before, after)
    output, macs, saved, *_ = layer.cost(shape)
    assert output == (*shape[:-1], before + 3 + after)
    assert output == layer(Tensor(np.zeros((2, *shape), np.float32))).shape[1:]
    assert (macs, saved, layer.parameter_count) == (0, 0, 0)


@pytest.mark.parametrize(("before", "after"), [(-1, 0), (0, -2), (1.0, 0), (0, None)])
def test_a_number_of_channels_that_is_none_is_refused(before, after):
    with raises(ConfigError, "PadChannels", f"got before {before}" if before else f"got after {after}"):
        nn.PadChannels(before, after)


def test_an_input_without_channels_is_refused():
    with raises(ShapeError, "one.two", "()"):
        nn.Sequential(one=nn.Sequential(two=nn.PadChannels(1))).cost(())
    with raises(ShapeError, "two (PadChannels)", "(4,)"):
        nn.Sequential(two=nn.PadChannels(1))(Tensor(np.zeros(4, np.float32)))

"""Dropout's masks: drawn from what names them, never from what was drawn before."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import put, sample
from xpnet import nn, random
from xpnet.autograd import Tensor, backward
from xpnet.random import StepContext

MOMENT = StepContext(seed=5, epoch=2, step=7)
SHAPE = (8, 3, 5)


def kept(layer, backend=None, rows=slice(None), moment=MOMENT, shape=SHAPE):
    """Which elements of rows a layer keeps at a moment."""
    x = np.ones(shape, np.float32)[rows]
    with random.use(moment):
        y = layer(Tensor(x if backend is None else put(backend, x, np.float32)))
    return y.numpy() != 0


def test_in_evaluation_and_with_rate_zero_dropout_returns_its_input():
    x = Tensor(np.ones(SHAPE, np.float32))
    assert nn.Dropout(0.5).eval()(x) is x
    assert nn.Dropout(0.0)(x) is x
    with nn.inference():
        assert nn.Dropout(0.5)(x) is x


def test_what_is_kept_is_scaled_and_the_gradient_takes_the_same_way(backend):
    layer, x = nn.Dropout(0.75).train(), sample(*SHAPE, seed=1)
    t = Tensor(put(backend, x, np.float32), requires_grad=True)
    with random.use(MOMENT):
        y = layer(t)
    mask = kept(layer, backend)
    assert 0 < mask.sum() < mask.size
    np.testing.assert_allclose(y.numpy(), np.where(mask, 4.0 * x, 0.0), rtol=1e-6)
    g = backend.to_numpy(backward(y.sum())[t])
    assert np.array_equal(g, np.where(mask, np.float32(4.0), np.float32(0.0)))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_the_share_kept_and_the_expectation_are_the_rates(rate):
    n = 200_000
    layer = nn.Dropout(rate).train()
    with random.use(MOMENT):
        y = layer(Tensor(np.ones((n, 1), np.float32))).numpy()
    error = 5 * (rate * (1 - rate) / n) ** 0.5  # five standard deviations of a share
    assert abs((y != 0).mean() - (1 - rate)) < error
    assert abs(y.mean() - 1.0) < error / (1 - rate)


def test_masks_are_equal_on_every_backend(backend):
    layer = nn.Dropout(0.5).train()
    assert np.array_equal(kept(layer, backend), kept(layer))


def test_one_moment_gives_one_mask_however_often_it_is_drawn():
    layer, other = nn.Dropout(0.5).train(), nn.Dropout(0.5).train()
    first = kept(layer)
    kept(layer, moment=MOMENT._replace(step=8))
    assert np.array_equal(kept(layer), first)
    assert np.array_equal(kept(other), first)


@pytest.mark.parametrize("change", [{"seed": 6}, {"epoch": 3}, {"step": 8}])
def test_another_seed_epoch_or_step_gives_another_mask(change):
    layer = nn.Dropout(0.5).train()
    assert not np.array_equal(kept(layer), kept(layer, moment=MOMENT._replace(**change)))


def test_rows_of_a_shard_are_the_rows_of_the_whole_batch(backend):
    layer = nn.Dropout(0.5).train()
    whole = kept(layer, backend)
    for start, stop in ((0, 3), (3, 8), (5, 6)):
        part = kept(layer, backend, slice(start, stop), MOMENT._replace(row=start))
        assert np.array_equal(part, whole[start:stop])


def test_layers_at_other_paths_draw_other_masks():
    model = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5)).train()
    one, two = (kept(layer) for layer in model)
    assert not np.array_equal(one, two)


def test_outside_of_a_trainer_each_call_draws_the_next_mask():
    layer, again = nn.Dropout(0.5).train(), nn.Dropout(0.5).train()
    x = Tensor(np.ones(SHAPE, np.float32))
    masks = [layer(x).numpy() for _ in range(3)]
    assert not np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[1], masks[2])
    assert all(np.array_equal(again(x).numpy(), mask) for mask in masks)

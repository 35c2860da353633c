"""watch(): what each layer gave, by path."""

from __future__ import annotations

import threading

import numpy as np

from tests.harness import put, sample
from xpnet import nn
from xpnet.autograd import Tensor


def small(backend):
    return nn.Sequential(
        hidden=nn.Linear(4, 3),
        act=nn.ReLU(),
        inner=nn.Residual(nn.Sequential(nn.Linear(3, 3), nn.Tanh())),
        scores=nn.Linear(3, 2),
    ).to(backend)


def test_each_layers_output_is_seen_by_its_path_and_in_order(backend):
    model = small(backend)
    x = Tensor(put(backend, sample(5, 4), np.float32))
    with nn.watch() as seen:
        y = model(x)
    assert list(seen) == ["hidden", "act", "inner.body.0", "inner.body.1", "inner.body", "inner", "scores", ""]
    assert seen["scores"] is y
    assert seen[""] is y


def test_the_sum_before_an_activation_is_seen_too(backend):
    model = small(backend)
    x = sample(5, 4)
    with nn.watch() as seen:
        y = model(Tensor(put(backend, x, np.float32)))
    weights = model.state_dict()
    sums = x @ weights["hidden.weight"].T.astype(np.float64) + weights["hidden.bias"]
    np.testing.assert_allclose(seen["hidden"].numpy(), sums, atol=1e-5)
    assert (sums < 0).any()
    np.testing.assert_allclose(seen["act"].numpy(), np.maximum(sums, 0), atol=1e-5)
    np.testing.assert_allclose(y.numpy(), model(Tensor(put(backend, x, np.float32))).numpy(), atol=1e-6)


def test_nothing_is_kept_outside_the_block_or_by_another_thread():
    model, x = small("numpy"), Tensor(sample(5, 4).astype(np.float32))
    with nn.watch() as seen:
        other = threading.Thread(target=model, args=(x,))
        other.start()
        other.join()
        assert seen == {}
    model(x)
    assert seen == {}


def test_a_watch_within_a_watch_takes_over_for_its_block():
    model, x = small("numpy"), Tensor(sample(5, 4).astype(np.float32))
    with nn.watch() as outer:
        with nn.watch() as inner:
            model(x)
        assert outer == {}
        model.hidden(x)
    assert list(outer) == ["hidden"]
    assert len(inner) == 8

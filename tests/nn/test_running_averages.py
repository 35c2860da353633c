"""Batch norm's running averages are renewed where they lie: a step that is recorded and replayed renews them too."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from tests.harness import put, sample
from xpnet import nn
from xpnet.autograd import Tensor
from xpnet.backend import use_backend


def layer_on(backend):
    with use_backend(backend):
        return nn.BatchNorm(3, momentum=0.25).train()


def batch(backend, seed):
    return Tensor(put(backend, seed + sample(7, 3, seed=seed), np.float32))


def test_training_keeps_the_arrays_of_the_averages(backend):
    if backend.name == "jax":
        pytest.skip("arrays of jax cannot be written")
    layer = layer_on(backend)
    layer(batch(backend, 1))
    mean, var = layer.mean.data, layer.var.data
    before = layer.state_dict()
    layer(batch(backend, 2))
    assert layer.mean.data is mean
    assert layer.var.data is var
    assert not np.allclose(backend.to_numpy(mean), before["mean"])
    assert not np.allclose(backend.to_numpy(var), before["var"])


def test_training_a_copy_leaves_the_averages_of_the_original_alone(backend):
    layer = layer_on(backend)
    layer(batch(backend, 1))
    before = layer.state_dict()
    twin = copy.deepcopy(layer)
    loaded = layer_on(backend)
    loaded.load_state_dict(before)
    for other in (twin, loaded):
        other(batch(backend, 2))
    assert all(np.array_equal(a, before[path]) for path, a in layer.state_dict().items())
    assert all(np.array_equal(a, twin.state_dict()[path]) for path, a in loaded.state_dict().items())


def test_a_replayed_step_renews_the_averages(backend):
    recorder = backend.recorder()
    if recorder is None:
        pytest.skip(f"work on {backend.spec} is not recorded")
    recorded, eager, x = layer_on(backend), layer_on(backend), batch(backend, 1)
    with recorder.warm():
        recorded(x)
    _, replay = recorder.record(lambda: recorded(x))
    for _ in range(3):
        replay()
    for _ in range(4):
        eager(x)
    for path, want in eager.state_dict().items():
        assert np.array_equal(recorded.state_dict()[path], want), path


def test_averages_of_float16_are_renewed_by_moments_of_float32(backend):
    if not hasattr(backend.xp, "float16"):
        pytest.skip(f"{backend.spec} has no float16")
    layer = layer_on(backend).to(dtype="float16")
    x = sample(7, 3).astype(np.float16)
    layer(Tensor(backend.from_numpy(x)))
    assert layer.mean.data.dtype == layer.var.data.dtype == backend.xp.float16
    np.testing.assert_allclose(layer.mean.numpy(), 0.25 * x.astype(np.float64).mean(0), rtol=1e-3, atol=1e-3)
    want = 0.75 + 0.25 * x.astype(np.float64).var(0, ddof=1)
    np.testing.assert_allclose(layer.var.numpy(), want, rtol=1e-3)

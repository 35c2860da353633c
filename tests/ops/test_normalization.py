"""Local response, batch and layer normalization."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from tests import oracles
from tests.harness import check_op, few_on_jax, float_types, integers, put, raises, sample, tolerance
from xpnet import ops
from xpnet.errors import ConfigError, DTypeError, ShapeError

X = sample(2, 5, 7, 6)  # (N, H, W, C)
STRONG = {"alpha": 0.9, "beta": 0.75, "k": 1.1}  # with alpha=1e-4 a wrong window would pass


def _torch_lrn(x, size=5, alpha=1e-4, beta=0.75, k=2.0, region="across", average=False):
    from torch.nn.functional import local_response_norm

    alpha = alpha if average else alpha * size
    return local_response_norm(x.permute(0, 3, 1, 2), size, alpha, beta, k).permute(0, 2, 3, 1)


@pytest.mark.parametrize("average", [False, True], ids=["alpha", "alpha/n"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 13])
def test_response_norm_across_channels_agrees_with_its_definition_and_with_autograd(backend, size, average):
    few_on_jax(backend, size in (4, 5))
    options = {"size": size, **STRONG, "average": average}
    check_op(
        ops.local_response_norm,
        [X],
        options,
        backend,
        oracle=oracles.local_response_norm,
        torch_oracle=_torch_lrn,
        batch=[0],
        length=13,
    )


@pytest.mark.parametrize("average", [False, True], ids=["alpha", "alpha/n"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
def test_response_norm_within_a_channel_agrees_with_its_definition(backend, size, average):
    few_on_jax(backend, size in (2, 3))
    options = {"size": size, **STRONG, "average": average, "region": "within"}
    check_op(ops.local_response_norm, [X], options, backend, oracle=oracles.local_response_norm, batch=[0], length=81)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_response_norm_takes_any_exponent(backend, beta):
    options = {"size": 3, "alpha": 0.9, "beta": beta, "k": 1.1}
    check_op(
        ops.local_response_norm,
        [X],
        options,
        backend,
        oracle=oracles.local_response_norm,
        torch_oracle=_torch_lrn,
        length=13,
    )


def test_the_default_constants_of_response_norm_are_alexnets():
    x = sample(1, 2, 2, 7, low=-100, high=100)  # large, so that alpha=1e-4 tells
    np.testing.assert_allclose(ops.local_response_norm(x)[0], oracles.local_response_norm(x, 5, 1e-4, 0.75, 2.0))


def _torch_batch_norm(x, gamma, beta, mean, var, eps=1e-5, training=False):
    from torch.nn.functional import batch_norm

    moved = x.movedim(-1, 1) if x.ndim > 2 else x
    y = batch_norm(moved, None if training else mean, None if training else var, gamma, beta, training, 0.0, eps)
    return y.movedim(1, -1) if x.ndim > 2 else y


SHAPES = [(2, 5, 7, 3), (5, 3)]


def channels(c: int) -> list[np.ndarray]:
    """gamma, beta, mean and a positive var."""
    return [sample(c, seed=1), sample(c, seed=2), sample(c, seed=3), sample(c, seed=4, low=0.2, high=3)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_with_running_moments_agrees_with_its_definition_and_with_autograd(backend, shape):
    check_op(
        ops.batch_norm,
        [sample(*shape), *channels(3)],
        {"eps": 0.1},
        backend,
        oracle=oracles.batch_norm,
        torch_oracle=_torch_batch_norm,
        differentiable=[0, 1, 2],
        linear=[0, 1, 2],
        batch=[0],
        length=140,
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_in_training_differentiates_through_the_moments(backend, shape):
    x = sample(*shape)
    gamma, beta, _, _ = channels(3)
    options = {"eps": 0.1, "training": True}

    @functools.wraps(ops.batch_norm)
    def with_moments(x, gamma, beta, mean, var, **options):
        return ops.batch_norm(x, gamma, beta, *ops.moments(x), **options)

    check_op(
        with_moments,
        [x, gamma, beta, np.zeros(3), np.ones(3)],
        options,
        backend,
        oracle=oracles.batch_norm,
        torch_oracle=_torch_batch_norm,
        differentiable=[0, 1, 2],
        length=140,
    )


def test_batch_norm_of_one_sample_in_training_is_beta(backend):
    x, (gamma, beta, _, _) = put(backend, sample(1, 3), np.float32), (put(backend, a, np.float32) for a in channels(3))
    y, vjp = ops.batch_norm(x, gamma, beta, *ops.moments(x), training=True)
    np.testing.assert_allclose(backend.to_numpy(y)[0], backend.to_numpy(beta), atol=1e-4)
    dx, _, _, mean, var = vjp(y, (True,) * 5)
    np.testing.assert_allclose(backend.to_numpy(dx), np.zeros((1, 3)), atol=1e-3)
    assert mean is None
    assert var is None


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_moments_are_the_mean_and_the_biased_variance_of_each_channel(backend, shape):
    x = sample(*shape)
    for dtype in float_types(backend):
        for got, want in zip(ops.moments(put(backend, x, dtype)), oracles.moments(x), strict=True):
            np.testing.assert_allclose(backend.to_numpy(got), want, rtol=0, atol=4 * tolerance(dtype, 70))
            assert backend.to_numpy(got).dtype == dtype


def test_the_variance_of_numbers_far_from_zero_is_not_lost(backend):
    """E[x^2] - E[x]^2 in float32 would be off by whole units here, and could be negative."""
    x = 1000 + sample(200, 1)
    _, var = ops.moments(put(backend, x, np.float32))
    np.testing.assert_allclose(backend.to_numpy(var), x.astype(np.float32).astype(np.float64).var(0), rtol=1e-3)


def _torch_layer_norm(x, gamma, beta, eps=1e-5):
    from torch.nn.functional import layer_norm

    return layer_norm(x, (x.shape[-1],), gamma, beta, eps)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_layer_norm_agrees_with_its_definition_and_with_autograd(backend, shape):
    gamma, beta, _, _ = channels(3)
    check_op(
        ops.layer_norm,
        [sample(*shape), gamma, beta],
        {"eps": 0.1},
        backend,
        oracle=oracles.layer_norm,
        torch_oracle=_torch_layer_norm,
        linear=[1, 2],
        batch=[0],
        length=140,
    )


@pytest.mark.parametrize(("setting", "value"), [("size", 0), ("size", -3), ("region", "'around'")])
def test_response_norm_with_a_setting_out_of_range_is_an_error(setting, value):
    given = value.strip("'") if isinstance(value, str) else value
    with raises(ConfigError, "local_response_norm", setting, value):
        ops.local_response_norm(X, **{setting: given})


def test_response_norm_of_another_rank_is_an_error():
    with raises(ShapeError, "local_response_norm", (5, 7, 6)):
        ops.local_response_norm(X[0])


@pytest.mark.parametrize("which", [1, 2, 3, 4])
def test_batch_norm_with_another_number_of_channels_is_an_error(which):
    arrays = [X, *channels(6)]
    arrays[which] = sample(4)
    with raises(ShapeError, "batch_norm", (2, 5, 7, 6), (4,)):
        ops.batch_norm(*arrays)


def test_layer_norm_with_another_number_of_features_is_an_error():
    with raises(ShapeError, "layer_norm", (2, 5, 7, 6), (4,)):
        ops.layer_norm(X, sample(4), sample(6))


@pytest.mark.parametrize("name", ["local_response_norm", "batch_norm", "layer_norm"])
def test_normalizing_integers_is_an_error(backend, name):
    x = backend.from_numpy(integers(2, 5, 7, 6, high=9))
    count = {"local_response_norm": 0, "batch_norm": 4, "layer_norm": 2}[name]
    parameters = [put(backend, a, np.float32) for a in channels(6)[:count]]
    with raises(DTypeError, name, "int64"):
        getattr(ops, name)(x, *parameters)

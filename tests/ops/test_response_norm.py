"""Local response normalization."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import oracles
from tests.harness import check_op, few_on_jax, integers, put, raises, sample
from xpnet import ops
from xpnet.errors import ConfigError, DTypeError, ShapeError

X = sample(2, 5, 7, 6)  # (N, H, W, C)
STRONG = {"alpha": 0.9, "beta": 0.75, "k": 1.1}  # with alpha=1e-4 a wrong window would pass


def _torch_lrn(x, size=5, alpha=1e-4, beta=0.75, k=2.0, region="across", average=False):
    from torch.nn.functional import local_response_norm

    alpha = alpha if average else alpha * size
    return local_response_norm(x.permute(0, 3, 1, 2), size, alpha, beta, k).permute(0, 2, 3, 1)


TORCH: dict[str, Any] = {"oracle": oracles.local_response_norm, "torch_oracle": _torch_lrn, "length": 13}


@pytest.mark.parametrize("average", [False, True], ids=["alpha", "alpha/n"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 13])
def test_response_norm_across_channels_agrees_with_its_definition_and_with_autograd(backend, size, average):
    few_on_jax(backend, size in (4, 5))
    options = {"size": size, **STRONG, "average": average}
    check_op(ops.local_response_norm, [X], options, backend, **TORCH, batch=[0])


@pytest.mark.parametrize("average", [False, True], ids=["alpha", "alpha/n"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
def test_response_norm_within_a_channel_agrees_with_its_definition(backend, size, average):
    few_on_jax(backend, size in (2, 3))
    options = {"size": size, **STRONG, "average": average, "region": "within"}
    check_op(ops.local_response_norm, [X], options, backend, oracle=oracles.local_response_norm, batch=[0], length=81)


@pytest.mark.parametrize("beta", [0.5, 2.0])
def test_response_norm_takes_any_exponent(backend, beta):
    options = {"size": 3, "alpha": 0.9, "beta": beta, "k": 1.1}
    check_op(ops.local_response_norm, [X], options, backend, **TORCH)


def test_the_default_constants_of_response_norm_are_alexnets():
    x = sample(1, 2, 2, 7, low=-100, high=100)  # large, so that alpha=1e-4 tells
    np.testing.assert_allclose(ops.local_response_norm(x)[0], oracles.local_response_norm(x, 5, 1e-4, 0.75, 2.0))


@pytest.mark.parametrize("region", ["across", "within"])
def test_response_norm_keeps_float16(backend, region):
    if not hasattr(backend.xp, "float16"):
        pytest.skip(f"{backend.spec} has no float16")
    x = put(backend, X, np.float16)
    options = {"size": 3, **STRONG, "region": region}
    y, vjp = ops.local_response_norm(x, **options)
    want = oracles.local_response_norm(backend.to_numpy(x).astype(np.float64), **options)
    assert y.dtype == backend.xp.float16
    np.testing.assert_allclose(backend.to_numpy(y), want, rtol=0.01, atol=0.01)
    assert vjp(y, (True,))[0].dtype == backend.xp.float16


@pytest.mark.parametrize(("setting", "value"), [("size", 0), ("size", -3), ("region", "'around'")])
def test_response_norm_with_a_setting_out_of_range_is_an_error(setting, value):
    given = value.strip("'") if isinstance(value, str) else value
    with raises(ConfigError, "local_response_norm", setting, value):
        ops.local_response_norm(X, **{setting: given})


def test_response_norm_of_another_rank_is_an_error():
    with raises(ShapeError, "local_response_norm", (5, 7, 6)):
        ops.local_response_norm(X[0])


def test_response_norm_of_integers_is_an_error(backend):
    with raises(DTypeError, "local_response_norm", "int64"):
        ops.local_response_norm(backend.from_numpy(integers(2, 5, 7, 6, high=9)))

"""Initial weights: their mean and variance, within what chance allows for the seed at hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import raises
from xpnet import nn
from xpnet.errors import ConfigError
from xpnet.random import Key

KEY = Key(3, "init/weight")
LINEAR, CONV = (400, 300), (64, 3, 5, 32)  # (M, D) and (F, KH, KW, C/G)
FANS = {LINEAR: (300, 400), CONV: (3 * 5 * 32, 3 * 5 * 64)}  # fan_in, fan_out

# name: the variance from fan_in and fan_out, and whether the distribution is uniform
RULES = {
    "he_normal": (lambda i, o: 2 / i, False),
    "he_uniform": (lambda i, o: 2 / i, True),
    "glorot_normal": (lambda i, o: 2 / (i + o), False),
    "glorot_uniform": (lambda i, o: 2 / (i + o), True),
    "lecun_normal": (lambda i, o: 1 / i, False),
    "lecun_uniform": (lambda i, o: 1 / i, True),
}


def check(x, mean, variance, uniform):
    """Mean and variance within five standard deviations of what samples of this size show."""
    n, x = x.size, x.astype(np.float64)
    spread = (0.8 if uniform else 2.0) / n  # variance of the sample variance, over the variance squared
    assert abs(x.mean() - mean) < 5 * (variance / n) ** 0.5
    assert abs(((x - mean) ** 2).mean() / variance - 1) < 5 * spread**0.5
    extent = np.abs(x - mean).max() / variance**0.5
    assert (extent <= 3**0.5 * 1.0001) if uniform else (extent > 3)


@pytest.mark.parametrize("shape", [LINEAR, CONV])
@pytest.mark.parametrize("name", RULES)
def test_the_variance_follows_the_numbers_that_feed_and_are_fed(name, shape):
    variance, uniform = RULES[name]
    x = getattr(nn, name)(KEY, shape)
    assert (x.dtype, x.shape) == (np.float32, shape)
    check(x, 0.0, variance(*FANS[shape]), uniform)


@pytest.mark.parametrize("shape", [(7,), (3, 0), (0,)])
def test_vectors_and_empty_shapes_can_be_drawn(shape):
    for name in RULES:
        x = getattr(nn, name)(KEY, shape)
        assert x.shape == shape
        assert np.isfinite(x).all()


def test_normal_and_uniform_are_what_they_were_asked_for():
    check(nn.normal(std=0.3, mean=-2.0)(KEY, LINEAR), -2.0, 0.09, False)
    x = nn.uniform(1.0, 4.0)(KEY, LINEAR)
    check(x, 2.5, 9 / 12, True)
    assert 1.0 <= x.min() < 1.001
    assert 3.999 < x.max() <= 4.0
    check(nn.normal()(KEY, LINEAR), 0.0, 1e-4, False)
    check(nn.uniform()(KEY, LINEAR), 0.0, 0.01 / 12, True)


def test_constants_are_constant():
    for make, value in ((nn.zeros, 0.0), (nn.ones, 1.0), (nn.constant(0.25), 0.25)):
        x = make(KEY, (2, 3))
        assert x.dtype == np.float32
        assert (x == value).all()


@pytest.mark.parametrize("name", RULES)
def test_a_key_names_its_numbers(name):
    make = getattr(nn, name)
    assert np.array_equal(make(KEY, (5, 4)), make(KEY, (5, 4)))
    assert not np.array_equal(make(KEY, (5, 4)), make(KEY._replace(seed=4), (5, 4)))
    assert not np.array_equal(make(KEY, (5, 4)), make(KEY._replace(purpose="init/other"), (5, 4)))


def test_ranges_the_wrong_way_round_are_refused():
    with raises(ConfigError, "normal", "std -1.0"):
        nn.normal(std=-1.0)
    with raises(ConfigError, "uniform", "low 2.0", "high 1.0"):
        nn.uniform(2.0, 1.0)

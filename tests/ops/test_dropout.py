"""Dropout by a mask, and by the draw of a key."""

from __future__ import annotations

import numpy as np
import pytest

from tests import oracles
from tests.harness import booleans, check_op, few_on_jax, put, raises, sample
from xpnet import ops
from xpnet.errors import ConfigError, DTypeError, ShapeError
from xpnet.random import Key, random_bits

KEY = Key(3, "dropout/here", 2, 5)
X = sample(2, 5, 7)


def drop(x, *, key, rate, start=0):
    """Element by element: the 32-bit halves of the draw's words, the low one first, against the rate."""
    y = np.zeros(x.size)
    for i, value in enumerate(x.ravel()):
        word = int(random_bits(key, 1, (start + i) // 2)[0])
        half = word >> 32 if (start + i) % 2 else word & 0xFFFFFFFF
        if half / 2**32 >= rate:
            y[i] = value / (1 - rate)
    return y.reshape(x.shape)


@pytest.mark.parametrize(("rate", "start"), [(0.25, 0), (0.5, 3), (0.75, 16), (0.0, 1)])
def test_random_dropout_agrees_with_draws_made_one_by_one(backend, rate, start):
    few_on_jax(backend, start == 3)
    options = {"key": KEY, "rate": rate, "start": start}
    check_op(ops.random_dropout, [X], options, backend, oracle=drop, linear=[0], batch=[0], length=2)


def test_a_part_of_a_batch_keeps_what_the_whole_keeps(backend):
    x = put(backend, np.ones((6, 11)), np.float32)
    whole = backend.to_numpy(ops.random_dropout(x, key=KEY, rate=0.5)[0])
    part = backend.to_numpy(ops.random_dropout(x[4:, :], key=KEY, rate=0.5, start=44)[0])
    assert np.array_equal(part, whole[4:])


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5])
def test_a_rate_outside_0_to_1_is_an_error(rate):
    with raises(ConfigError, "random_dropout", rate):
        ops.random_dropout(X, key=KEY, rate=rate)


def test_a_negative_start_is_an_error():
    with raises(ConfigError, "random_dropout", -1):
        ops.random_dropout(X, key=KEY, rate=0.5, start=-1)


def test_dropping_integers_is_an_error():
    with raises(DTypeError, "random_dropout", "int64"):
        ops.random_dropout(np.arange(4), key=KEY, rate=0.5)


def test_dropout_scales_what_the_mask_keeps(backend):
    mask = booleans(2, 5, 7)
    check_op(
        ops.dropout, [X, mask], {"rate": 0.25}, backend, oracle=oracles.dropout, linear=[0], batch=[0, 1], length=2
    )


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5])
def test_a_dropout_rate_outside_0_to_1_is_an_error(rate):
    with raises(ConfigError, "dropout", rate):
        ops.dropout(X, booleans(2, 5, 7), rate=rate)


def test_a_dropout_mask_of_another_shape_is_an_error():
    with raises(ShapeError, "dropout", (2, 5, 7), (2, 5)):
        ops.dropout(X, booleans(2, 5), rate=0.5)

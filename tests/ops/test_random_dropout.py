from __future__ import annotations

import numpy as np
import pytest

from tests.harness import check_op, few_on_jax, put, raises, sample
from xpnet import ops
from xpnet.errors import ConfigError, DTypeError
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
def test_a_rate_outside_0_to_1_is_refused(rate):
    with raises(ConfigError, "random_dropout", rate):
        ops.random_dropout(X, key=KEY, rate=rate)


def test_a_negative_start_is_refused():
    with raises(ConfigError, "random_dropout", -1):
        ops.random_dropout(X, key=KEY, rate=0.5, start=-1)


def test_integers_are_refused():
    with raises(DTypeError, "random_dropout", "int64"):
        ops.random_dropout(np.arange(4), key=KEY, rate=0.5)

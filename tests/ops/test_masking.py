"""What an op leaves out has gradient 0 there, whatever arrives: sqrt(relu(x)) sends infinity where x < 0."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import few_on_jax, kernel_sets, put
from xpnet import ops
from xpnet.ops.arithmetic import masked

X = np.array([-3.0, -1.0, 2.0, 4.0] * 10)  # longer than a vector
LOW = X < 0
IMAGE = X.reshape(1, 4, 10, 1)
RAMP = np.arange(40.0).reshape(IMAGE.shape)  # the last pixel of a window is the largest
INNER = (np.arange(4)[:, None, None] > 1) & (np.arange(10)[:, None] > 1)
PEAKS = np.zeros((4, 10), bool)
for _i in range(0, 4, 2):
    for _j in range(0, 10, 2):
        PEAKS[_i : _i + 2, _j : _j + 2].flat[int(np.argmax(IMAGE[0, _i : _i + 2, _j : _j + 2, 0]))] = True

# op, arguments, options, which gradient is meant, and where it is to be 0
CASES = {
    "relu": (ops.relu, [X], {}, 0, LOW),
    "abs at 0": (ops.abs, [np.where(LOW, 0.0, X)], {}, 0, LOW),
    "clip": (ops.clip, [X, 0.0, 3.0], {}, 0, LOW | (X > 3)),
    "maximum": (ops.maximum, [X, 0.0], {}, 0, LOW),
    "maximum of two": (ops.maximum, [X, np.zeros_like(X)], {}, 1, ~LOW),
    "minimum": (ops.minimum, [X, 0.0], {}, 0, ~LOW),
    "where": (ops.where, [~LOW, X, X], {}, 1, LOW),
    "where not": (ops.where, [~LOW, X, X], {}, 2, ~LOW),
    "max": (ops.max, [X.reshape(10, 4)], {"axis": 1}, 0, (np.arange(40) % 4 < 3).reshape(10, 4)),
    "dropout": (ops.dropout, [X, ~LOW], {"rate": 0.5}, 0, LOW),
    "pooling": (ops.max_pool2d, [IMAGE], {"kernel_size": 2}, 0, ~PEAKS[None, :, :, None]),
    "overlapping windows": (ops.max_pool2d, [RAMP], {"kernel_size": 3, "stride": 1}, 0, ~INNER[None]),
    "linear and relu": (ops.linear, [np.eye(4), np.eye(4), -X[:4]], {"activation": "relu"}, 2, X[:4] > 0),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_left_out_has_no_gradient_of_what_is_infinite(backend, name):
    few_on_jax(backend, name in ("overlapping windows", "linear and relu"))
    op, arrays, options, index, zero = CASES[name]
    for kernel_set in kernel_sets(op, backend):
        with kernel_set:
            y, vjp = op(*(put(backend, a, np.float32) for a in arrays), **options)
            dy = put(backend, np.full(tuple(y.shape), np.inf), np.float32)
            needs = tuple(i == index for i in range(len(arrays)))
            got = backend.to_numpy(vjp(dy, needs)[index])
            np.testing.assert_array_equal(np.isfinite(got), zero)
            np.testing.assert_array_equal(got[zero], 0)


def test_relu_passes_nothing_to_what_it_cut_in_a_long_array_either(backend):
    x = np.where(np.arange(3 << 18) % 3, 1.0, -1.0)  # long enough for several cores
    _, vjp = ops.relu(put(backend, x, np.float32))
    got = backend.to_numpy(vjp(put(backend, np.full(x.shape, np.inf), np.float32), (True,))[0])
    assert np.array_equal(got, np.where(x > 0, np.inf, 0))


def test_a_single_number_is_kept_or_not():
    assert [float(masked(np.array(2.0), mask)) for mask in (np.True_, np.False_, np.array(True))] == [2, 0, 2]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_numbers_are_kept_to_the_bit(dtype):
    x, mask = np.array([[-0.0, 1.5, np.nan, -np.inf]], dtype), np.array([[True], [False]])
    got = masked(x, mask)
    assert got.dtype == x.dtype
    np.testing.assert_array_equal(got, [x[0], [0] * 4])
    assert np.signbit(got[0, 0])

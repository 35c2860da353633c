"""Convolution."""

from __future__ import annotations

import contextlib
import tracemalloc

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tests import oracles
from tests.harness import check_op, few_on_jax, integers, put, raises, sample
from xpnet import kernels, ops
from xpnet.errors import ConfigError, DeviceError, DTypeError, ShapeError
from xpnet.ops.conv import column_budget

X = sample(2, 5, 7, 3)  # (N, H, W, C)


def torch_conv2d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1, flip=False, activation=None):
    import torch.nn.functional as F

    from tests.ops.test_linear import _torch_activation

    w = w.flip(1, 2) if flip else w
    y = F.conv2d(x.permute(0, 3, 1, 2), w.permute(0, 3, 1, 2), b, stride, padding, dilation, groups).permute(0, 2, 3, 1)
    return y if activation is None else _torch_activation(activation)(y)


def check_conv(backend, x, w, b, **options):
    linear = () if "activation" in options else (0, 1) if b is None else (0, 1, 2)
    check_op(
        ops.conv2d,
        [x, w, b],
        options,
        backend,
        oracle=oracles.conv2d,
        torch_oracle=torch_conv2d,
        linear=linear,
        batch=[0],
        length=max(w[0].size + 1, x.size // x.shape[3]),
    )


CASES = {
    "valid": ((4, 2, 3, 3), {}),
    "same": ((4, 3, 3, 3), {"padding": 1}),
    "1x1": ((4, 1, 1, 3), {}),
    "1x1 strided": ((4, 1, 1, 3), {"stride": 2}),
    "kernel is the image": ((4, 5, 7, 3), {}),
    "kernel is the padded image": ((4, 7, 11, 3), {"padding": (1, 2)}),
    "stride with a remainder": ((4, 2, 3, 3), {"stride": (2, 3)}),
    "stride beyond the kernel": ((4, 2, 1, 3), {"stride": (3, 4)}),
    "padding beyond the kernel": ((4, 2, 2, 3), {"padding": (3, 2), "stride": 2}),
    "dilated": ((4, 2, 3, 3), {"dilation": (3, 2)}),
    "dilated, strided, padded": ((4, 3, 2, 3), {"dilation": (2, 3), "stride": (2, 1), "padding": (2, 1)}),
    "depthwise": ((6, 3, 2, 1), {"groups": 3, "padding": (1, 0)}),
    "flipped": ((4, 2, 3, 3), {"flip": True, "padding": (0, 1)}),
    "flipped, strided": ((4, 3, 2, 3), {"flip": True, "stride": 2, "padding": 1, "dilation": 2}),
}


@pytest.mark.parametrize("case", CASES)
def test_conv2d_agrees_with_its_definition_and_with_autograd(backend, case):
    few_on_jax(backend, case in ("1x1 strided", "dilated, strided, padded", "depthwise"))
    shape, options = CASES[case]
    check_conv(backend, X, sample(*shape, seed=1), sample(shape[0], seed=2), **options)


def test_conv2d_without_a_bias_agrees_with_its_definition(backend):
    few_on_jax(backend, False)
    check_conv(backend, X, sample(4, 3, 2, 3, seed=1), None, stride=2, padding=1)


def test_each_group_of_filters_sees_its_own_channels(backend):
    few_on_jax(backend, False)
    check_conv(backend, sample(2, 5, 4, 6), sample(9, 2, 3, 2, seed=1), sample(9, seed=2), groups=3, stride=(2, 1))


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "sigmoid", "tanh", "gelu"])
def test_a_fused_activation_equals_the_activation_after_conv2d(backend, activation):
    few_on_jax(backend, activation == "relu")
    check_conv(backend, X, sample(4, 2, 3, 3, seed=1), sample(4, seed=2), activation=activation)


@pytest.mark.parametrize("groups", [1, 3])
def test_a_fused_relu_does_not_hide_a_nan(backend, groups):
    few_on_jax(backend, False)
    x = X.copy()
    x[1, 2, 3] = np.nan
    w, b = sample(6, 1, 1, 3 // groups, seed=1), sample(6, seed=2)
    y, _ = ops.conv2d(*(put(backend, a, np.float32) for a in (x, w, b)), groups=groups, activation="relu")
    assert np.array_equal(np.isnan(backend.to_numpy(y)), np.broadcast_to(np.isnan(x[..., :1]), y.shape))


@pytest.mark.parametrize("budget", [1, 1000, 3000])
@pytest.mark.parametrize("case", ["1x1 strided", "stride with a remainder", "flipped, strided"])
def test_conv2d_gives_the_same_in_chunks_that_do_not_divide_the_batch(backend, case, budget):
    few_on_jax(backend, case == "stride with a remainder" and budget == 3000)
    shape, options = CASES[case]
    with column_budget(budget):
        check_conv(backend, sample(5, 5, 7, 3), sample(*shape, seed=1), sample(4, seed=2), **options)


def test_the_column_budget_ends_with_its_block():
    x, w = X.astype(np.float32), sample(4, 3, 3, 3, seed=1).astype(np.float32)
    before = ops.conv2d(x, w)[0]
    with pytest.raises(KeyError), column_budget(1):
        raise KeyError
    assert np.array_equal(before, ops.conv2d(x, w)[0])


@hypothesis.given(st.data())
def test_conv2d_agrees_with_its_definition_for_any_geometry(data):
    """On NumPy only: the geometry is the same code everywhere."""
    from xpnet.backend import get_backend

    def draw(low, high):
        return data.draw(st.integers(low, high))

    stride, padding, dilation = ((draw(low, 3), draw(low, 3)) for low in (1, 0, 1))
    kernel, groups = (draw(1, 3), draw(1, 3)), draw(1, 2)
    size = [draw(max(1, d * (k - 1) + 1 - 2 * p), 8) for k, d, p in zip(kernel, dilation, padding, strict=True)]
    x = sample(draw(1, 2), *size, groups * draw(1, 2))
    w = sample(groups * draw(1, 2), *kernel, x.shape[3] // groups, seed=1)
    with column_budget(draw(1, 4000)):
        check_conv(
            get_backend("numpy"),
            x,
            w,
            None,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            flip=data.draw(st.booleans()),
        )


@pytest.fixture(params=["kernel", "own code"])
def implementation(request):
    """With NumPy's kernel, then by the op's own code."""
    with contextlib.nullcontext() if request.param == "kernel" else kernels.disable():
        yield


def _traced(function):
    """What a call returns, the bytes that it left allocated, and the most that it had."""
    tracemalloc.start()
    try:
        result = function()
        return result, *tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("implementation")
def test_the_forward_pass_keeps_no_unrolled_columns_for_backward():
    x, w = sample(8, 24, 24, 6).astype(np.float32), sample(8, 5, 5, 6, seed=1).astype(np.float32)
    ops.conv2d(x, w)
    (y, _), kept, _ = _traced(lambda: ops.conv2d(x, w))
    assert kept < y.nbytes + 20_000


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("pass_", ["forward", "backward"])
def test_unrolled_columns_stay_within_the_budget(pass_):
    x, w = sample(16, 24, 24, 6).astype(np.float32), sample(8, 5, 5, 6, seed=1).astype(np.float32)
    columns = 16 * 20 * 20 * w[0].size * 4  # 3.8 MB for the whole batch
    with column_budget(columns // 8):
        (y, vjp), _, peak = _traced(lambda: ops.conv2d(x, w))
        results = y.nbytes
        if pass_ == "backward":
            results = x.nbytes + w.nbytes
            _, _, peak = _traced(lambda: vjp(y, (True, True, False)))
    # the results, a chunk of columns and one of their gradient, and padded or transposed copies of x and y
    assert peak < results + 2 * columns // 8 + 2 * (x.nbytes + y.nbytes)


def test_conv2d_with_channels_that_disagree_is_an_error():
    with raises(ShapeError, "conv2d", (2, 5, 7, 3), (4, 3, 3, 2)):
        ops.conv2d(X, sample(4, 3, 3, 2))


@pytest.mark.parametrize(("x", "w"), [((5, 7, 3), (4, 3, 3, 3)), ((2, 5, 7, 3), (4, 3, 3))], ids=str)
def test_conv2d_of_another_rank_is_an_error(x, w):
    with raises(ShapeError, "conv2d", x if len(x) == 3 else w):
        ops.conv2d(sample(*x), sample(*w))


def test_conv2d_with_a_bias_of_another_length_is_an_error():
    with raises(ShapeError, "conv2d", (3,), (4, 3, 3, 3)):
        ops.conv2d(X, sample(4, 3, 3, 3), sample(3))


@pytest.mark.parametrize(
    ("kernel", "options", "values"),
    [
        ((6, 3), {}, [(6, 3), (2, 5, 7, 3)]),
        ((3, 8), {}, [(3, 8), (2, 5, 7, 3)]),
        ((3, 3), {"dilation": 4}, [(3, 3), (4, 4), (2, 5, 7, 3)]),
        ((8, 3), {"padding": 1}, [(8, 3), (1, 1), (2, 5, 7, 3)]),
    ],
    ids=str,
)
def test_a_kernel_larger_than_the_padded_image_is_an_error(kernel, options, values):
    with raises(ShapeError, "conv2d", *values):
        ops.conv2d(X, sample(4, *kernel, 3), **options)


def test_channels_that_do_not_divide_by_groups_are_an_error():
    with raises(ShapeError, "conv2d", "C 3", "groups 2"):
        ops.conv2d(X, sample(4, 3, 3, 1), groups=2)


def test_filters_that_do_not_divide_by_groups_are_an_error():
    with raises(ShapeError, "conv2d", "F 4", "groups 3"):
        ops.conv2d(X, sample(4, 3, 3, 1), groups=3)


@pytest.mark.parametrize(
    ("name", "value"),
    [("stride", 0), ("stride", (1, -2)), ("dilation", 0), ("padding", -1), ("padding", (0, -3)), ("groups", 0)],
)
def test_a_setting_below_its_least_value_is_an_error(name, value):
    with raises(ConfigError, "conv2d", name, value):
        ops.conv2d(X, sample(4, 3, 3, 3), **{name: value})


@pytest.mark.parametrize("value", [1.5, (1, 2, 3), "2"])
def test_a_stride_that_is_no_integer_or_pair_is_an_error(value):
    with raises(ConfigError, "conv2d", "stride", value):
        ops.conv2d(X, sample(4, 3, 3, 3), stride=value)


def test_conv2d_with_an_unknown_activation_is_an_error():
    with raises(ConfigError, "conv2d", "'softmax'"):
        ops.conv2d(X, sample(4, 3, 3, 3), activation="softmax")


def test_conv2d_of_integers_is_an_error(backend):
    with raises(DTypeError, "conv2d", "int64"):
        ops.conv2d(backend.from_numpy(integers(2, 5, 7, 3, high=9)), put(backend, sample(4, 3, 3, 3), np.float32))


def test_conv2d_with_two_precisions_is_an_error():
    with raises(DTypeError, "conv2d", "float32", "float64"):
        ops.conv2d(X.astype(np.float32), sample(4, 3, 3, 3))


def test_conv2d_with_arrays_of_two_libraries_is_an_error(backend):
    if backend.name == "numpy":
        pytest.skip("the other library is NumPy")
    with raises(DeviceError, "conv2d", "numpy", backend.name):
        ops.conv2d(put(backend, X, np.float32), sample(4, 3, 3, 3).astype(np.float32))


def test_a_column_budget_below_one_byte_is_an_error():
    with raises(ConfigError, "column_budget", 0), column_budget(0):
        pass


def test_the_gradient_of_filters_over_many_pixels_keeps_the_precision_of_float32():
    rng = np.random.default_rng(0)
    x, w = rng.random((128, 40, 40, 1), np.float32), np.ones((1, 1, 1, 1), np.float32)
    dy = 1 + rng.normal(size=x.shape).astype(np.float32)
    want, bound = float(np.sum(x.astype(np.float64) * dy)), 1.5e-6
    one_by_one = float(np.cumsum((x * dy).ravel())[-1])
    assert abs(one_by_one / want - 1) > 3 * bound  # what the bound is for
    for disabled in ((), ("numba",), ("numba", "numpy")):
        with kernels.disable(*disabled) if disabled else contextlib.nullcontext():
            _, vjp = ops.conv2d(x, w)
            assert abs(float(vjp(dy, (False, True, False))[1].item()) / want - 1) < bound

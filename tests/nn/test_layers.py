"""Each layer computes its op, with its own parameters and configuration; some against computations made afresh."""

from __future__ import annotations

import numpy as np
import pytest

from tests.harness import agree, put, raises, sample
from xpnet import nn, ops
from xpnet.autograd import Tensor, backward, no_grad
from xpnet.backend import use_backend
from xpnet.errors import ConfigError
from xpnet.random import Key

IMAGES, ROWS = (2, 7, 5, 4), (3, 6)


def host(backend, array):
    return np.asarray(backend.to_numpy(array), np.float64)


def fill(model):
    """Give every parameter and buffer numbers that a wrong use of it would show; variances stay positive."""
    for i, (path, state) in enumerate(model.states().items()):
        low = 0.5 if path.endswith("var") else -2.0
        state.data = state.backend.from_numpy(sample(*state.shape, seed=50 + i, low=low).astype(np.float32))
    return model


def p(layer, *names):
    return [getattr(layer, name).data for name in names]


# name: how the layer is made, the shape of x, and the op it stands for
LAYERS = {
    "Linear": (lambda: nn.Linear(6, 4), ROWS, lambda m, x: ops.linear(x, *p(m, "weight", "bias"))),
    "Linear without bias": (lambda: nn.Linear(6, 4, False), (2, 3, 6), lambda m, x: ops.linear(x, m.weight.data)),
    "Conv2d": (lambda: nn.Conv2d(4, 6, 3), IMAGES, lambda m, x: ops.conv2d(x, *p(m, "weight", "bias"))),
    "Conv2d with all options": (
        lambda: nn.Conv2d(4, 6, (2, 3), (2, 1), (1, 2), (3, 2), 2, bias=False, flip=True),
        IMAGES,
        lambda m, x: ops.conv2d(x, m.weight.data, stride=(2, 1), padding=(1, 2), dilation=(3, 2), groups=2, flip=True),
    ),
    "MaxPool2d": (lambda: nn.MaxPool2d(2), IMAGES, lambda m, x: ops.max_pool2d(x, kernel_size=2)),
    "MaxPool2d with all options": (
        lambda: nn.MaxPool2d((3, 2), (2, 3), (1, 0), True),
        IMAGES,
        lambda m, x: ops.max_pool2d(x, kernel_size=(3, 2), stride=(2, 3), padding=(1, 0), ceil_mode=True),
    ),
    "AvgPool2d": (lambda: nn.AvgPool2d(2), IMAGES, lambda m, x: ops.avg_pool2d(x, kernel_size=2)),
    "AvgPool2d with all options": (
        lambda: nn.AvgPool2d((3, 2), 2, 1, True, count_include_pad=False),
        IMAGES,
        lambda m, x: ops.avg_pool2d(
            x, kernel_size=(3, 2), stride=2, padding=1, ceil_mode=True, count_include_pad=False
        ),
    ),
    "GlobalAvgPool2d": (nn.GlobalAvgPool2d, IMAGES, lambda m, x: ops.global_avg_pool2d(x)),
    "Flatten": (nn.Flatten, IMAGES, lambda m, x: ops.flatten(x)),
    "ReLU": (nn.ReLU, ROWS, lambda m, x: ops.relu(x)),
    "LeakyReLU": (nn.LeakyReLU, ROWS, lambda m, x: ops.leaky_relu(x)),
    "LeakyReLU with a slope": (lambda: nn.LeakyReLU(0.3), ROWS, lambda m, x: ops.leaky_relu(x, slope=0.3)),
    "Sigmoid": (nn.Sigmoid, ROWS, lambda m, x: ops.sigmoid(x)),
    "Tanh": (nn.Tanh, ROWS, lambda m, x: ops.tanh(x)),
    "GELU": (nn.GELU, ROWS, lambda m, x: ops.gelu(x)),
    "Softmax": (nn.Softmax, ROWS, lambda m, x: ops.softmax(x)),
    "Softmax over an axis": (lambda: nn.Softmax(0), ROWS, lambda m, x: ops.softmax(x, axis=0)),
    "LogSoftmax": (lambda: nn.LogSoftmax(1), ROWS, lambda m, x: ops.log_softmax(x, axis=1)),
    "LayerNorm": (
        lambda: nn.LayerNorm(6, eps=0.3),
        ROWS,
        lambda m, x: ops.layer_norm(x, *p(m, "gamma", "beta"), eps=0.3),
    ),
    "BatchNorm in inference": (
        lambda: nn.BatchNorm(4, eps=0.3).eval(),
        IMAGES,
        lambda m, x: ops.batch_norm(x, *p(m, "gamma", "beta", "mean", "var"), eps=0.3),
    ),
    "BatchNorm in training": (
        lambda: nn.BatchNorm(6, eps=0.3),
        ROWS,
        lambda m, x: ops.batch_norm(x, *p(m, "gamma", "beta"), *ops.moments(x), eps=0.3, training=True),
    ),
    "LocalResponseNorm": (nn.LocalResponseNorm, IMAGES, lambda m, x: ops.local_response_norm(x)),
    "LocalResponseNorm with all options": (
        lambda: nn.LocalResponseNorm(3, 0.9, 0.6, 1.1, "within", True),
        IMAGES,
        lambda m, x: ops.local_response_norm(x, size=3, alpha=0.9, beta=0.6, k=1.1, region="within", average=True),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_its_op_forward_and_backward(backend, name):
    make, shape, op = LAYERS[name]
    with use_backend(backend):
        layer = fill(make())
    x = put(backend, sample(*shape, seed=1), np.float32)
    t = Tensor(x, requires_grad=True)
    want, vjp = op(layer, x)
    y = layer(t)
    assert np.array_equal(y.numpy(), backend.to_numpy(want))
    dy = put(backend, sample(*y.shape, seed=2), np.float32)
    parameters = layer.parameters()
    grads = vjp(dy, (True,) * (1 + len(parameters)) + (False,) * 2)
    found = backward(y, dy)
    assert set(found) == {t, *parameters}
    for leaf, g in zip([t, *parameters], grads, strict=False):
        assert np.array_equal(backend.to_numpy(found[leaf]), backend.to_numpy(g))


# Against computations made afresh.


def test_linear_is_weights_times_features_plus_bias(backend):
    with use_backend(backend):
        layer = fill(nn.Linear(6, 4))
    x = sample(*ROWS, seed=1)
    w, b = (host(backend, a) for a in p(layer, "weight", "bias"))
    want = np.asarray([[sum(w[m, d] * row[d] for d in range(6)) + b[m] for m in range(4)] for row in x])
    agree(layer(Tensor(put(backend, x, np.float32))).numpy(), want, np.float32, 6, "linear")


@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), ((5, 3), (1, 2))])
def test_conv2d_with_same_padding_keeps_the_image_size(backend, kernel, dilation):
    with use_backend(backend):
        layer = fill(nn.Conv2d(4, 3, kernel, padding="same", dilation=dilation))
    (kh, kw), (dh, dw) = layer.kernel_size, layer.dilation
    x = sample(*IMAGES, seed=1)
    ph, pw = dh * (kh // 2), dw * (kw // 2)
    wide = np.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0)))
    seen = np.lib.stride_tricks.sliding_window_view(wide, (2 * ph + 1, 2 * pw + 1), axis=(1, 2))[..., ::dh, ::dw]
    w, b = (host(backend, a) for a in p(layer, "weight", "bias"))
    want = np.einsum("nijcpq,fpqc->nijf", seen, w) + b
    y = layer(Tensor(put(backend, x, np.float32)))
    assert tuple(y.shape) == (*IMAGES[:3], 3)
    agree(y.numpy(), want, np.float32, 4 * kh * kw, "conv2d")


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "sigmoid", "tanh", "gelu"])
def test_linear_and_conv2d_take_an_activation(name):
    x, images = (Tensor(sample(*shape, seed=1).astype(np.float32)) for shape in (ROWS, IMAGES))
    for layer, t in ((fill(nn.Linear(6, 4)), x), (fill(nn.Conv2d(4, 3, 3)), images)):
        want, _ = getattr(ops, name)(layer(t).data)
        np.testing.assert_allclose(layer(t, activation=name).numpy(), want, rtol=1e-6, atol=1e-6)


def test_weights_begin_by_he_and_biases_at_zero():
    for layer, path in ((nn.Linear(6, 4), "weight"), (nn.Conv2d(4, 6, (2, 3), groups=2), "weight")):
        want = nn.he_normal(Key(0, "init/" + path), layer.weight.shape)
        assert np.array_equal(layer.weight.numpy(), want)
        assert not layer.bias.numpy().any()


def test_another_initializer_makes_the_weights():
    assert (nn.Linear(6, 4, init=nn.constant(0.25)).weight.numpy() == 0.25).all()
    assert (nn.Conv2d(2, 3, 2, init=nn.ones).weight.numpy() == 1.0).all()


def test_inference_within_no_grad_leaves_no_tape(backend):
    with use_backend(backend):
        model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.BatchNorm(4))
    with no_grad():
        assert model(Tensor(put(backend, sample(*ROWS), np.float32))).node is None


# Configuration.

WRONG = {
    "Linear of no features": (lambda: nn.Linear(0, 4), "Linear", ("in_features 0",)),
    "Linear of no neurons": (lambda: nn.Linear(3, -1), "Linear", ("out_features -1",)),
    "Conv2d of no channels": (lambda: nn.Conv2d(0, 4, 3), "Conv2d", ("in_channels 0",)),
    "Conv2d groups in": (lambda: nn.Conv2d(3, 4, 3, groups=2), "Conv2d", ("in_channels 3", "groups 2")),
    "Conv2d groups out": (lambda: nn.Conv2d(4, 3, 3, groups=2), "Conv2d", ("out_channels 3", "groups 2")),
    "Conv2d no groups": (lambda: nn.Conv2d(4, 4, 3, groups=0), "Conv2d", ("groups 0",)),
    "Conv2d kernel": (lambda: nn.Conv2d(3, 4, 0), "Conv2d", ("kernel_size 0",)),
    "Conv2d kernel of three": (lambda: nn.Conv2d(3, 4, (1, 2, 3)), "Conv2d", ("kernel_size (1, 2, 3)",)),
    "Conv2d stride": (lambda: nn.Conv2d(3, 4, 3, stride=(1, 0)), "Conv2d", ("stride (1, 0)",)),
    "Conv2d padding": (lambda: nn.Conv2d(3, 4, 3, padding=-1), "Conv2d", ("padding -1",)),
    "Conv2d dilation": (lambda: nn.Conv2d(3, 4, 3, dilation=0), "Conv2d", ("dilation 0",)),
    "same padding, even kernel": (
        lambda: nn.Conv2d(3, 4, (3, 2), padding="same"),
        "Conv2d",
        ("(3, 2)", "stride (1, 1)"),
    ),
    "same padding, stride": (lambda: nn.Conv2d(3, 4, 3, 2, padding="same"), "Conv2d", ("(3, 3)", "stride (2, 2)")),
    "padding in words": (lambda: nn.Conv2d(3, 4, 3, padding="vaild"), "Conv2d", ("padding 'vaild'",)),
    "MaxPool2d kernel": (lambda: nn.MaxPool2d(0), "MaxPool2d", ("kernel_size 0",)),
    "MaxPool2d padding": (lambda: nn.MaxPool2d(3, padding=2), "MaxPool2d", ("padding 2", "kernel_size 3")),
    "AvgPool2d stride": (lambda: nn.AvgPool2d(2, stride=0), "AvgPool2d", ("stride 0",)),
    "Softmax axis": (lambda: nn.Softmax(1.5), "Softmax", ("axis 1.5",)),
    "BatchNorm features": (lambda: nn.BatchNorm(0), "BatchNorm", ("features 0",)),
    "BatchNorm eps": (lambda: nn.BatchNorm(3, eps=0.0), "BatchNorm", ("eps 0.0",)),
    "BatchNorm momentum": (lambda: nn.BatchNorm(3, momentum=1.5), "BatchNorm", ("momentum 1.5",)),
    "LayerNorm features": (lambda: nn.LayerNorm(0), "LayerNorm", ("features 0",)),
    "LayerNorm eps": (lambda: nn.LayerNorm(3, eps=-1.0), "LayerNorm", ("eps -1.0",)),
    "LocalResponseNorm size": (lambda: nn.LocalResponseNorm(0), "LocalResponseNorm", ("size 0",)),
    "LocalResponseNorm region": (
        lambda: nn.LocalResponseNorm(region="beside"),
        "LocalResponseNorm",
        ("region 'beside'",),
    ),
    "Dropout rate": (lambda: nn.Dropout(1.0), "Dropout", ("rate 1.0",)),
    "Dropout negative rate": (lambda: nn.Dropout(-0.1), "Dropout", ("rate -0.1",)),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_configuration_out_of_range_is_refused_when_the_layer_is_made(name):
    make, place, values = WRONG[name]
    with raises(ConfigError, place, *values):
        make()

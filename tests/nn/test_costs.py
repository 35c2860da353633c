"""cost() against what is computed and kept: output shapes, products counted with ones, arrays that vjps hold."""

from __future__ import annotations

import math
import types

import numpy as np
import pytest

from tests.harness import raises, sample
from xpnet import kernels, models, nn
from xpnet.autograd import Node, Tensor
from xpnet.errors import ShapeError

BATCH = 64  # more than all the numbers a layer keeps that do not grow with the batch

# name: the layer, and the shape of one example
LAYERS = {
    "Linear": (lambda: nn.Linear(6, 4), (6,)),
    "Linear over rows": (lambda: nn.Linear(6, 4, bias=False), (3, 6)),
    "Conv2d": (lambda: nn.Conv2d(4, 6, 3), (7, 5, 4)),
    "Conv2d, padded": (lambda: nn.Conv2d(4, 6, (3, 2), padding=(2, 1)), (7, 5, 4)),
    "Conv2d, strided, dilated, grouped": (lambda: nn.Conv2d(4, 6, (2, 3), (3, 2), 1, (2, 1), 2), (7, 6, 4)),
    "Conv2d, same": (lambda: nn.Conv2d(4, 6, 5, padding="same", dilation=2), (7, 5, 4)),
    "MaxPool2d": (lambda: nn.MaxPool2d(2), (7, 5, 4)),
    "MaxPool2d, overlapping, padded, ceil": (lambda: nn.MaxPool2d((3, 2), (2, 1), 1, True), (8, 5, 4)),
    "AvgPool2d": (lambda: nn.AvgPool2d(2, ceil_mode=True), (7, 5, 4)),
    "GlobalAvgPool2d": (nn.GlobalAvgPool2d, (7, 5, 4)),
    "Flatten": (nn.Flatten, (7, 5, 4)),
    "ReLU": (nn.ReLU, (7, 5, 4)),
    "LeakyReLU": (nn.LeakyReLU, (6,)),
    "Sigmoid": (nn.Sigmoid, (6,)),
    "Tanh": (nn.Tanh, (6,)),
    "GELU": (nn.GELU, (6,)),
    "Softmax": (nn.Softmax, (6,)),
    "LogSoftmax": (nn.LogSoftmax, (6,)),
    "BatchNorm": (lambda: nn.BatchNorm(4).train(), (7, 5, 4)),
    "LayerNorm": (lambda: nn.LayerNorm(4), (7, 5, 4)),
    "Dropout": (lambda: nn.Dropout(0.5).train(), (7, 5, 4)),
    "LocalResponseNorm": (nn.LocalResponseNorm, (7, 5, 4)),
}


def run(layer, shape, n=BATCH):
    with kernels.off():
        return layer(Tensor(sample(n, *shape, seed=1).astype(np.float32), requires_grad=True))


def arrays_held(value, found):
    """Add to found each array that a vjp's closures reach, by the memory it views."""
    if isinstance(value, np.ndarray):
        while isinstance(value.base, np.ndarray):
            value = value.base
        found[id(value)] = value
    elif isinstance(value, types.FunctionType):
        for cell in value.__closure__ or ():
            arrays_held(cell.cell_contents, found)
    elif isinstance(value, tuple | list):
        for part in value:
            arrays_held(part, found)


def numbers_kept(y, leave_out=()):
    """How many 4-byte numbers per example the tape of y holds, rounded down, without the model's own arrays."""
    found, nodes, seen = {}, [y.node], set()
    while nodes:
        node = nodes.pop()
        if isinstance(node, Node) and id(node) not in seen:
            seen.add(id(node))
            arrays_held(node.vjp, found)
            nodes.extend(node.parents)
    out = {id(a) for a in leave_out}
    return sum(a.nbytes for key, a in found.items() if key not in out) // 4 // BATCH


@pytest.mark.parametrize("name", LAYERS)
def test_the_output_shape_is_the_one_computed(name):
    make, shape = LAYERS[name]
    assert make().cost(shape).output == tuple(run(make(), shape, 2).shape[1:])


@pytest.mark.parametrize("name", LAYERS)
def test_the_numbers_saved_are_those_that_the_vjp_holds(name):
    make, shape = LAYERS[name]
    layer = make()
    y = run(layer, shape)
    saved, kept = layer.cost(shape).saved, numbers_kept(y, [s.data for s in layer.states().values()])
    if isinstance(layer, nn.LayerNorm):  # two numbers a row besides, which cost() leaves out
        kept -= 2 * math.prod(shape[:-1])
    assert kept == saved


@pytest.mark.parametrize("name", [n for n in LAYERS if n.startswith(("Linear", "Conv2d"))])
def test_the_multiply_adds_are_the_products_summed(name):
    make, shape = LAYERS[name]
    layer = make()
    layer.weight.data = np.ones(layer.weight.shape, np.float32)
    layer.bias = None
    x = np.ones((1, *shape), np.float32)
    if isinstance(layer, nn.Conv2d):  # ones in place of padding, so that each product counts
        (ph, pw), layer.padding = layer.padding, (0, 0)
        x = np.ones((1, shape[0] + 2 * ph, shape[1] + 2 * pw, shape[2]), np.float32)
    assert make().cost(shape).macs == int(layer(Tensor(x)).numpy().sum(dtype=np.float64))


@pytest.mark.parametrize("name", [n for n in LAYERS if not n.startswith(("Linear", "Conv2d"))])
def test_layers_without_weights_between_numbers_count_no_multiply_adds(name):
    make, shape = LAYERS[name]
    assert make().cost(shape).macs == 0


def test_a_models_cost_is_the_sum_of_its_layers():
    model = models.lenet5((28, 28, 1), 10)
    conv1, conv2 = 28 * 28 * 6 * 25, 10 * 10 * 16 * 150
    dense = 400 * 120 + 120 * 84 + 84 * 10
    output, macs, saved = model.cost((28, 28, 1))
    assert (output, macs) == ((10,), conv1 + conv2 + dense)
    each, shape = 0, (28, 28, 1)
    for layer in model:
        shape, _, kept = layer.cost(shape)
        each += kept
    assert saved == each


def test_a_residual_costs_both_its_ways():
    body = nn.Conv2d(3, 4, 3, padding=1)
    shortcut = nn.Conv2d(3, 4, 1)
    one, two = body.cost((5, 7, 3)), shortcut.cost((5, 7, 3))
    both = nn.Residual(body, shortcut).cost((5, 7, 3))
    assert both == ((5, 7, 4), one.macs + two.macs, one.saved + two.saved)
    assert nn.Residual(nn.ReLU()).cost((6,)) == ((6,), 0, 6)


REFUSED = {
    "Linear": (lambda: nn.Linear(6, 4), (5,), ("D 6", "(5,)")),
    "Conv2d of another depth": (lambda: nn.Conv2d(4, 6, 3), (7, 5, 3), ("in_channels 4", "(7, 5, 3)")),
    "Conv2d of no image": (lambda: nn.Conv2d(4, 6, 3), (7, 4), ("(7, 4)",)),
    "Conv2d beyond the image": (lambda: nn.Conv2d(4, 6, 3), (2, 5, 4), ("(2, 5, 4)", "(3, 3)")),
    "MaxPool2d beyond the image": (lambda: nn.MaxPool2d(3), (7, 2, 4), ("(7, 2, 4)", "(3, 3)")),
    "AvgPool2d of no image": (lambda: nn.AvgPool2d(3), (7,), ("(7,)",)),
    "GlobalAvgPool2d of no image": (nn.GlobalAvgPool2d, (7,), ("(7,)",)),
    "BatchNorm": (lambda: nn.BatchNorm(4), (7, 5, 3), ("C 4", "(7, 5, 3)")),
    "LayerNorm": (lambda: nn.LayerNorm(4), (3,), ("C 4", "(3,)")),
    "LocalResponseNorm": (nn.LocalResponseNorm, (3,), ("(3,)",)),
    "Residual": (lambda: nn.Residual(nn.Linear(4, 3)), (4,), ("body (3,)", "shortcut (4,)")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_input_that_a_layer_cannot_take_is_refused_by_path(name):
    make, shape, values = REFUSED[name]
    with raises(ShapeError, "one.two", *values):
        nn.Sequential(one=nn.Sequential(two=make())).cost(shape)
    with raises(ShapeError, type(make()).__name__, *values):
        make().cost(shape)

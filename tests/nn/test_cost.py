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
    "Linear, augmented": (lambda: nn.Linear(6, 4, "augmented"), (6,)),
    "Perceptron": (lambda: nn.Perceptron(6, 4), (6,)),
    "Conv2d": (lambda: nn.Conv2d(4, 6, 3), (7, 5, 4)),
    "Conv2d, padded": (lambda: nn.Conv2d(4, 6, (3, 2), padding=(2, 1)), (7, 5, 4)),
    "Conv2d, strided, dilated, grouped": (lambda: nn.Conv2d(4, 6, (2, 3), (3, 2), 1, (2, 1), 2), (7, 6, 4)),
    "Conv2d, same": (lambda: nn.Conv2d(4, 6, 5, padding="same", dilation=2), (7, 5, 4)),
    "MaxPool2d": (lambda: nn.MaxPool2d(2), (7, 5, 4)),
    "MaxPool2d, overlapping, padded, ceil": (lambda: nn.MaxPool2d((3, 2), (2, 1), 1, True), (8, 5, 4)),
    "AvgPool2d": (lambda: nn.AvgPool2d(2, ceil_mode=True), (7, 5, 4)),
    "GlobalAvgPool2d": (nn.GlobalAvgPool2d, (7, 5, 4)),
    "Flatten": (nn.Flatten, (7, 5, 4)),
    "PadChannels": (lambda: nn.PadChannels(1, 2), (7, 5, 4)),
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
    with kernels.disable():
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


@pytest.mark.parametrize("name", [n for n in LAYERS if not n.startswith(("Linear", "Perceptron", "Conv2d"))])
def test_layers_without_weights_between_numbers_count_no_multiply_adds(name):
    make, shape = LAYERS[name]
    assert make().cost(shape).macs == 0


def test_a_models_cost_is_the_sum_of_its_layers():
    model = models.lenet5((28, 28, 1), 10)
    conv1, conv2 = 28 * 28 * 6 * 25, 10 * 10 * 16 * 150
    dense = 400 * 120 + 120 * 84 + 84 * 10
    cost = model.cost((28, 28, 1))
    assert (cost.output, cost.macs) == ((10,), conv1 + conv2 + dense)


# Models in which neighbours keep the same arrays: the model and the shape of one example.
MODELS = {
    "lenet5": lambda: (models.lenet5((12, 12, 1), 3), (12, 12, 1)),
    "cnn": lambda: (models.cnn((8, 8, 3), 4), (8, 8, 3)),
    "mlp": lambda: (models.mlp((3, 5), 4, (7, 6)), (3, 5)),
    "empty": lambda: (nn.Sequential(nn.Flatten(), nn.Sequential()), (3, 5)),
    "two layers of one input": lambda: (nn.Residual(nn.Linear(6, 4), nn.Linear(6, 4)), (6,)),
    "an input kept twice": lambda: (nn.Sequential(nn.ReLU(), nn.Residual(nn.Linear(6, 6), nn.GELU())), (6,)),
    "flat between": lambda: (nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(15, 4), nn.LeakyReLU()), (3, 5)),
    "residual": lambda: (
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm(4),
            nn.ReLU(),
            nn.Residual(
                nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm(6), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1)),
                nn.Sequential(nn.Conv2d(4, 6, 1, 2), nn.BatchNorm(6)),
            ),
            nn.ReLU(),
            nn.LocalResponseNorm(3),
            nn.MaxPool2d(3, 2),
            nn.GlobalAvgPool2d(),
        ),
        (9, 7, 3),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_saves_what_its_tape_holds_each_array_once(name):
    model, shape = MODELS[name]()
    model.train()
    y = run(model, shape)
    assert model.cost(shape).saved == numbers_kept(y, [s.data for s in model.states().values()])
    assert sum(stage.saved for stage in model.stages(shape)) == model.cost(shape).saved


def test_stages_are_the_layers_in_the_order_of_computing_with_what_comes_in():
    model, shape = MODELS["residual"]()
    stages = list(model.stages(shape))
    assert [s.path for s in stages] == [
        "0", "1", "2", "3.body.0", "3.body.1", "3.body.2", "3.body.3", "3.shortcut.0", "3.shortcut.1", "3",
        "4", "5", "6", "7",
    ]  # fmt: skip
    assert [s.input for s in stages] == [
        shape, *[(9, 7, 4)] * 3, *[(5, 4, 6)] * 3, (9, 7, 4), (5, 4, 6), (9, 7, 4), *[(5, 4, 6)] * 3, (2, 1, 6),
    ]  # fmt: skip
    assert all(s.layer is dict(model.modules())[s.path] for s in stages)


def test_a_model_within_a_model_costs_the_same():
    model, shape = MODELS["residual"]()
    assert nn.Sequential(model).cost(shape) == model.cost(shape)
    assert nn.Sequential(nn.Sequential(model[:3]), model[3:]).cost(shape) == model.cost(shape)


def test_a_residual_costs_both_its_ways():
    body = nn.Conv2d(3, 4, 3, padding=1)
    shortcut = nn.Conv2d(3, 4, 1)
    one, two = body.cost((5, 7, 3)), shortcut.cost((5, 7, 3))
    both = nn.Residual(body, shortcut).cost((5, 7, 3))
    assert both == ((5, 7, 4), one.macs + two.macs, 5 * 7 * 3, "x")  # the one input, kept by both
    assert nn.Residual(nn.ReLU()).cost((6,)) == ((6,), 0, 6, "")


REFUSED = {
    "Linear": (lambda: nn.Linear(6, 4), (5,), ("D = 6", "(5,)")),
    "Conv2d of another depth": (lambda: nn.Conv2d(4, 6, 3), (7, 5, 3), ("in_channels = 4", "(7, 5, 3)")),
    "Conv2d of no image": (lambda: nn.Conv2d(4, 6, 3), (7, 4), ("(7, 4)",)),
    "Conv2d beyond the image": (lambda: nn.Conv2d(4, 6, 3), (2, 5, 4), ("(2, 5, 4)", "(3, 3)")),
    "MaxPool2d beyond the image": (lambda: nn.MaxPool2d(3), (7, 2, 4), ("(7, 2, 4)", "(3, 3)")),
    "AvgPool2d of no image": (lambda: nn.AvgPool2d(3), (7,), ("(7,)",)),
    "GlobalAvgPool2d of no image": (nn.GlobalAvgPool2d, (7,), ("(7,)",)),
    "BatchNorm": (lambda: nn.BatchNorm(4), (7, 5, 3), ("C = 4", "(7, 5, 3)")),
    "LayerNorm": (lambda: nn.LayerNorm(4), (3,), ("C = 4", "(3,)")),
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

"""Each layer of xpnet, as ONNX Runtime computes it."""

from __future__ import annotations

import pytest

from tests.interop.onnx.exporting import agree, randomized
from xpnet import nn

IMAGE, ROWS, SEQUENCE = (7, 6, 4), (6,), (5, 6)

CASES = {
    "AvgPool2d": [(nn.AvgPool2d(2), IMAGE), (nn.AvgPool2d((3, 2), 2, 1, ceil_mode=True), IMAGE),
                  (nn.AvgPool2d(3, 2, 1, True, False), IMAGE), (nn.AvgPool2d(3, 1, 1, count_include_pad=False), IMAGE),
                  (nn.AvgPool2d(1, 2), IMAGE), (nn.AvgPool2d(2, 3, 1, True), (8, 9, 2)),
                  (nn.AvgPool2d(2, 5, 0, True), (9, 8, 2)), (nn.AvgPool2d(3, 2, 1, True), IMAGE)],
    "BatchNorm": [(nn.BatchNorm(4, eps=0.5), IMAGE), (nn.BatchNorm(6), ROWS), (nn.BatchNorm(6, eps=0.5), SEQUENCE)],
    "Conv2d": [(nn.Conv2d(4, 6, (3, 2)), IMAGE), (nn.Conv2d(4, 6, 3, 2, (2, 1), (1, 2), 2, bias=False), IMAGE),
               (nn.Conv2d(4, 4, 3, padding="same", groups=4, flip=True), IMAGE), (nn.Conv2d(4, 6, 1, 2), IMAGE)],
    "Dropout": [(nn.Dropout(0.5), IMAGE), (nn.Dropout(0.5), ROWS)],
    "Flatten": [(nn.Flatten(), IMAGE), (nn.Flatten(), ROWS), (nn.Flatten(), SEQUENCE), (nn.Flatten(), (1, 1, 5))],
    "GELU": [(nn.GELU(), IMAGE)],
    "GlobalAvgPool2d": [(nn.GlobalAvgPool2d(), IMAGE)],
    "LayerNorm": [(nn.LayerNorm(4), IMAGE), (nn.LayerNorm(6), ROWS), (nn.LayerNorm(6, eps=0.5), SEQUENCE)],
    "LeakyReLU": [(nn.LeakyReLU(0.2), IMAGE)],
    "Linear": [(nn.Linear(6, 3), ROWS), (nn.Linear(6, 3, bias=False), SEQUENCE), (nn.Linear(4, 3), IMAGE),
               (nn.Linear(6, 3, bias="augmented"), ROWS), (nn.Linear(6, 3, bias="augmented"), SEQUENCE)],
    "LocalResponseNorm": [(nn.LocalResponseNorm(3, 0.7, 0.8, 1.3), IMAGE),
                          (nn.LocalResponseNorm(4, 0.7, 0.8, 1.3), IMAGE),
                          (nn.LocalResponseNorm(3, 0.7, 0.8, 1.3, average=True), IMAGE),
                          (nn.LocalResponseNorm(2, 0.7, 0.8, 1.3, "within"), IMAGE),
                          (nn.LocalResponseNorm(3, 0.7, 0.8, 1.3, "within", True), IMAGE)],
    "LogSoftmax": [(nn.LogSoftmax(), ROWS), (nn.LogSoftmax(1), IMAGE), (nn.LogSoftmax(), IMAGE)],
    "MaxPool2d": [(nn.MaxPool2d(2), IMAGE), (nn.MaxPool2d((3, 2), 2, 1, ceil_mode=True), IMAGE),
                  (nn.MaxPool2d(3, 2, 1), IMAGE),
                  (nn.MaxPool2d(2, 3, 1, True), (8, 9, 2)), (nn.MaxPool2d(2, 5, 0, True), (9, 8, 2))],
    "PadChannels": [(nn.PadChannels(1, 2), IMAGE), (nn.PadChannels(2), ROWS), (nn.PadChannels(0, 3), SEQUENCE),
                    (nn.PadChannels(), ROWS)],
    "Perceptron": [(nn.Perceptron(6, 3), ROWS)],
    "ReLU": [(nn.ReLU(), IMAGE)],
    "Residual": [(nn.Residual(nn.Conv2d(4, 4, 3, padding=1)), IMAGE),
                 (nn.Residual(nn.Linear(6, 3), nn.Linear(6, 3)), ROWS)],
    "Sequential": [(nn.Sequential(nn.Conv2d(4, 3, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(60, 5), nn.GELU()), IMAGE),
                   (nn.Sequential(nn.Flatten(), nn.ReLU(), nn.BatchNorm(168), nn.Linear(168, 5)), IMAGE),
                   (nn.Sequential(), ROWS)],
    "Sigmoid": [(nn.Sigmoid(), IMAGE)],
    "Softmax": [(nn.Softmax(), ROWS), (nn.Softmax(3), IMAGE), (nn.Softmax(-2), SEQUENCE)],
    "Tanh": [(nn.Tanh(), IMAGE)],
}  # fmt: skip

IDS = [f"{name}-{i}" for name, cases in CASES.items() for i in range(len(cases))]


def test_the_list_of_layers_is_complete():
    layers = {
        name
        for name in nn.__all__
        if isinstance(getattr(nn, name), type)
        and issubclass(getattr(nn, name), nn.Module)
        and (name == "Sequential" or getattr(nn, name).forward is not nn.Module.forward)
    }
    assert layers - {"Activation"} == set(CASES)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize(("layer", "shape"), [case for cases in CASES.values() for case in cases], ids=IDS)
def test_a_layer_gives_the_same(layer, shape, layout, tmp_path):
    nodes = agree(randomized(layer), shape, tmp_path / "m.onnx", layout=layout)
    assert nodes.count("Transpose") <= (0 if layout == "nchw" else 2)


@pytest.mark.parametrize("opset", [17, 18, 19, 20, 22, 23])
@pytest.mark.parametrize("name", ["AvgPool2d", "BatchNorm", "GELU", "LayerNorm", "PadChannels", "LocalResponseNorm"])
def test_a_layer_gives_the_same_in_other_opsets(name, opset, tmp_path):
    layer, shape = CASES[name][0]
    agree(randomized(layer), shape, tmp_path / "m.onnx", opset=opset, batches=(3,))

"""Each model of the zoo, as ONNX Runtime computes it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tests.interop.onnx.exporting import agree, randomized
from xpnet import models, nn
from xpnet.interop.onnx.export import export_onnx
from xpnet.interop.onnx.load import load_onnx

SMALL = {
    "perceptron": lambda: (models.build("perceptron", (5, 4, 2), 3), (5, 4, 2)),
    "softmax": lambda: (models.build("softmax", (5, 4, 2), 3), (5, 4, 2)),
    "mlp": lambda: (models.mlp((5, 4, 2), 3, (6, 7)), (5, 4, 2)),
    "lenet5": lambda: (models.build("lenet5", (14, 12, 1), 4), (14, 12, 1)),
    "cnn": lambda: (models.build("cnn", (9, 8, 3), 4), (9, 8, 3)),
    "alexnet": lambda: (models.alexnet((71, 67, 3), 5, 16), (71, 67, 3)),
    "vgg16": lambda: (models.vgg16((35, 32, 3), 5, 16), (35, 32, 3)),
    "resnet18": lambda: (models.build("resnet18", (33, 31, 3), 5), (33, 31, 3)),
    "resnet20": lambda: (models.build("resnet20", (13, 12, 3), 5), (13, 12, 3)),
}


def test_the_list_of_models_is_complete():
    assert set(SMALL) == set(models.MODELS)


@pytest.mark.parametrize("name", SMALL)
def test_a_model_gives_the_same_scores_without_a_transpose(name, tmp_path):
    model, shape = SMALL[name]()
    nodes = agree(randomized(model), shape, tmp_path / "m.onnx")
    layers = [layer for _, layer in model.modules() if not list(layer.children()) and not isinstance(layer, nn.Dropout)]
    sums = sum(isinstance(layer, nn.Residual) for _, layer in model.modules())
    shapes = sum(isinstance(layer, nn.GlobalAvgPool2d) for layer in layers)  # GlobalAveragePool and Flatten
    assert len(nodes) == len(layers) + sums + shapes
    assert "Transpose" not in nodes


@pytest.mark.parametrize("opset", [17, 23])
@pytest.mark.parametrize("name", ["cnn", "resnet20"])
def test_a_model_gives_the_same_scores_in_the_oldest_and_the_newest_opset(name, opset, tmp_path):
    model, shape = SMALL[name]()
    agree(randomized(model), shape, tmp_path / "m.onnx", opset=opset, batches=(2,))


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet20"])
def test_channels_last_is_one_transpose_at_the_door(name, tmp_path):
    model, shape = SMALL[name]()
    nodes = agree(randomized(model), shape, tmp_path / "m.onnx", layout="nhwc")
    assert nodes.count("Transpose") == (0 if name == "mlp" else 1)
    assert "Transpose" not in nodes[1:]


@pytest.mark.parametrize("name", ["cnn", "resnet20"])
def test_a_model_that_is_read_from_a_file_is_exported_again(name, tmp_path):
    model, shape = SMALL[name]()
    export_onnx(randomized(model), tmp_path / "first.onnx", shape)
    again = load_onnx(tmp_path / "first.onnx", inputs="nhwc")
    nodes = agree(again, shape, tmp_path / "m.onnx", expected=model.predict)
    assert len(nodes) == len(onnx.load(tmp_path / "first.onnx").graph.node)
    assert "Transpose" not in nodes


def test_a_folded_model_is_smaller_and_gives_the_same(tmp_path):
    model = randomized(models.build("resnet20", (8, 8, 3), 4))
    nodes = agree(nn.fold(model), (8, 8, 3), tmp_path / "m.onnx", expected=model.predict, tolerance=1e-4)
    assert "BatchNormalization" not in nodes


def test_a_model_on_another_backend_gives_the_same(backend, tmp_path):
    model, shape = SMALL["cnn"]()
    host = randomized(model)
    scores = {n: host.predict(np.random.default_rng(1).normal(size=(n, *shape)).astype("f4")) for n in (1, 3)}
    agree(host.to(backend), shape, tmp_path / "m.onnx", expected=lambda x: scores[len(x)])

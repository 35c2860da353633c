"""Whole models of ONNX's own tests, with random weights, as ONNX Runtime computes them."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpnet
from xpnet.errors import XpnetError

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
import onnx
from onnx import TensorProto, numpy_helper

from tests.interop.onnx.graphs import rng, runtime, tensor

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
LIGHT = ("bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "vgg19", "zfnet512")


def with_weights(name: str, path: Path) -> Path:
    """Write one of the models whose weights are ConstantOfShape nodes with random initializers in their place."""
    file, source = onnx.load(DATA / "light" / f"light_{name}.onnx"), rng(4)
    graph = file.graph
    shapes = {a.name: tuple(numpy_helper.to_array(a)) for a in graph.initializer}
    shapes |= {
        n.output[0]: tuple(numpy_helper.to_array(n.attribute[0].t)) for n in graph.node if n.op_type == "Constant"
    }
    made = [n for n in graph.node if n.op_type == "ConstantOfShape"]
    variances = {n.input[4] for n in graph.node if n.op_type == "BatchNormalization"}
    for node in made:
        shape = shapes[node.input[0]]
        fan = math.prod(shape[1:]) if len(shape) > 1 else 4
        array = source.normal(scale=math.sqrt(2 / fan), size=shape).astype("f")
        graph.initializer.append(tensor(node.output[0], np.abs(array) + 0.5 if node.output[0] in variances else array))
        graph.node.remove(node)
    path.write_bytes(file.SerializeToString())
    return path


def check_light(name: str, tmp_path: Path, training: bool = False) -> Any:
    path = with_weights(name, tmp_path / "m.onnx")
    model = xpnet.load_onnx(path)
    x = rng(1).normal(size=model.plan.inputs[0].shape).astype("f")
    wanted, found = runtime(path, x)[0], model.predict(x)
    assert found.shape == wanted.shape
    assert np.ptp(wanted) > 1e-4
    np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=1e-5 * np.abs(wanted).max())
    return model


def test_squeezenet_gives_the_scores_of_onnx_runtime(tmp_path):
    model = check_light("squeezenet", tmp_path)
    assert model.parameter_count == 1_235_496
    assert len(model.parameters()) == 52


@pytest.mark.skipif("XPNET_FUZZ" not in os.environ, reason="large; ci/test-long")
@pytest.mark.parametrize("name", LIGHT)
def test_large_models_give_the_scores_of_onnx_runtime(tmp_path, name):
    check_light(name, tmp_path)


OCR = ("rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
       "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c")  # fmt: skip


def test_a_classifier_of_the_angle_of_text_gives_the_scores_of_onnx_runtime():
    """A trained file of PaddlePaddle, from the package rapidocr-onnxruntime 1.4.4, where it is installed."""
    package, name, digest = OCR
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed")
    path = Path(spec.origin).parent / name
    if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        pytest.skip(f"{package} is of another version")
    x = rng(3).uniform(-1, 1, (3, 3, 48, 192)).astype("f")
    model = xpnet.load_onnx(path)
    wanted = runtime(path, x)[0]
    np.testing.assert_allclose(model.predict(x), wanted, rtol=1e-4, atol=1e-5)
    last = xpnet.load_onnx(path, inputs="nhwc")
    np.testing.assert_allclose(last.predict(np.moveaxis(x, 1, -1)), wanted, rtol=1e-4, atol=1e-5)
    loss = (model.train()(xpnet.Tensor(x)) ** 2).sum()
    assert len(xpnet.backward(loss)) == len(model.parameters())


def read(path: Path) -> np.ndarray:
    array = TensorProto()
    array.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(array)


@pytest.mark.parametrize(("kind", "count"), [("pytorch-converted", 82), ("pytorch-operator", 35)])
def test_models_that_pytorch_wrote_give_the_values_stored_beside_them(kind, count):
    wrong, passed = [], 0
    for folder in sorted((DATA / kind).iterdir()):
        try:
            model = xpnet.load_onnx(folder / "model.onnx")
            for case in folder.glob("test_data_set_*"):
                inputs = [read(case / f"input_{i}.pb") for i in range(len(list(case.glob("input_*"))))]
                outputs = [read(case / f"output_{i}.pb") for i in range(len(list(case.glob("output_*"))))]
                found = model(*inputs)
                for y, wanted in zip(found if isinstance(found, tuple) else (found,), outputs, strict=True):
                    assert y.numpy().dtype == wanted.dtype
                    np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-3, atol=1e-5)
            passed += 1
        except (AssertionError, XpnetError) as error:
            wrong.append(f"{folder.name}: {str(error).strip()[:200]}")
    assert wrong == []
    assert passed == count
